package dynamodb

import (
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// condition is one member of Expected, KeyConditions, QueryFilter or
// ScanFilter; what is absent is nil.
type condition struct {
	name     string
	operator *string
	list     []attribute // AttributeValueList
	value    *attribute  // of Expected, as is exists
	exists   *bool
}

func mapOf(name string) string {
	return "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810." + name + ">"
}

// conditions takes a map of conditions, which is not nil, in the order of the
// request.
func (s *scanner) conditions(structure string) []condition {
	all := []condition{}
	s.object(unexpectedField, mapOf(structure), func(name string) {
		c := condition{name: name}
		if !s.null() {
			s.object(unexpectedValue, structureOf(structure), func(member string) { s.conditionMember(&c, member, structure) })
		}
		all = append(all, c)
	})
	return all
}

func (s *scanner) conditionMember(c *condition, member, structure string) {
	switch {
	case s.null():
	case member == "ComparisonOperator":
		c.operator = s.text()
	case member == "AttributeValueList":
		c.list = []attribute{}
		s.list(func() { c.list = append(c.list, s.attribute(maxNesting, unexpectedValue)) })
	case member == "Value" && structure == "ExpectedAttributeValue":
		c.value = new(s.attribute(maxNesting, unexpectedField))
	case member == "Exists" && structure == "ExpectedAttributeValue":
		c.exists = s.boolean()
	default:
		s.skip()
	}
}

// operator says whether the conditions hold all together or one by one.
func (c *constraints) conditionalOperator(in *input) {
	c.enum(in.conditionalOperator, "conditionalOperator", "OR", "AND")
}

var comparisonOperators = []string{"IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE", "BEGINS_WITH", "GE", "CONTAINS"}

// conditions holds the operators of conditions to those that there are.
func (c *constraints) conditions(list []condition, member string, required bool) {
	for _, one := range list {
		at := member + "." + one.name + ".member.comparisonOperator"
		if required {
			c.required(one.operator != nil, at)
		}
		c.enum(one.operator, at, comparisonOperators...)
	}
}

// attributesToGet holds the list of names to its length.
func (c *constraints) attributesToGet(list []string, member string) {
	if list == nil {
		return
	}
	if len(list) < 1 {
		c.add("'[]'", member, "have length greater than or equal to 1")
	}
	if len(list) > 255 {
		c.add(quote("["+strings.Join(list, ", ")+"]"), member, "have length less than or equal to 255")
	}
}

// engineConditions are conditions for the engine. The first fault of a value
// is returned.
func engineConditions(list []condition) ([]table.AttributeCondition, error) {
	if list == nil {
		return nil, nil
	}
	out := []table.AttributeCondition{}
	for _, c := range list {
		one := table.AttributeCondition{Name: c.name, Operator: *c.operator}
		for _, v := range c.list {
			if v.fault != nil {
				return nil, v.fault
			}
			one.Values = append(one.Values, v.Value)
		}
		if err := one.Check(); err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// expectations are the conditions of Expected for the engine.
func (in *input) expectations() ([]table.AttributeCondition, error) {
	var out []table.AttributeCondition
	for i := range in.expected {
		c := &in.expected[i]
		if err := c.checkShape(); err != nil {
			return nil, err
		}
		if c.value != nil {
			c.list = []attribute{*c.value}
		}
		if c.operator == nil {
			c.operator = new("EQ")
			if c.exists != nil && !*c.exists {
				c.operator = new("NULL")
			}
		}
		one, err := engineConditions([]condition{*c})
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

// checkShape refuses members of Expected that do not go together.
func (c *condition) checkShape() error {
	const invalid = "One or more parameter values were invalid: "
	of := " for Attribute: " + c.name
	switch {
	case c.list != nil && c.value != nil:
		return refused(invalid + "Value and AttributeValueList cannot be used together" + of)
	case c.operator == nil && c.list != nil:
		return refused(invalid + "AttributeValueList can only be used with a ComparisonOperator" + of)
	case c.operator == nil && (c.exists == nil || *c.exists) && c.value == nil:
		return refused(invalid + "Value must be provided when Exists is " + show(c.exists) + of)
	case c.operator == nil && c.exists != nil && !*c.exists && c.value != nil:
		return refused(invalid + "Value cannot be used when Exists is false" + of)
	case c.operator == nil:
		return nil
	case c.exists != nil:
		return refused(invalid + "Exists and ComparisonOperator cannot be used together" + of)
	case *c.operator != "NULL" && *c.operator != "NOT_NULL" && c.list == nil && c.value == nil:
		return refused(invalid + "Value or AttributeValueList must be used with ComparisonOperator: " + *c.operator + of)
	}
	return nil
}

func show(b *bool) string {
	if b == nil {
		return "null"
	}
	return strconv.FormatBool(*b)
}

// attributeUpdate is one member of AttributeUpdates.
type attributeUpdate struct {
	name   string
	action *string
	value  *attribute
}

// attributeUpdates takes AttributeUpdates, which is not nil.
func (s *scanner) attributeUpdates() []attributeUpdate {
	all := []attributeUpdate{}
	s.object(unexpectedField, mapOf("AttributeValueUpdate"), func(name string) {
		u := attributeUpdate{name: name}
		if !s.null() {
			s.object(unexpectedValue, structureOf("AttributeValueUpdate"), func(member string) { s.updateMember(&u, member) })
		}
		all = append(all, u)
	})
	return all
}

func (s *scanner) updateMember(u *attributeUpdate, member string) {
	switch {
	case s.null():
	case member == "Action":
		u.action = s.text()
	case member == "Value":
		u.value = new(s.attribute(maxNesting, unexpectedField))
	default:
		s.skip()
	}
}

// engineUpdates are AttributeUpdates for the engine.
func (in *input) engineUpdates() ([]table.AttributeUpdate, error) {
	var out []table.AttributeUpdate
	for _, u := range in.updates {
		one := table.AttributeUpdate{Name: u.name}
		if u.action != nil {
			one.Action = *u.action
		}
		if u.value != nil {
			if u.value.fault != nil {
				return nil, u.value.fault
			}
			one.Value = &u.value.Value
		}
		if err := one.Check(); err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}
