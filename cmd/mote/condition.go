//go:build !gateway

package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sys/unix"

	"mote/internal/reading"
)

// conditions are what the flags of a query ask for, as DynamoDB's expressions
// with every name and value behind a placeholder, since many names of readings
// (time, temp) are reserved words there.
type conditions struct {
	key, filter []string
	names       map[string]string
	values      map[string]types.AttributeValue
}

func joined(terms []string) *string {
	if len(terms) == 0 {
		return nil
	}
	text := strings.Join(terms, " AND ")
	return &text
}

func (c *conditions) keyText() *string    { return joined(c.key) }
func (c *conditions) filterText() *string { return joined(c.filter) }

func (c *conditions) name(attribute string) string {
	placeholder := "#n" + strconv.Itoa(len(c.names))
	if c.names == nil {
		c.names = map[string]string{}
	}
	c.names[placeholder] = attribute
	return placeholder
}

func (c *conditions) value(v types.AttributeValue) string {
	placeholder := ":v" + strconv.Itoa(len(c.values))
	if c.values == nil {
		c.values = map[string]types.AttributeValue{}
	}
	c.values[placeholder] = v
	return placeholder
}

// conditions reads the flags.
func (f rowFlags) conditions(keys tableKeys, now time.Time) (*conditions, error) {
	out := &conditions{}
	if f.Key != "" {
		name, text, ok := strings.Cut(f.Key, "=")
		if !ok || name != keys.hash.name {
			return nil, usagef("--key %q: the partition key of %s is %s: want --key %s=VALUE", f.Key, f.Table, keys.hash.name, keys.hash.name)
		}
		v, err := keys.hash.value(text)
		if err != nil {
			return nil, err
		}
		out.key = append(out.key, out.name(name)+" = "+out.value(v))
	}
	if f.Range != "" {
		term, err := out.rangeTerm(f.Range, keys)
		if err != nil {
			return nil, err
		}
		out.key = append(out.key, term)
	}
	if err := f.times(out, keys, now); err != nil {
		return nil, err
	}
	for _, text := range f.Where {
		term, err := out.term(text)
		if err != nil {
			return nil, err
		}
		out.filter = append(out.filter, term)
	}
	return out, nil
}

// times adds --since and --until.
func (f rowFlags) times(out *conditions, keys tableKeys, now time.Time) error {
	if f.Since == "" && f.Until == "" {
		return nil
	}
	if keys.rangeKey == nil || keys.rangeKey.kind != types.ScalarAttributeTypeS {
		return usagef("--since and --until need a range key that is a time as text, %s has none", f.Table)
	}
	bounds := []types.AttributeValue{}
	for _, b := range []struct{ flag, text string }{{"--since", f.Since}, {"--until", f.Until}} {
		if b.text == "" {
			continue
		}
		at, err := moment(b.text, now)
		if err != nil {
			return usagef("%s %q: want an age such as 90s or 1h, or a time such as 2026-11-22T10:00:00Z", b.flag, b.text)
		}
		bounds = append(bounds, &types.AttributeValueMemberS{Value: reading.TimeText(at)})
	}
	name, term := out.name(keys.rangeKey.name), ""
	switch {
	case len(bounds) == 2:
		term = fmt.Sprintf("%s BETWEEN %s AND %s", name, out.value(bounds[0]), out.value(bounds[1]))
	case f.Since != "":
		term = name + " >= " + out.value(bounds[0])
	default:
		term = name + " <= " + out.value(bounds[0])
	}
	if f.Key == "" {
		out.filter = append(out.filter, term)
	} else {
		out.key = append(out.key, term)
	}
	return nil
}

// moment reads an age or a time; a day is a time too.
func moment(text string, now time.Time) (time.Time, error) {
	if age, err := time.ParseDuration(text); err == nil {
		return now.Add(-age), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("bad time %q", text)
}

// conditionForm splits NAME OPERATOR VALUE.
var conditionForm = regexp.MustCompile(`(?s)^\s*(.*?)\s*(\^=|\*=|<>|!=|<=|>=|=|<|>)\s*(.*?)\s*$`)

func split(text string) (name, op, value string, err error) {
	m := conditionForm.FindStringSubmatch(text)
	if m == nil || m[1] == "" || m[3] == "" || strings.ContainsAny(m[3][:1], "=<>") {
		return "", "", "", usagef("condition %q: want NAME OPERATOR VALUE with one of = != < <= > >= ^= (begins with) *= (contains); an empty text is ''", text)
	}
	return m[1], m[2], m[3], nil
}

// rangeTerm is a condition on the range key.
func (c *conditions) rangeTerm(text string, keys tableKeys) (string, error) {
	name, op, value, err := split(text)
	if err != nil {
		return "", err
	}
	if keys.rangeKey == nil || name != keys.rangeKey.name {
		return "", usagef("--range %q: %s is not the range key; --where takes conditions on other attributes", text, name)
	}
	v, err := keys.rangeKey.value(strings.Trim(value, `'"`))
	if err != nil {
		return "", err
	}
	switch op {
	case "^=":
		return fmt.Sprintf("begins_with(%s, %s)", c.name(name), c.value(v)), nil
	case "!=", "<>", "*=":
		return "", usagef("--range %q: a range key takes = < <= > >= and ^=; put %s into --where", text, op)
	}
	return c.name(name) + " " + op + " " + c.value(v), nil
}

// term is a condition of the filter.
func (c *conditions) term(text string) (string, error) {
	if bare := strings.TrimSpace(text); bare != "" && !strings.ContainsAny(bare, "=<>") {
		if name, not := strings.CutPrefix(bare, "!"); not && name != "" {
			return fmt.Sprintf("attribute_not_exists(%s)", c.name(name)), nil
		}
		return fmt.Sprintf("attribute_exists(%s)", c.name(bare)), nil
	}
	name, op, value, err := split(text)
	if err != nil {
		return "", err
	}
	n := c.name(name)
	switch op {
	case "^=":
		return fmt.Sprintf("begins_with(%s, %s)", n, c.value(asText(value))), nil
	case "*=":
		return fmt.Sprintf("contains(%s, %s)", n, c.value(asText(value))), nil
	case "!=":
		op = "<>"
	}
	return n + " " + op + " " + c.value(guess(value)), nil
}

// asText is a value that is text, also when it looks like something else:
// beginnings and parts are of texts.
func asText(text string) types.AttributeValue {
	if v, ok := guess(text).(*types.AttributeValueMemberS); ok {
		return v
	}
	return &types.AttributeValueMemberS{Value: text}
}

// decimalForm is what counts as a number without quotes.
var decimalForm = regexp.MustCompile(`^-?\d+(\.\d+)?([eE][-+]?\d+)?$`)

// guess gives a value its type: quoted is text, true and false are Booleans,
// what looks like a number is one.
func guess(text string) types.AttributeValue {
	if n := len(text); n >= 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return &types.AttributeValueMemberS{Value: text[1 : n-1]}
	}
	switch {
	case text == "true" || text == "false":
		return &types.AttributeValueMemberBOOL{Value: text == "true"}
	case text == "null":
		return &types.AttributeValueMemberNULL{Value: true}
	case decimalForm.MatchString(text):
		return &types.AttributeValueMemberN{Value: text}
	}
	return &types.AttributeValueMemberS{Value: text}
}

// terminalWidth is how many characters a line of w has; 80 where w is no
// terminal.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}
