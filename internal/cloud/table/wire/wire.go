// Package wire writes and reads items in the JSON of the DynamoDB API, which
// names the type of every value: {"S":"text"}, {"N":"1.5"} (DynamoDB API
// Reference, AttributeValue). Requests of strangers are read by package
// awsapi/dynamodb, which tells them what is wrong in DynamoDB's words.
package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"mote/internal/cloud/table"
)

// AppendItem appends an item as JSON, its names in order.
func AppendItem(out []byte, it table.Item) []byte {
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(it)) {
		if i > 0 {
			out = append(out, ',')
		}
		v := it[name]
		out = AppendValue(append(AppendString(out, name), ':'), &v)
	}
	return append(out, '}')
}

// AppendValue appends {"S":"…"} and the like.
func AppendValue(out []byte, v *table.Value) []byte {
	out = append(out, `{"`...)
	out = append(out, v.Kind.String()...)
	out = append(out, `":`...)
	switch v.Kind {
	case table.S, table.N:
		out = AppendString(out, v.Str)
	case table.B:
		out = appendBlob(out, v.Bin)
	case table.BOOL:
		out = strconv.AppendBool(out, v.Bool)
	case table.NULL:
		out = append(out, "true"...)
	case table.L:
		out = AppendList(out, v.List, func(out []byte, e table.Value) []byte { return AppendValue(out, &e) })
	case table.M:
		out = AppendItem(out, v.Map)
	case table.BS:
		out = AppendList(out, v.Set, func(out []byte, e string) []byte { return appendBlob(out, []byte(e)) })
	default:
		out = AppendList(out, v.Set, AppendString)
	}
	return append(out, '}')
}

// AppendList appends a JSON array of what one appends for each element.
func AppendList[T any](out []byte, list []T, one func([]byte, T) []byte) []byte {
	out = append(out, '[')
	for i, e := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = one(out, e)
	}
	return append(out, ']')
}

func appendBlob(out, data []byte) []byte {
	out = append(out, '"')
	return append(base64.StdEncoding.AppendEncode(out, data), '"')
}

// AppendString appends a JSON string; what is no UTF-8 becomes U+FFFD.
func AppendString(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(text) // a string can not fail
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

// maxDepth is how deep values may be nested (Amazon DynamoDB Developer Guide,
// "Constraints in Amazon DynamoDB").
const maxDepth = 32

// attribute is a value as JSON has it; exactly one member is set.
type attribute struct {
	S    *string               `json:"S"`
	N    *string               `json:"N"`
	B    *[]byte               `json:"B"`
	BOOL *bool                 `json:"BOOL"`
	NULL *bool                 `json:"NULL"`
	L    *[]attribute          `json:"L"`
	M    *map[string]attribute `json:"M"`
	SS   *[]string             `json:"SS"`
	NS   *[]string             `json:"NS"`
	BS   *[][]byte             `json:"BS"`
}

// ParseItem reads an item. Numbers become canonical.
func ParseItem(data []byte) (table.Item, error) {
	var members map[string]attribute
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fmt.Errorf("an item in the DynamoDB API's form cannot be read: %w", err)
	}
	return itemOf(members, maxDepth)
}

func itemOf(members map[string]attribute, depth int) (table.Item, error) {
	item := make(table.Item, len(members))
	for name, a := range members {
		v, err := a.value(depth)
		if err != nil {
			return nil, fmt.Errorf("attribute %.60q: %w", name, err)
		}
		item[name] = v
	}
	return item, nil
}

var (
	errNoType = errors.New("a value has no type")
	errDepth  = fmt.Errorf("values are nested more than %d deep", maxDepth)
)

func (a *attribute) value(depth int) (table.Value, error) {
	switch {
	case a.S != nil:
		return table.String(*a.S), nil
	case a.N != nil:
		return table.Number(*a.N)
	case a.B != nil:
		return table.Binary(*a.B), nil
	case a.BOOL != nil:
		return table.Bool(*a.BOOL), nil
	case a.NULL != nil:
		return table.Null(), nil
	case a.L != nil || a.M != nil:
		return a.document(depth - 1)
	}
	return a.set()
}

func (a *attribute) document(depth int) (v table.Value, err error) {
	if depth < 0 {
		return v, errDepth
	}
	if a.M != nil {
		v.Map, err = itemOf(*a.M, depth)
		return table.Map(v.Map), err
	}
	v = table.List(make([]table.Value, len(*a.L))...)
	for i := range v.List {
		if v.List[i], err = (*a.L)[i].value(depth); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (a *attribute) set() (table.Value, error) {
	switch {
	case a.SS != nil:
		return table.Value{Kind: table.SS, Set: *a.SS}, nil
	case a.BS != nil:
		v := table.Value{Kind: table.BS}
		for _, b := range *a.BS {
			v.Set = append(v.Set, string(b))
		}
		return v, nil
	case a.NS != nil:
		v := table.Value{Kind: table.NS}
		for _, text := range *a.NS {
			n, err := table.NumberText(text)
			if err != nil {
				return v, err
			}
			v.Set = append(v.Set, n)
		}
		return v, nil
	}
	return table.Value{}, errNoType
}
