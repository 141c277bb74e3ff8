package iot

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/destination"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rules"
	"mote/internal/mqtt"
)

var ruleNameForm = regexp.MustCompile(`^[a-zA-Z0-9_]+$`) // and at most 128; counting here would take 100 KB

// maxActions is how many actions a rule may have (API model).
const maxActions = 10

// ruleError maps the failures of rule operations that name the rule. A rule
// that does not exist is answered as one of somebody else, as AWS does.
func (h *Handler) ruleError(name string, err error) error {
	switch {
	case errors.Is(err, rules.ErrNotFound):
		return awsapi.Errorf(http.StatusUnauthorized, "UnauthorizedException", "Access to topic rule '%s' was denied", name)
	case errors.Is(err, rules.ErrExists):
		e := awsapi.Errorf(http.StatusConflict, string(registry.Exists), "Rule with the name %s already exists", name)
		e.Extra = map[string]any{"resourceId": name, "resourceArn": h.ruleARN(name)}
		return e
	}
	return err
}

func (h *Handler) ruleARN(name string) string { return h.reg.ARN("rule/" + name) }

// rulePayload reads the name and the payload, which is the body itself.
func rulePayload(c *call) (name string, p rules.Payload, err error) {
	if name, err = ruleName(c); err != nil {
		return name, p, err
	}
	if err := c.body(&p); err != nil {
		return name, p, err
	}
	switch {
	case p.SQL == "":
		return name, p, badRequest("sql is missing")
	case p.Actions == nil:
		return name, p, badRequest("actions is missing: it must be a list, which may be empty")
	case len(p.Actions) > maxActions:
		return name, p, badRequest("the rule has %d actions, the limit is %d", len(p.Actions), maxActions)
	}
	return name, p, nil
}

func ruleName(c *call) (string, error) {
	name := c.label("ruleName")
	if len(name) > 128 || !ruleNameForm.MatchString(name) {
		return name, badRequest("the rule name %.140q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and _", name)
	}
	return name, nil
}

func createTopicRule(h *Handler, c *call) (any, error) {
	name, p, err := rulePayload(c)
	if err != nil {
		return nil, err
	}
	tags, err := headerTags(c.header("x-amz-tagging"))
	if err != nil {
		return nil, err
	}
	if err := h.rules.Create(name, p); err != nil {
		return nil, h.ruleError(name, err)
	}
	h.askDestinations(name, p)
	return nil, h.reg.SetTags("rule/"+name, tags, nil)
}

// headerTags reads tags of the form "k=v&k2=v2".
func headerTags(text string) (map[string]string, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, badRequest("the header x-amz-tagging cannot be read: %v", err)
	}
	tags := map[string]string{}
	for k, v := range values {
		tags[k] = v[0]
	}
	return tags, registry.CheckTags(tags)
}

func replaceTopicRule(h *Handler, c *call) (any, error) {
	name, p, err := rulePayload(c)
	if err != nil {
		return nil, err
	}
	if err := h.rules.Replace(name, p); err != nil {
		return nil, h.ruleError(name, err)
	}
	h.askDestinations(name, p)
	return nil, nil
}

// askDestinations makes the destinations that the rule's http actions still
// need, if that is possible (AWS IoT API, HttpAction): each is asked whether it
// wants what the rule sends. The rule stands in any case.
func (h *Handler) askDestinations(rule string, p rules.Payload) {
	if h.destinations == nil {
		return
	}
	for _, url := range p.ConfirmationURLs() {
		if h.destinations.Allow(url) == nil {
			continue
		}
		_, err := h.destinations.CreateURL(url)
		if err != nil && !errors.Is(err, destination.ErrExists) {
			h.log.Warn("a rule has an http action whose destination cannot be made", "rule", rule, "err", err)
		}
	}
}

// ruleJSON is a rule as GetTopicRule has it; actions are as they came.
type ruleJSON struct {
	Name        string            `json:"ruleName"`
	SQL         string            `json:"sql"`
	Description string            `json:"description,omitempty"`
	CreatedAt   epoch             `json:"createdAt"`
	Actions     []json.RawMessage `json:"actions"`
	Disabled    bool              `json:"ruleDisabled"`
	SQLVersion  string            `json:"awsIotSqlVersion"`
	ErrorAction json.RawMessage   `json:"errorAction,omitempty"`
}

// firstSQLVersion is the version of a rule that names none.
const firstSQLVersion = "2015-10-08"

func getTopicRule(h *Handler, c *call) (any, error) {
	name := c.label("ruleName")
	r, err := h.rules.Get(name)
	if err != nil {
		return nil, h.ruleError(name, err)
	}
	p := r.Payload
	out := ruleJSON{r.Name, p.SQL, p.Description, epoch(r.CreatedAt), p.Actions, p.RuleDisabled, p.AWSIoTSQLVersion, p.ErrorAction}
	if out.SQLVersion == "" {
		out.SQLVersion = firstSQLVersion
	}
	if out.Actions == nil {
		out.Actions = []json.RawMessage{}
	}
	return map[string]any{"ruleArn": h.ruleARN(r.Name), "rule": out}, nil
}

// maxRulePage is the greatest page of ListTopicRules (API model).
const maxRulePage = 10000

func listTopicRules(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	p.Max = maxRulePage
	disabled, err := c.flag("ruleDisabled", false)
	if err != nil {
		return nil, err
	}
	topic := c.query.Get("topic")
	byName := map[string]rules.Rule{}
	var names []string
	for _, r := range h.rules.List() {
		if c.query.Has("ruleDisabled") && r.Payload.RuleDisabled != disabled || topic != "" && !mqtt.MatchAWS(r.Filter, topic) {
			continue
		}
		byName[r.Name] = r
		names = append(names, r.Name)
	}
	slices.Sort(names)
	names, next, err := registry.Cut(names, p, nil)
	entry := func(name string) map[string]any {
		r := byName[name]
		return map[string]any{
			"ruleArn": h.ruleARN(name), "ruleName": name, "topicPattern": r.Filter, "createdAt": epoch(r.CreatedAt), "ruleDisabled": r.Payload.RuleDisabled,
		}
	}
	return pageOf("rules", each(names, entry), nextToken, next), err
}

// deleteTopicRule succeeds for a rule that does not exist.
func deleteTopicRule(h *Handler, c *call) (any, error) {
	name := c.label("ruleName")
	if err := h.rules.Delete(name); err != nil && !errors.Is(err, rules.ErrNotFound) {
		return nil, err
	}
	return nil, h.reg.DropTags("rule/" + name)
}

func enableTopicRule(h *Handler, c *call) (any, error)  { return h.setEnabled(c, true) }
func disableTopicRule(h *Handler, c *call) (any, error) { return h.setEnabled(c, false) }

func (h *Handler) setEnabled(c *call, on bool) (any, error) {
	name := c.label("ruleName")
	return nil, h.ruleError(name, h.rules.SetEnabled(name, on))
}
