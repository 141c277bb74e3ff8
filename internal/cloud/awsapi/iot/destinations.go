package iot

import (
	"encoding/json"
	"errors"
	"net/http"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/destination"
	"mote/internal/cloud/registry"
)

// maxDestinationPage is the greatest page of ListTopicRuleDestinations (API model).
const maxDestinationPage = 1000

// ConfirmHandler serves GET /confirmdestination/{token} without a signature:
// whoever has a confirmation request opens its enableUrl as it stands (AWS IoT
// developer guide, "Managing HTTP topic rule destinations"). It is nil when
// there are no destinations.
func (h *Handler) ConfirmHandler() http.Handler {
	if h.destinations == nil {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m awsapi.Mux
		m.Handle("GET", confirmPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, confirmTopicRuleDestination) })
		if run, _ := m.Find(r); run != nil {
			run(w, r)
			return
		}
		awsapi.WriteError(w, badRequest("a confirmation is GET /confirmdestination/ and the token"))
	})
}

const confirmPath = "/confirmdestination/{confirmationToken+}"

// engine returns the destinations, or the answer when this server has none.
func (c *call) engine(h *Handler) (*destination.Destinations, error) {
	if h.destinations == nil {
		return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException", "this server has no topic rule destinations")
	}
	return h.destinations, nil
}

// destinationError maps the failures of the destinations. One that does not
// exist is answered as one of somebody else, as AWS does.
func destinationError(arn string, err error) error {
	var bad *destination.InvalidError
	switch {
	case errors.As(err, &bad):
		return badRequest("%s", bad.Msg)
	case errors.Is(err, destination.ErrNotFound):
		return awsapi.Errorf(http.StatusUnauthorized, "UnauthorizedException", "Access to TopicRuleDestination '%.300s' was denied", arn)
	case errors.Is(err, destination.ErrExists):
		return awsapi.Errorf(http.StatusConflict, string(registry.Exists), "%s", err)
	case errors.Is(err, destination.ErrToken), errors.Is(err, destination.ErrLimit):
		return badRequest("%s", err)
	}
	return err
}

// destinationJSON is a destination as the API has it. Its properties have other
// names in lists.
type destinationJSON struct {
	ARN       string             `json:"arn"`
	Status    destination.Status `json:"status"`
	CreatedAt epoch              `json:"createdAt"`
	UpdatedAt epoch              `json:"lastUpdatedAt"`
	Reason    string             `json:"statusReason,omitempty"`

	HTTP        *urlJSON        `json:"httpUrlProperties,omitempty"`
	VPC         json.RawMessage `json:"vpcProperties,omitempty"`
	HTTPSummary *urlJSON        `json:"httpUrlSummary,omitempty"`
	VPCSummary  json.RawMessage `json:"vpcDestinationSummary,omitempty"`
}

type urlJSON struct {
	ConfirmationURL string `json:"confirmationUrl"`
}

func destinationBody(d destination.Destination) destinationJSON {
	out := destinationJSON{ARN: d.ARN, Status: d.Status, CreatedAt: epoch(d.CreatedAt), UpdatedAt: epoch(d.UpdatedAt), Reason: d.Reason, VPC: d.VPC}
	if d.URL != "" {
		out.HTTP = &urlJSON{d.URL}
	}
	return out
}

func createTopicRuleDestination(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	var in struct {
		Configuration struct {
			HTTP *urlJSON        `json:"httpUrlConfiguration"`
			VPC  json.RawMessage `json:"vpcConfiguration"`
		} `json:"destinationConfiguration"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	var made destination.Destination
	switch hasURL, hasVPC := in.Configuration.HTTP != nil, present(in.Configuration.VPC); {
	case hasURL == hasVPC:
		return nil, badRequest("destinationConfiguration must have one of httpUrlConfiguration and vpcConfiguration")
	case hasURL:
		made, err = all.CreateURL(in.Configuration.HTTP.ConfirmationURL)
	default:
		made, err = all.CreateVPC(in.Configuration.VPC)
	}
	if err != nil {
		return nil, destinationError("", err)
	}
	return map[string]any{"topicRuleDestination": destinationBody(made)}, nil
}

// present says whether a member was given.
func present(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }

func getTopicRuleDestination(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	arn := c.label("arn")
	d, err := all.Get(arn)
	if err != nil {
		return nil, destinationError(arn, err)
	}
	return map[string]any{"topicRuleDestination": destinationBody(d)}, nil
}

func listTopicRuleDestinations(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	page.Max = maxDestinationPage
	byARN, arns := map[string]destination.Destination{}, []string{}
	for _, d := range all.List() {
		byARN[d.ARN] = d
		arns = append(arns, d.ARN)
	}
	arns, next, err := registry.Cut(arns, page, nil)
	if err != nil {
		return nil, err
	}
	summary := func(arn string) destinationJSON {
		s := destinationBody(byARN[arn])
		s.HTTPSummary, s.VPCSummary, s.HTTP, s.VPC = s.HTTP, s.VPC, nil, nil
		return s
	}
	return pageOf("destinationSummaries", each(arns, summary), nextToken, next), nil
}

func updateTopicRuleDestination(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	var in struct {
		ARN    string             `json:"arn"`
		Status destination.Status `json:"status"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if in.ARN == "" || in.Status == "" {
		return nil, badRequest("arn and status are needed")
	}
	_, err = all.Update(in.ARN, in.Status)
	return nil, destinationError(in.ARN, err)
}

func deleteTopicRuleDestination(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	arn := c.label("arn")
	return nil, destinationError(arn, all.Delete(arn))
}

func confirmTopicRuleDestination(h *Handler, c *call) (any, error) {
	all, err := c.engine(h)
	if err != nil {
		return nil, err
	}
	return nil, destinationError("", all.Confirm(c.label("confirmationToken")))
}
