package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// condition is one line of a Condition block: operator, key, values (IAM user
// guide, "IAM JSON policy elements: Condition operators").
type condition struct {
	label    string // for people: `StringEquals iot:ClientId`
	op       operator
	set      setMode
	ifExists bool
	null     bool // the Null operator: it asks whether the key is there
	key      variable
	values   []template
}

// setMode is how a key with several values is looked at.
type setMode byte

const (
	single    setMode = iota // any value may fit; a negated operator: none may
	forAll                   // every value must fit
	forAnyOne                // one value must fit
)

var setPrefixes = map[string]setMode{"ForAllValues": forAll, "ForAnyValue": forAnyOne}

// conditions compiles a Condition block.
func (c *compiler) conditions(n *node) ([]condition, error) {
	if n.kind != kindObject {
		return nil, c.refuse(n, "must be an object, not %s", n.kind)
	}
	var out []condition
	for _, block := range n.members {
		proto, err := parseOperator(block.name)
		if err != nil {
			return nil, c.errorf(block.at, block.value.path, "%v", err)
		}
		if block.value.kind != kindObject {
			return nil, c.refuse(block.value, "must be an object of keys and values, not %s", block.value.kind)
		}
		for _, m := range block.value.members {
			cond := proto
			cond.label += " " + m.name
			if cond.key, err = conditionKey(m.name); err != nil {
				return nil, c.errorf(m.at, m.value.path, "%v", err)
			}
			if cond.values, err = c.conditionValues(&cond, m.value); err != nil {
				return nil, err
			}
			out = append(out, cond)
		}
	}
	return out, nil
}

// parseOperator reads for example "ForAnyValue:StringLikeIfExists".
func parseOperator(name string) (condition, error) {
	cond := condition{label: name}
	base := name
	if prefix, rest, ok := strings.Cut(name, ":"); ok {
		if cond.set, ok = setPrefixes[prefix]; !ok {
			return cond, fmt.Errorf("no such set operator %q: there are ForAllValues and ForAnyValue", prefix)
		}
		base = rest
	}
	if base == "Null" && cond.set == single {
		cond.null, cond.op = true, operators["Bool"]
		return cond, nil
	}
	base, cond.ifExists = strings.CutSuffix(base, "IfExists")
	var ok bool
	if cond.op, ok = operators[base]; !ok {
		names := []string{"Null"}
		for n := range operators {
			names = append(names, n)
		}
		slices.Sort(names)
		return cond, fmt.Errorf("no such condition operator: there are %s", strings.Join(names, ", "))
	}
	return cond, nil
}

// conditionKey refuses what cannot be evaluated: a Deny that never fits
// because its key is unknown would be a hole that nobody sees.
func conditionKey(name string) (variable, error) {
	v := parseVariable(name)
	if v.id != varUnknown {
		return v, nil
	}
	switch strings.ToLower(name) {
	case "aws:currenttime", "aws:epochtime":
		return v, fmt.Errorf("%s is not supported: decisions hold for as long as a connection lasts", name)
	}
	return v, fmt.Errorf("no such condition key: there are iot:ClientId, iot:CertificateId, iot:DomainName, iot:ConnectAttributes, " +
		"iot:LastWillTopic, aws:SourceIp, iot:Connection.Thing.* and iot:Certificate.*")
}

func (c *compiler) conditionValues(cond *condition, n *node) ([]template, error) {
	items := []*node{n}
	if n.kind == kindList {
		if items = n.items; len(items) == 0 {
			return nil, c.refuse(n, "is empty")
		}
	}
	var out []template
	for _, item := range items {
		if item.kind != kindText && item.kind != kindBool && item.kind != kindNumber {
			return nil, c.refuse(item, "must be a string, a number or a boolean, not %s", item.kind)
		}
		t, err := parseTemplate(item.text, cond.op.wild)
		if err == nil && !t.vars && cond.op.check != nil {
			err = cond.op.check(item.text)
		}
		if err != nil {
			return nil, c.refuse(item, "%v", err)
		}
		out = append(out, t)
	}
	return out, nil
}

// holds evaluates the condition. An error means that a variable in its values
// has no value, so that the statement matches nothing.
func (c *condition) holds(s *scope) (bool, error) {
	wants := make([]operand, 0, len(c.values))
	for _, t := range c.values {
		parts, err := t.bind(s)
		if err != nil {
			return false, err
		}
		wants = append(wants, newOperand(parts, c.op.wild))
	}
	have, missing := s.lookup(c.key)
	if c.null {
		return slices.ContainsFunc(wants, func(w operand) bool {
			return strings.EqualFold(w.text, strconv.FormatBool(missing != nil))
		}), nil
	}
	if missing != nil {
		return c.set == forAll || c.ifExists || c.op.negated && c.set == single, nil
	}
	return c.compare(have, wants), nil
}

func (c *condition) compare(have []string, wants []operand) bool {
	fits := func(h string) bool {
		return slices.ContainsFunc(wants, func(w operand) bool { return c.op.match(h, w) }) != c.op.negated
	}
	fails := func(h string) bool { return !fits(h) }
	if c.set == forAll || c.set == single && c.op.negated {
		return !slices.ContainsFunc(have, fails)
	}
	return slices.ContainsFunc(have, fits)
}
