package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// itemTemplate is a compiled request template of a PutItem integration. On AWS
// it is VTL; here it is plain JSON whose texts hold references, which is what
// the usual templates are (API Gateway developer guide, "Mapping template
// transformations for REST APIs").
type itemTemplate struct {
	table      string
	whole      bool // the item is the body
	attributes []attributeTemplate
}

type attributeTemplate struct {
	name, kind string // kind: S, N or BOOL
	text       []source
}

func compileItemTemplate(text string) (itemTemplate, error) {
	var t struct {
		TableName string          `json:"TableName"`
		Item      json.RawMessage `json:"Item"`
	}
	if strings.Contains(text, "#") && !json.Valid([]byte(text)) {
		return itemTemplate{}, badRequest("the request template has VTL directives (#…), which are not offered here: write plain JSON with $input.path('$.name') in its texts")
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return itemTemplate{}, badRequest("the request template must be a JSON object with TableName and Item only: %v", err)
	}
	if t.TableName == "" || strings.ContainsAny(t.TableName, "$#") {
		return itemTemplate{}, badRequest("the request template must name its table in TableName")
	}
	out := itemTemplate{table: t.TableName}
	var whole string
	if json.Unmarshal(t.Item, &whole) == nil {
		if whole != "$input.body" && whole != "$input.json('$')" {
			return itemTemplate{}, badRequest(`the Item of the request template must be "$input.body" or an object`)
		}
		out.whole = true
		return out, nil
	}
	var err error
	out.attributes, err = compileAttributes(t.Item)
	return out, err
}

func compileAttributes(item json.RawMessage) ([]attributeTemplate, error) {
	var attributes map[string]map[string]string
	dec := json.NewDecoder(bytes.NewReader(item))
	if err := dec.Decode(&attributes); err != nil || len(attributes) == 0 {
		return nil, badRequest(`the Item of the request template must be "$input.body" or attributes like {"id":{"S":"$input.path('$.id')"}} of the types S, N and BOOL`)
	}
	var out []attributeTemplate
	for name, typed := range attributes {
		if len(typed) != 1 {
			return nil, badRequest("the attribute %.64q of the request template must have one type", name)
		}
		for kind, text := range typed {
			if kind != "S" && kind != "N" && kind != "BOOL" {
				return nil, badRequest("the type %.16q of attribute %.64q is not offered in a request template, only S, N and BOOL", kind, name)
			}
			sources, err := compileText(text)
			if err != nil {
				return nil, err
			}
			out = append(out, attributeTemplate{name, kind, sources})
		}
	}
	return out, nil
}

// reference is one reference in a template's text.
var reference = regexp.MustCompile(`\$input\.(path|json|params)\('([^']*)'\)|\$input\.body|\$context\.([a-zA-Z]+(?:\.[a-zA-Z]+)?)|\$stageVariables\.([a-zA-Z0-9_]+)`)

// compileText cuts a text into fixed parts and references.
func compileText(text string) ([]source, error) {
	var out []source
	add := func(fixed string) error {
		if strings.ContainsAny(fixed, "$#") {
			return badRequest("the reference in %.128q is not offered here: use $input.path('$.name'), $input.json('$.name'), $input.params('name'), $input.body, $context.requestId|stage|requestTimeEpoch|identity.sourceIp or $stageVariables.name", text)
		}
		if fixed != "" {
			out = append(out, func(*call) string { return fixed })
		}
		return nil
	}
	rest := 0
	for _, m := range reference.FindAllStringSubmatchIndex(text, -1) {
		if err := add(text[rest:m[0]]); err != nil {
			return nil, err
		}
		s, err := compileReference(text, m)
		if err != nil {
			return nil, err
		}
		out, rest = append(out, s), m[1]
	}
	return out, add(text[rest:])
}

func compileReference(text string, m []int) (source, error) {
	group := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return text[m[2*i]:m[2*i+1]]
	}
	switch kind, argument := group(1), group(2); kind {
	case "path", "json":
		path, err := compileJSONPath(argument)
		if err != nil {
			return nil, err
		}
		return func(c *call) string { return textOf(path.find(c.object), kind == "json") }, nil
	case "params":
		return func(c *call) string { return c.param(argument) }, nil
	}
	if name := group(3); name != "" {
		return compileSource("context." + name)
	}
	if name := group(4); name != "" {
		return compileSource("stageVariables." + name)
	}
	return func(c *call) string { return string(c.body) }, nil
}

// textOf writes a value of the body as a template shows it: nothing for what
// is missing; with quotes only for $input.json.
func textOf(v any, quoted bool) string {
	if s, ok := v.(string); ok && !quoted {
		return s
	}
	if v == nil {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// jsonPath is a path of member names (string) and indexes (int).
type jsonPath []any

var pathStep = regexp.MustCompile(`^(?:\.([a-zA-Z0-9_-]+)|\[(\d{1,6})\]|\['([^']+)'\])`)

// compileJSONPath reads paths like $.a.b[0]['c'].
func compileJSONPath(text string) (jsonPath, error) {
	rest, ok := strings.CutPrefix(text, "$")
	var out jsonPath
	for ok && rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		if m == nil {
			ok = false
			break
		}
		if m[2] != "" {
			n, _ := strconv.Atoi(m[2]) // at most six digits
			out = append(out, n)
		} else {
			out = append(out, m[1]+m[3])
		}
		rest = rest[len(m[0]):]
	}
	if !ok {
		return nil, badRequest("the JSON path %.64q is not offered here: use paths like $.a.b[0]", text)
	}
	return out, nil
}

func (p jsonPath) find(object map[string]any) any {
	var v any = object
	for _, step := range p {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// item makes the item of one request.
func (t itemTemplate) item(c *call) (table.Item, error) {
	if t.whole {
		return itemOf(c.object, 0)
	}
	item := make(table.Item, len(t.attributes))
	for _, a := range t.attributes {
		v, err := a.value(pathTemplate(a.text).text(c))
		if err != nil {
			return nil, err
		}
		item[a.name] = v
	}
	return item, nil
}

func (a attributeTemplate) value(text string) (table.Value, error) {
	switch a.kind {
	case "N":
		return table.Number(text)
	case "BOOL":
		b, err := strconv.ParseBool(text)
		if err != nil {
			return table.Value{}, fmt.Errorf("attribute %q must be true or false", a.name)
		}
		return table.Bool(b), nil
	}
	return table.String(text), nil
}
