package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Limits of a document (AWS IoT quotas, "AWS IoT Core policies").
const (
	// MaxDocument is the greatest size of a document in characters, without
	// white space.
	MaxDocument = 2048
	// maxText is the greatest size in bytes with white space (API model).
	maxText = 404600
)

// version is the only policy language version that AWS IoT policies have.
const version = "2012-10-17"

// Document is a compiled policy document. It never changes.
type Document struct {
	name       string
	statements []*statement
}

// Name is the name of the policy that the document was compiled for.
func (d *Document) Name() string { return d.name }

// statement is one compiled statement.
type statement struct {
	policy string // its name
	index  int    // in the document
	sid    string // "" without one
	source string // its JSON, as it was written
	label  string // for people: `statement "Connect" of policy "gateway"`
	why    string // the reason of a Decision that it allows
	deny   bool

	known   actionSet // actions of the reference that it names
	actions []matcher // lower case, for all others
	but     bool      // the actions are those that it does not mean; known has what it means

	not       bool // the resources are those that it does not mean
	resources []template
	fixed     []matcher // resources compiled, when none has a variable

	conditions []condition
}

// Compile parses the document of the policy called name. Its errors are
// [*SyntaxError] values for the client: they say where and what.
func Compile(name, text string) (*Document, error) {
	r := &reader{src: text}
	if len(text) > maxText {
		return nil, r.errorf(0, "", "the document has %d bytes, the limit is %d", len(text), maxText)
	}
	size := 0
	for _, c := range text {
		if !unicode.IsSpace(c) {
			size++
		}
	}
	if size > MaxDocument {
		return nil, r.errorf(0, "", "the document has %d characters without white space, the limit is %d: split it into several policies", size, MaxDocument)
	}
	root, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	c := &compiler{reader: r, doc: &Document{name: name}}
	if err := c.document(root); err != nil {
		return nil, err
	}
	return c.doc, nil
}

type compiler struct {
	*reader
	doc *Document
}

func (c *compiler) refuse(n *node, format string, args ...any) error {
	return c.errorf(n.at, n.path, format, args...)
}

// fields sorts the members of n by name and refuses every other name.
func (c *compiler) fields(n *node, allowed ...string) (map[string]*node, error) {
	if n.kind != kindObject {
		return nil, c.refuse(n, "must be an object, not %s", n.kind)
	}
	out := make(map[string]*node, len(n.members))
	for _, m := range n.members {
		if !slices.Contains(allowed, m.name) {
			return nil, c.errorf(m.at, m.value.path, "%s", unknownMember(m.name, allowed))
		}
		out[m.name] = m.value
	}
	return out, nil
}

func unknownMember(name string, allowed []string) string {
	for _, a := range allowed {
		if strings.EqualFold(a, name) {
			return fmt.Sprintf("no such element: did you mean %s", a)
		}
	}
	switch name {
	case "Principal", "NotPrincipal":
		return "an IoT policy has no principal: attach the policy to a certificate instead"
	}
	return "no such element: the elements are " + strings.Join(allowed, ", ")
}

func (c *compiler) document(root *node) error {
	f, err := c.fields(root, "Version", "Id", "Statement")
	if err != nil {
		return err
	}
	v := f["Version"]
	if v == nil {
		return c.refuse(root, "has no Version: add \"Version\": %q", version)
	}
	if v.kind != kindText || v.text != version {
		return c.refuse(v, "must be %q", version)
	}
	if id := f["Id"]; id != nil && id.kind != kindText {
		return c.refuse(id, "must be a string, not %s", id.kind)
	}
	list := f["Statement"]
	if list == nil {
		return c.refuse(root, "has no Statement")
	}
	items := []*node{list}
	if list.kind == kindList {
		items = list.items // none: such a policy allows nothing
	}
	for i, n := range items {
		st, err := c.statement(n, i)
		if err != nil {
			return err
		}
		c.doc.statements = append(c.doc.statements, st)
	}
	return nil
}

func (c *compiler) statement(n *node, index int) (*statement, error) {
	f, err := c.fields(n, "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if err != nil {
		return nil, err
	}
	st := &statement{policy: c.doc.name, index: index, source: c.src[n.at:n.end], label: fmt.Sprintf("statement %d of policy %q", index, c.doc.name)}
	if sid := f["Sid"]; sid != nil {
		if sid.kind != kindText {
			return nil, c.refuse(sid, "must be a string, not %s", sid.kind)
		}
		if sid.text != "" {
			st.sid = sid.text
			st.label = fmt.Sprintf("statement %q of policy %q", sid.text, c.doc.name)
		}
	}
	st.why = st.label + " allows it"
	if err := c.effect(st, n, f["Effect"]); err != nil {
		return nil, err
	}
	if err := c.actions(st, n, f["Action"], f["NotAction"]); err != nil {
		return nil, err
	}
	if err := c.resources(st, n, f["Resource"], f["NotResource"]); err != nil {
		return nil, err
	}
	if cond := f["Condition"]; cond != nil {
		st.conditions, err = c.conditions(cond)
	}
	return st, err
}

func (c *compiler) effect(st *statement, n, effect *node) error {
	if effect == nil {
		return c.refuse(n, "has no Effect: add \"Effect\": \"Allow\"")
	}
	if effect.kind != kindText || effect.text != "Allow" && effect.text != "Deny" {
		return c.refuse(effect, `must be "Allow" or "Deny"`)
	}
	st.deny = effect.text == "Deny"
	return nil
}

// texts returns the strings of a string or a list of strings, at least one.
func (c *compiler) texts(n *node) ([]*node, error) {
	items := []*node{n}
	if n.kind == kindList {
		if items = n.items; len(items) == 0 {
			return nil, c.refuse(n, "is empty")
		}
	}
	for _, item := range items {
		if item.kind != kindText {
			return nil, c.refuse(item, "must be a string, not %s", item.kind)
		}
		if item.text == "" {
			return nil, c.refuse(item, "must not be empty")
		}
	}
	return items, nil
}

func (c *compiler) actions(st *statement, n, action, not *node) error {
	switch {
	case action == nil && not == nil:
		return c.refuse(n, "has neither Action nor NotAction")
	case action != nil && not != nil:
		return c.refuse(not, "stands beside Action: only one of the two may be there")
	case not != nil:
		st.but, action = true, not
	}
	items, err := c.texts(action)
	if err != nil {
		return err
	}
	for _, item := range items {
		if !validAction(item.text) {
			return c.refuse(item, "%q is no action: it must be \"*\" or like \"iot:Publish\"", item.text)
		}
		t, err := parseTemplate(strings.ToLower(item.text), true)
		if err != nil {
			return c.refuse(item, "%v", err)
		}
		st.actions = append(st.actions, compileParts(t.parts))
	}
	for bit, name := range knownActions {
		if st.lists(name) {
			st.known |= 1 << bit
		}
	}
	return nil
}

// validAction says whether s is "*" or service:name, wildcards in both.
func validAction(s string) bool {
	service, name, ok := strings.Cut(s, ":")
	if s == "*" {
		return true
	}
	good := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '*' || r == '?'
	}
	bad := func(r rune) bool { return !good(r) }
	return ok && service != "" && name != "" && strings.IndexFunc(service, bad) < 0 && strings.IndexFunc(name, bad) < 0
}

func (c *compiler) resources(st *statement, n, resource, not *node) error {
	switch {
	case resource == nil && not == nil:
		return c.refuse(n, "has neither Resource nor NotResource")
	case resource != nil && not != nil:
		return c.refuse(not, "stands beside Resource: only one of the two may be there")
	case not != nil:
		st.not, resource = true, not
	}
	items, err := c.texts(resource)
	if err != nil {
		return err
	}
	bound := true
	for _, item := range items {
		if err := checkResource(item.text); err != nil {
			return c.refuse(item, "%v", err)
		}
		t, err := parseTemplate(item.text, true)
		if err != nil {
			return c.refuse(item, "%v", err)
		}
		bound = bound && !t.vars
		st.resources = append(st.resources, t)
	}
	if bound {
		for _, t := range st.resources {
			st.fixed = append(st.fixed, compileParts(t.parts))
		}
	}
	return nil
}

// checkResource refuses what cannot be an ARN; wildcards may stand for any
// part of it.
func checkResource(s string) error {
	if strings.ContainsAny(s[:1], "*?") {
		return nil
	}
	const form = "arn:aws:iot:<region>:<account>:<type>/<name>"
	if !strings.HasPrefix(s, "arn:") && !strings.HasPrefix(s, "arn*") && !strings.HasPrefix(s, "arn?") {
		return fmt.Errorf(`%q is no resource: it must be "*" or an ARN such as %s`, s, form)
	}
	if strings.Count(s, ":") < 5 && !strings.ContainsAny(s, "*?") {
		return fmt.Errorf("%q is no whole ARN: it must look like %s", s, form)
	}
	return nil
}

// actionSet is a set of knownActions, bit by index.
type actionSet uint32

// knownActions are the IoT data actions (AWS IoT developer guide, "AWS
// IoT Core policy actions"), in lower case, for which matching is precomputed.
var knownActions = [...]string{
	"iot:connect", "iot:publish", "iot:retainpublish", "iot:subscribe", "iot:receive",
	"iot:getretainedmessage", "iot:listretainedmessages",
	"iot:getthingshadow", "iot:updatethingshadow", "iot:deletethingshadow", "iot:listnamedshadowsforthing",
}

// actionBit returns the set of just that action, or 0 when it is not known.
func actionBit(action string) actionSet {
	switch action {
	case "iot:Connect":
		return 1 << 0
	case "iot:Publish":
		return 1 << 1
	case "iot:RetainPublish":
		return 1 << 2
	case "iot:Subscribe":
		return 1 << 3
	case "iot:Receive":
		return 1 << 4
	case "iot:GetRetainedMessage":
		return 1 << 5
	case "iot:ListRetainedMessages":
		return 1 << 6
	case "iot:GetThingShadow":
		return 1 << 7
	case "iot:UpdateThingShadow":
		return 1 << 8
	case "iot:DeleteThingShadow":
		return 1 << 9
	case "iot:ListNamedShadowsForThing":
		return 1 << 10
	}
	return 0
}

// names says whether the statement is about action; bit is its actionBit.
func (st *statement) names(bit actionSet, action string) bool {
	if bit != 0 {
		return st.known&bit != 0
	}
	return st.lists(strings.ToLower(action))
}

// lists is names without what is precomputed; action is in lower case.
func (st *statement) lists(action string) bool {
	return slices.ContainsFunc(st.actions, func(m matcher) bool { return m.match(action) }) != st.but
}
