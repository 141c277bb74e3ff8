package dynamodb

import (
	"fmt"
	"maps"
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
	c.addText(value, member, "Member must "+constraint)
}

func (c *constraints) addText(value, member, constraint string) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+constraint)
	}
}

// addBare is add in the words of those checks of AWS that name the member as the
// request does and keep its value to themselves.
func (c *constraints) addBare(member, constraint string) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, "Value at '"+member+"' failed to satisfy constraint: Member must "+constraint)
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

func quote(text string) string { return "'" + quoteless(text) + "'" }

// quoteless bounds a text of a stranger that an error repeats.
func quoteless(text string) string {
	if len(text) > 1024 {
		text = strings.ToValidUTF8(text[:1024], "") + "…"
	}
	return text
}

// dump shows a list or map of a request, bounded, within its brackets.
func dump(text string) string {
	if bounded := quoteless(text); bounded != text {
		return bounded + text[len(text)-1:]
	}
	return text
}

// dumpTables is dump for a map of lists by the names of tables, as AWS shows it:
// {name=[...]}.
func dumpTables(raw []byte, names []string) string {
	text := compact(raw)
	for _, name := range names {
		text = strings.Replace(text, `"`+name+`":[`, name+"=[", 1)
	}
	if bounded := quoteless(text); bounded != text {
		return bounded + "]}"
	}
	return text
}

// checkTable refuses the table that is named "" before any other member is
// looked at, as PutItem, UpdateItem, DeleteItem and Query do.
func (in *input) checkTable() error {
	var c constraints
	if is(in.tableName, "") {
		c.addBare("TableName", "have length greater than or equal to 1")
	}
	return c.err()
}

// mapKeys holds the names of tables that a map has as its keys; raw is the map.
func (c *constraints) mapKeys(raw []byte, names []string, member string) {
	for _, name := range names {
		if name = bareName(name); len(name) < 3 || len(name) > 255 || strings.ContainsFunc(name, notOfName) {
			c.addText(quote(compact(raw)), member, "Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must have length greater than or equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]")
		}
	}
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
	c.name(bareName(*name), member)
}

// name holds the name of a table or index to its pattern and length.
func (c *constraints) name(text, member string) {
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

// absent stands in place of a text that a structure of a request does not have,
// until its constraints are checked.
const absent = "\x00absent"

// given is length for a text that must be there.
func (c *constraints) given(text, member string, least, most int) {
	if text == absent {
		c.required(false, member)
		return
	}
	c.length(text, member, least, most)
}

// word is enum for a text that must be there.
func (c *constraints) word(text, member string, allowed ...string) {
	if text == absent {
		c.required(false, member)
		return
	}
	c.enum(&text, member, allowed...)
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

func (c *constraints) capacity(in *input) {
	c.enum(in.returnCapacity, "returnConsumedCapacity", "INDEXES", "TOTAL", "NONE")
}

func (c *constraints) metrics(in *input) {
	c.enum(in.returnMetrics, "returnItemCollectionMetrics", "SIZE", "NONE")
}

func (c *constraints) returnValues(in *input) {
	c.enum(in.returnValues, "returnValues", "ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")
}

func (c *constraints) onFailed(in *input) {
	c.enum(in.onFailed, "returnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
}

// parameter is one parameter of an operation, of either style.
type parameter struct {
	name  string
	given bool
}

func expression(name string, text *string) parameter { return parameter{name, text != nil} }

// checkStyle refuses parameters of both styles in one request, placeholders
// without an expression that could use them, and a ConditionalOperator without
// conditions to join.
func (in *input) checkStyle(expressions, legacy []parameter) error {
	given := names(expressions)
	if old := names(legacy); len(given) > 0 && len(old) > 0 {
		return refused("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {" + strings.Join(old, ", ") + "} Expression parameters: {" + strings.Join(given, ", ") + "}")
	}
	if in.names != nil && len(given) == 0 {
		return refused("ExpressionAttributeNames can only be specified when using expressions")
	}
	if err := in.checkValueUse(expressions); err != nil {
		return err
	}
	return in.checkConditionalOperator()
}

func names(parameters []parameter) (given []string) {
	for _, p := range parameters {
		if p.given {
			given = append(given, p.name)
		}
	}
	return given
}

// checkValueUse refuses values without an expression that could use them.
func (in *input) checkValueUse(expressions []parameter) error {
	var absent []string
	for _, e := range expressions {
		if e.name == "ProjectionExpression" {
			continue
		}
		if e.given {
			return nil
		}
		absent = append(absent, e.name)
	}
	if in.values == nil || len(absent) == 0 {
		return nil
	}
	is := " is null"
	if len(absent) > 1 {
		is = " are null"
	}
	return refused("ExpressionAttributeValues can only be specified when using expressions: " + strings.Join(absent, " and ") + is)
}

func (in *input) checkConditionalOperator() error {
	if in.conditionalOperator == nil {
		return nil
	}
	switch len(in.expected) + len(in.queryFilter) + len(in.scanFilter) {
	case 0:
		return refused("ConditionalOperator cannot be used without Filter or Expected")
	case 1:
		return refused("ConditionalOperator can only be used when Filter or Expected has two or more elements")
	}
	return nil
}

// checkPlaceholders holds names and values to their form.
func (in *input) checkPlaceholders() error {
	if in.names != nil {
		if err := checkNames(in.names); err != nil {
			return err
		}
	}
	return in.checkValues()
}

func checkNames(names map[string]string) error {
	if len(names) == 0 {
		return refused("ExpressionAttributeNames must not be empty")
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		name := names[key]
		switch {
		case len(key) > maxPlaceholder:
			return refused("ExpressionAttributeNames contains invalid key: The expression attribute map contains a key that is too long; size of key: " + strconv.Itoa(len(key)))
		case !isPlaceholder(key, '#'):
			return refused(`ExpressionAttributeNames contains invalid key: Syntax error; key: "` + key + `"`)
		case name == "":
			return refused("ExpressionAttributeNames contains invalid value: Empty attribute name for key " + key)
		case len(name) > 65535:
			return refused(fmt.Sprintf("ExpressionAttributeNames contains invalid value: an attribute name has up to 65535 bytes, not %d, for key %s", len(name), key))
		}
	}
	return nil
}

// maxPlaceholder is how long a placeholder is at most, with its sign, in bytes.
const maxPlaceholder = 255

func (in *input) checkValues() error {
	if in.values == nil {
		return nil
	}
	if len(in.values.Item) == 0 {
		return refused("ExpressionAttributeValues must not be empty")
	}
	for _, key := range in.values.order {
		switch {
		case len(key) > maxPlaceholder:
			return refused("ExpressionAttributeValues contains invalid key: The expression attribute map contains a key that is too long;")
		case !isPlaceholder(key, ':'):
			return refused(`ExpressionAttributeValues contains invalid key: Syntax error; key: "` + key + `"`)
		}
	}
	for _, key := range in.values.order {
		if err := in.values.faults[key]; err != nil {
			return refused("ExpressionAttributeValues contains invalid value: " + messageOf(err) + " for key " + key)
		}
	}
	return nil
}

func messageOf(err error) string {
	switch e := err.(type) {
	case *table.Error:
		return e.Message
	case *wireError:
		return e.message
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
