// Package iot speaks the wire format of the AWS IoT control plane (REST-JSON,
// API version 2015-05-28) over the registry and the rules: things, their types
// and groups, certificates, policies, what is attached to what, topic rules and
// their destinations, tags and DescribeEndpoint. Every other operation is
// refused by its name. It keeps no state of its own, and what the engines answer
// is durable before it answers.
package iot

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/destination"
	"mote/internal/cloud/provisioning"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/store"
	"mote/internal/sigv4"
)

// TopicRules keeps and runs the topic rules. Its errors are those of package
// rules: [rules.ErrNotFound], [rules.ErrExists], [*rules.InvalidError].
type TopicRules interface {
	Create(name string, p rules.Payload) error
	Replace(name string, p rules.Payload) error
	Get(name string) (rules.Rule, error)
	List() []rules.Rule
	SetEnabled(name string, on bool) error
	Delete(name string) error
}

// Options configure a handler.
type Options struct {
	Endpoint     string                    // what DescribeEndpoint answers: a host name without port
	Destinations *destination.Destinations // nil: not offered
	Jobs         Jobs                      // nil: not offered
	Provisioning *provisioning.Engine      // nil: one of its own
	Fleet        Fleet                     // nil: fleet queries know of no shadows and connections
	Log          *slog.Logger
}

// Handler serves the control plane.
type Handler struct {
	reg          *registry.Registry
	rules        TopicRules
	destinations *destination.Destinations // nil: none
	jobs         Jobs                      // nil: none
	endpoint     string
	provisioning *provisioning.Engine
	fleet        Fleet // nil: none
	log          *slog.Logger
	mux          awsapi.Mux
	unserved     *awsapi.Mux // refuses the operations of AWS IoT that mux does not have
}

var _ awsapi.Service = (*Handler)(nil)

// New returns a handler over reg and topicRules.
func New(reg *registry.Registry, topicRules TopicRules, o Options) *Handler {
	h := &Handler{reg: reg, rules: topicRules, destinations: o.Destinations, jobs: o.Jobs, endpoint: o.Endpoint, fleet: o.Fleet, log: o.Log, unserved: newUnserved()}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.provisioning == nil {
		h.provisioning = provisioning.New(reg, h.log)
	}
	offered := slices.Concat(operations, unsetOperations)
	if h.jobs != nil {
		offered = append(offered, jobOperations...)
	}
	for _, op := range offered {
		h.mux.Handle(op.method, op.path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, op.run) })
	}
	return h
}

// operation is one operation of the API; it returns the body of the answer.
type operation func(h *Handler, c *call) (any, error)

// route is one operation with its place.
type route struct {
	method, path string
	run          operation
}

// operations are those of the AWS IoT API reference, as far as they are served.
var operations = []route{
	{"POST", "/things/{thingName}", createThing},
	{"GET", "/things/{thingName}", describeThing},
	{"GET", "/things", listThings},
	{"PATCH", "/things/{thingName}", updateThing},
	{"DELETE", "/things/{thingName}", deleteThing},
	{"PUT", "/things/{thingName}/principals", attachThingPrincipal},
	{"DELETE", "/things/{thingName}/principals", detachThingPrincipal},
	{"GET", "/things/{thingName}/principals", listThingPrincipals},
	{"GET", "/things/{thingName}/principals-v2", listThingPrincipalsV2},
	{"GET", "/principals/things", listPrincipalThings},
	{"GET", "/principals/things-v2", listPrincipalThingsV2},

	{"POST", "/thing-types/{thingTypeName}", createThingType},
	{"GET", "/thing-types/{thingTypeName}", describeThingType},
	{"GET", "/thing-types", listThingTypes},
	{"PATCH", "/thing-types/{thingTypeName}", updateThingType},
	{"POST", "/thing-types/{thingTypeName}/deprecate", deprecateThingType},
	{"DELETE", "/thing-types/{thingTypeName}", deleteThingType},

	{"POST", "/thing-groups/{thingGroupName}", createThingGroup},
	{"GET", "/thing-groups/{thingGroupName}", describeThingGroup},
	{"GET", "/thing-groups", listThingGroups},
	{"PATCH", "/thing-groups/{thingGroupName}", updateThingGroup},
	{"DELETE", "/thing-groups/{thingGroupName}", deleteThingGroup},
	{"PUT", "/thing-groups/addThingToThingGroup", addThingToThingGroup},
	{"PUT", "/thing-groups/removeThingFromThingGroup", removeThingFromThingGroup},
	{"PUT", "/thing-groups/updateThingGroupsForThing", updateThingGroupsForThing},
	{"GET", "/thing-groups/{thingGroupName}/things", listThingsInThingGroup},
	{"GET", "/things/{thingName}/thing-groups", listThingGroupsForThing},

	{"POST", "/billing-groups/{billingGroupName}", createBillingGroup},
	{"GET", "/billing-groups/{billingGroupName}", describeBillingGroup},
	{"GET", "/billing-groups", listBillingGroups},
	{"PATCH", "/billing-groups/{billingGroupName}", updateBillingGroup},
	{"DELETE", "/billing-groups/{billingGroupName}", deleteBillingGroup},
	{"PUT", "/billing-groups/addThingToBillingGroup", addThingToBillingGroup},
	{"PUT", "/billing-groups/removeThingFromBillingGroup", removeThingFromBillingGroup},
	{"GET", "/billing-groups/{billingGroupName}/things", listThingsInBillingGroup},

	{"POST", "/keys-and-certificate", createKeysAndCertificate},
	{"POST", "/certificates", createCertificateFromCSR},
	{"GET", "/certificates/{certificateId}", describeCertificate},
	{"GET", "/certificates", listCertificates},
	{"PUT", "/certificates/{certificateId}", updateCertificate},
	{"DELETE", "/certificates/{certificateId}", deleteCertificate},
	{"POST", "/certificate/register", registerCertificate},
	{"POST", "/certificate/register-no-ca", registerCertificateWithoutCA},
	{"GET", "/certificates-by-ca/{caCertificateId}", listCertificatesByCA},
	{"PATCH", "/transfer-certificate/{certificateId}", transferCertificate},
	{"PATCH", "/accept-certificate-transfer/{certificateId}", transferCertificate},
	{"PATCH", "/reject-certificate-transfer/{certificateId}", transferCertificate},
	{"PATCH", "/cancel-certificate-transfer/{certificateId}", transferCertificate},
	{"GET", "/certificates-out-going", listOutgoingCertificates},

	{"GET", "/registrationcode", getRegistrationCode},
	{"DELETE", "/registrationcode", deleteRegistrationCode},
	{"POST", "/cacertificate", registerCACertificate},
	{"GET", "/cacertificate/{caCertificateId}", describeCACertificate},
	{"PUT", "/cacertificate/{caCertificateId}", updateCACertificate},
	{"DELETE", "/cacertificate/{caCertificateId}", deleteCACertificate},
	{"GET", "/cacertificates", listCACertificates},

	{"POST", "/things", registerThing},
	{"POST", "/provisioning-templates", createProvisioningTemplate},
	{"GET", "/provisioning-templates", listProvisioningTemplates},
	{"GET", "/provisioning-templates/{templateName}", describeProvisioningTemplate},
	{"PATCH", "/provisioning-templates/{templateName}", updateProvisioningTemplate},
	{"DELETE", "/provisioning-templates/{templateName}", deleteProvisioningTemplate},
	{"POST", "/provisioning-templates/{templateName}/versions", createProvisioningTemplateVersion},
	{"GET", "/provisioning-templates/{templateName}/versions", listProvisioningTemplateVersions},
	{"GET", "/provisioning-templates/{templateName}/versions/{versionId}", describeProvisioningTemplateVersion},
	{"DELETE", "/provisioning-templates/{templateName}/versions/{versionId}", deleteProvisioningTemplateVersion},
	{"POST", "/provisioning-templates/{templateName}/provisioning-claim", createProvisioningClaim},

	{"POST", "/role-aliases/{roleAlias}", createRoleAlias},
	{"GET", "/role-aliases/{roleAlias}", describeRoleAlias},
	{"GET", "/role-aliases", listRoleAliases},
	{"PUT", "/role-aliases/{roleAlias}", updateRoleAlias},
	{"DELETE", "/role-aliases/{roleAlias}", deleteRoleAlias},

	{"POST", "/policies/{policyName}", createPolicy},
	{"GET", "/policies/{policyName}", getPolicy},
	{"GET", "/policies", listPolicies},
	{"DELETE", "/policies/{policyName}", deletePolicy},
	{"POST", "/policies/{policyName}/version", createPolicyVersion},
	{"GET", "/policies/{policyName}/version", listPolicyVersions},
	{"GET", "/policies/{policyName}/version/{policyVersionId}", getPolicyVersion},
	{"PATCH", "/policies/{policyName}/version/{policyVersionId}", setDefaultPolicyVersion},
	{"DELETE", "/policies/{policyName}/version/{policyVersionId}", deletePolicyVersion},
	{"PUT", "/target-policies/{policyName}", attachPolicy},
	{"POST", "/target-policies/{policyName}", detachPolicy},
	{"POST", "/attached-policies/{target+}", listAttachedPolicies},
	{"POST", "/policy-targets/{policyName}", listTargetsForPolicy},
	{"PUT", "/principal-policies/{policyName}", attachPrincipalPolicy},
	{"DELETE", "/principal-policies/{policyName}", detachPrincipalPolicy},
	{"GET", "/principal-policies", listPrincipalPolicies},
	{"GET", "/policy-principals", listPolicyPrincipals},
	{"POST", "/effective-policies", getEffectivePolicies},
	{"POST", "/test-authorization", testAuthorization},

	{"POST", "/rules/{ruleName}", createTopicRule},
	{"PATCH", "/rules/{ruleName}", replaceTopicRule},
	{"GET", "/rules/{ruleName}", getTopicRule},
	{"GET", "/rules", listTopicRules},
	{"DELETE", "/rules/{ruleName}", deleteTopicRule},
	{"POST", "/rules/{ruleName}/enable", enableTopicRule},
	{"POST", "/rules/{ruleName}/disable", disableTopicRule},

	{"POST", "/destinations", createTopicRuleDestination},
	{"GET", "/destinations", listTopicRuleDestinations},
	{"PATCH", "/destinations", updateTopicRuleDestination},
	{"GET", "/destinations/{arn+}", getTopicRuleDestination},
	{"DELETE", "/destinations/{arn+}", deleteTopicRuleDestination},
	{"GET", confirmPath, confirmTopicRuleDestination},

	{"GET", "/event-configurations", describeEventConfigurations},
	{"PATCH", "/event-configurations", updateEventConfigurations},
	{"GET", "/indexing/config", getIndexingConfiguration},
	{"POST", "/indexing/config", updateIndexingConfiguration},
	{"GET", "/indices", listIndices},
	{"GET", "/indices/{indexName}", describeIndex},
	{"POST", "/indices/search", searchIndex},

	{"GET", "/endpoint", describeEndpoint},
	{"POST", "/tags", tagResource},
	{"POST", "/untag", untagResource},
	{"GET", "/tags", listTagsForResource},
}

// maxBody is the greatest size of a request body in bytes: a policy document
// (404,600 characters in the API model) with every character escaped.
const maxBody = 1 << 20

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run, others := h.mux.Find(r)
	if run == nil {
		run, _ = h.unserved.Find(r)
	}
	switch {
	case run != nil:
		run(w, r)
	case others != nil:
		awsapi.WriteError(w, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException",
			"%s %s is not an operation of AWS IoT: on this path there is %s", r.Method, r.URL.EscapedPath(), strings.Join(others, ", ")))
	default:
		awsapi.WriteError(w, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException",
			"%s %s is not an operation of AWS IoT", r.Method, r.URL.EscapedPath()))
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, run operation) {
	r.Body = limited(w, r)
	body, err := run(h, &call{r: r, query: r.URL.Query()})
	if err == nil {
		h.tellJobs(r)
		awsapi.WriteJSON(w, body)
		return
	}
	if !awsapi.WriteError(w, wireError(err)) {
		h.log.Error("an AWS IoT call failed", "method", r.Method, "path", r.URL.EscapedPath(), "err", err)
	}
}

// tellJobs has the jobs look at the things and groups after a call that may
// have changed them.
func (h *Handler) tellJobs(r *http.Request) {
	root, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if h.jobs != nil && r.Method != http.MethodGet && (root == "things" || root == "thing-groups") {
		h.jobs.FleetChanged()
	}
}

// limited leaves a body alone that the front has read, and bounds any other.
func limited(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	if r.ContentLength >= 0 && r.ContentLength <= maxBody {
		return r.Body
	}
	return http.MaxBytesReader(w, r.Body, maxBody)
}

// Refuse implements awsapi.Service.
func (h *Handler) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) {
	awsapi.WriteError(w, &awsapi.Error{Code: e.Code, Status: e.StatusOr(http.StatusForbidden), Message: e.Message})
}

// statuses are the HTTP statuses of the registry's failures (AWS IoT
// API reference, errors of each action).
var statuses = map[registry.Code]int{
	registry.InvalidRequest:   400,
	registry.MalformedPolicy:  400,
	registry.NotFound:         404,
	registry.CertificateState: 406,
	registry.Exists:           409,
	registry.DeleteConflict:   409,
	registry.VersionsLimit:    409,
	registry.VersionConflict:  409,
	registry.LimitExceeded:    410,
	registry.Unavailable:      503,

	registry.CertificateValidation:      400,
	registry.RegistrationCodeValidation: 400,
	registry.CertificateConflict:        409,
	registry.InvalidToken:               400,
}

// wireError maps the failures of the engines to the wire.
func wireError(err error) error {
	var e *registry.Error
	var invalid *rules.InvalidError
	switch {
	case errors.As(err, &e):
		out := &awsapi.Error{Code: string(e.Code), Status: statuses[e.Code], Message: e.Msg}
		if e.Code == registry.Exists {
			out.Extra = map[string]any{"resourceId": e.ResourceID, "resourceArn": e.ResourceARN}
		}
		return out
	case errors.As(err, &invalid) && invalid.SQL:
		return awsapi.Errorf(400, "SqlParseException", "%s", invalid.Msg)
	case errors.As(err, &invalid):
		return badRequest("%s", invalid.Msg)
	case errors.Is(err, store.ErrFull):
		return awsapi.Errorf(503, "ServiceUnavailableException", "nothing was changed: %v", err)
	}
	return err
}

func badRequest(format string, args ...any) error {
	return awsapi.Errorf(http.StatusBadRequest, string(registry.InvalidRequest), format, args...)
}

// call is one request on its way through an operation.
type call struct {
	r     *http.Request
	query url.Values
}

func (c *call) label(name string) string  { return c.r.PathValue(name) }
func (c *call) header(name string) string { return c.r.Header.Get(name) }

// flag reads a boolean of the query; absent means otherwise.
func (c *call) flag(name string, otherwise bool) (bool, error) {
	text := c.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, badRequest("the query parameter %s is %q: it must be true or false", name, text)
	}
	return b, nil
}

// number reads an integer of the query; absent means 0.
func (c *call) number(name string) (int64, error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, badRequest("the query parameter %s is %q: it must be a number from 1", name, text)
	}
	return n, nil
}

// page reads what part of a list is wanted; AWS IoT has two sets of names.
func (c *call) page() (registry.Page, error) {
	size := "maxResults"
	if c.query.Has("pageSize") {
		size = "pageSize"
	}
	n, err := c.number(size)
	return registry.Page{Limit: int(n), Token: cmp.Or(c.query.Get("nextToken"), c.query.Get("marker"))}, err
}

// pageOfThings is page for lists of things, types and groups. The API reference
// does not say how many a page has when none is asked for; here it is 50.
func (c *call) pageOfThings() (registry.Page, error) {
	p, err := c.page()
	p.Default = 50
	return p, err
}

// pageByTime is page for lists that are ordered by creation, the newest first
// unless isAscendingOrder is set.
func (c *call) pageByTime() (registry.Page, error) { return c.pageInOrder(false) }

// pageInOrder is page for lists with an isAscendingOrder, which ascend when it is
// left out or not.
func (c *call) pageInOrder(otherwise bool) (registry.Page, error) {
	p, err := c.page()
	if err != nil {
		return p, err
	}
	ascending, err := c.flag("isAscendingOrder", otherwise)
	p.Descending = !ascending
	return p, err
}

// body decodes the JSON body, if there is one, into v. Members that the
// operation does not have are ignored, as AWS does.
func (c *call) body(v any) error {
	data, err := awsapi.Body(c.r)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig), len(data) > maxBody:
		return badRequest("the request body has more than %d bytes", maxBody)
	case err != nil:
		return badRequest("the request body cannot be read: %v", err)
	case len(data) == 0:
		return nil
	}
	err = json.Unmarshal(data, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return badRequest("the member %s of the request must not be %s", cmp.Or(wrong.Field, "at the top"), wrong.Value)
	}
	if err != nil {
		return badRequest("the request body is not JSON: %v", err)
	}
	return nil
}

// certificate reads the id of a certificate from its ARN; what says where the
// ARN stands.
func (h *Handler) certificate(what, arn string) (string, error) {
	if arn == "" {
		return "", badRequest("%s is missing: it must be the ARN of a certificate", what)
	}
	return h.reg.CertificateID(arn)
}

// arns turns certificate ids into ARNs.
func (h *Handler) arns(ids []string) []string {
	return each(ids, func(id string) string { return h.reg.ARN("cert/" + id) })
}

// The names of the member of lists that says where the next page begins.
const (
	nextToken  = "nextToken"
	nextMarker = "nextMarker"
)

// pageOf answers a page of a list: its entries, which are not nil, as member,
// and where the next page begins, if there is one.
func pageOf(member string, entries any, nextMember, next string) map[string]any {
	out := map[string]any{member: entries}
	if next != "" {
		out[nextMember] = next
	}
	return out
}

// each returns what f makes of each of all, never nil.
func each[T, R any](all []T, f func(T) R) []R {
	out := make([]R, len(all))
	for i, x := range all {
		out[i] = f(x)
	}
	return out
}

// epoch is a time as the API writes it: a number, seconds since 1970.
type epoch time.Time

// MarshalJSON implements json.Marshaler.
func (e epoch) MarshalJSON() ([]byte, error) {
	ms := time.Time(e).UnixMilli()
	if ms < 0 {
		return []byte("0"), nil
	}
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}
