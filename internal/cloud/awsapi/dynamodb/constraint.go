package dynamodb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// constraints collects what is wrong with the members of a request by
// themselves; AWS tells up to ten of them at once.
type constraints struct{ faults []string }

const maxFaults = 10

func (c *constraints) add(value, member, constraint string) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, "Value "+value+" at '"+member+"' failed to satisfy constraint: Member must "+constraint)
	}
}

func (c *constraints) err() error {
	switch n := len(c.faults); n {
	case 0:
		return nil
	case 1:
		return refused("1 validation error detected: " + c.faults[0])
	default:
		return refused(fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(c.faults, "; ")))
	}
}

func quote(text string) string {
	if len(text) > 1024 {
		text = strings.ToValidUTF8(text[:1024], "") + "…"
	}
	return "'" + text + "'"
}

func (c *constraints) required(given bool, member string) {
	if !given {
		c.add("null", member, "not be null")
	}
}

// tableName holds the name of a table to its pattern and length.
func (c *constraints) tableName(name *string, member string) {
	if name == nil {
		c.required(false, member)
		return
	}
	text := bareName(*name)
	if strings.ContainsFunc(text, notOfName) || text == "" {
		c.add(quote(text), member, "satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
	}
	c.length(text, member, 3, 255)
}

func notOfName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-')
}

// bareName returns the name of a table that is given by its ARN.
func bareName(name string) string {
	if strings.HasPrefix(name, "arn:") {
		if _, after, ok := strings.Cut(name, ":table/"); ok {
			return after
		}
	}
	return name
}

func (c *constraints) length(text, member string, least, most int) {
	if len(text) < least {
		c.add(quote(text), member, "have length greater than or equal to "+strconv.Itoa(least))
	}
	if len(text) > most {
		c.add(quote(text), member, "have length less than or equal to "+strconv.Itoa(most))
	}
}

func (c *constraints) enum(value *string, member string, allowed ...string) {
	if value != nil && !slices.Contains(allowed, *value) {
		c.add(quote(*value), member, "satisfy enum value set: ["+strings.Join(allowed, ", ")+"]")
	}
}

func (c *constraints) atLeast(value *int64, member string, least int64) {
	if value != nil && *value < least {
		c.add(quote(strconv.FormatInt(*value, 10)), member, "have value greater than or equal to "+strconv.FormatInt(least, 10))
	}
}

func (c *constraints) atMost(value *int64, member string, most int64) {
	if value != nil && *value > most {
		c.add(quote(strconv.FormatInt(*value, 10)), member, "have value less than or equal to "+strconv.FormatInt(most, 10))
	}
}

// returns checks the members that say what to return.
func (c *constraints) returns(in *input) {
	c.enum(in.returnValues, "returnValues", "ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")
	c.enum(in.returnCapacity, "returnConsumedCapacity", "INDEXES", "TOTAL", "NONE")
	c.enum(in.returnMetrics, "returnItemCollectionMetrics", "SIZE", "NONE")
	c.enum(in.onFailed, "returnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
}

// expression names one expression parameter of an operation.
type expression struct {
	name string
	text *string
}

// checkParameters holds the parameters around expressions to their rules:
// none from before expressions, placeholders only with expressions and well
// formed.
func (in *input) checkParameters(expressions ...expression) error {
	var given []string
	for _, e := range expressions {
		if e.text != nil {
			given = append(given, e.name)
		}
	}
	if err := in.checkLegacy(given); err != nil {
		return err
	}
	if err := in.checkNames(len(given) > 0); err != nil {
		return err
	}
	return in.checkValues(expressions)
}

func (in *input) checkLegacy(given []string) error {
	if len(in.legacy) == 0 {
		return nil
	}
	legacy := strings.Join(in.legacy, ", ")
	if len(given) > 0 {
		return refused("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {" + legacy + "} Expression parameters: {" + strings.Join(given, ", ") + "}")
	}
	return refused("mote does not offer the parameters from before expressions: " + legacy + ": use the expression parameters in their place")
}

func (in *input) checkNames(anyExpression bool) error {
	if in.names == nil {
		return nil
	}
	if !anyExpression {
		return refused("ExpressionAttributeNames can only be specified when using expressions")
	}
	return checkNames(in.names)
}

func checkNames(names map[string]string) error {
	if len(names) == 0 {
		return refused("ExpressionAttributeNames must not be empty")
	}
	for key, name := range names {
		if !isPlaceholder(key, '#') {
			return refused(`ExpressionAttributeNames contains invalid key: Syntax error; key: "` + key + `"`)
		}
		if name == "" || len(name) > 65535 {
			return refused(fmt.Sprintf("ExpressionAttributeNames contains invalid value: an attribute name has 1 to 65535 bytes, not %d, for key %s", len(name), key))
		}
	}
	return nil
}

// checkValues words the refusal of values without an expression that could use them.
func (in *input) checkValues(expressions []expression) error {
	if in.values == nil {
		return nil
	}
	var absent []string
	usable := false
	for _, e := range expressions {
		if e.name == "ProjectionExpression" {
			continue
		}
		usable = usable || e.text != nil
		absent = append(absent, e.name)
	}
	if !usable {
		is := " is null"
		if len(absent) > 1 {
			is = " are null"
		}
		return refused("ExpressionAttributeValues can only be specified when using expressions: " + strings.Join(absent, " and ") + is)
	}
	if len(in.values.Item) == 0 {
		return refused("ExpressionAttributeValues must not be empty")
	}
	for _, key := range in.values.order {
		if !isPlaceholder(key, ':') {
			return refused(`ExpressionAttributeValues contains invalid key: Syntax error; key: "` + key + `"`)
		}
		if err := in.values.faults[key]; err != nil {
			return refused("ExpressionAttributeValues contains invalid value: " + messageOf(err) + " for key " + key)
		}
	}
	return nil
}

func messageOf(err error) string {
	if e, ok := err.(*table.Error); ok {
		return e.Message
	}
	return err.Error()
}

func isPlaceholder(key string, sign byte) bool {
	if len(key) < 2 || key[0] != sign {
		return false
	}
	return !strings.ContainsFunc(key[1:], func(r rune) bool { return r == '.' || r == '-' || notOfName(r) })
}

// placeholderValues returns the values for the engine.
func (in *input) placeholderValues() table.Item {
	if in.values == nil {
		return nil
	}
	return in.values.Item
}
