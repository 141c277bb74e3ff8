package dynamodb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mote/internal/reading"
)

// item is one record on its way.
type item struct {
	seq    uint64
	also   []uint64 // records with the same key that this one stands for
	record []byte
	key    itemKey
	put    []byte // {"PutRequest":{"Item":…}}
}

// itemKey is a reading's identity, and its item's key.
type itemKey struct{ id, time string }

// maxDepth bounds how deep values in a record may lie in one another; DynamoDB
// takes 32 levels.
const maxDepth = 32

// newItem makes the item of a record. An error means that it can never be one.
func newItem(seq uint64, record []byte) (*item, error) {
	dec := json.NewDecoder(bytes.NewReader(record))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil || fields == nil || dec.More() {
		return nil, fmt.Errorf("%w: want one JSON object", reading.ErrNotReading)
	}
	it := &item{seq: seq, record: record}
	if err := it.readKey(fields); err != nil {
		return nil, err
	}
	var b []byte
	var err error
	if b, err = appendMembers(append(b, `{"PutRequest":{"Item":`...), fields, 1); err != nil {
		return nil, err
	}
	it.put = append(b, "}}"...)
	return it, nil
}

// readKey checks id and time, and makes the id text, which a board may send as
// a number.
func (it *item) readKey(fields map[string]any) error {
	switch id := fields["id"].(type) {
	case string:
		it.key.id = id
	case json.Number:
		it.key.id = id.String()
	}
	it.key.time, _ = fields["time"].(string)
	if it.key.id == "" || it.key.time == "" {
		return fmt.Errorf("%w: id and time are required", reading.ErrNotReading)
	}
	if _, err := time.Parse(time.RFC3339Nano, it.key.time); err != nil {
		return fmt.Errorf("%w: time: want RFC 3339 text, got %.40q", reading.ErrNotReading, it.key.time)
	}
	fields["id"] = it.key.id
	return nil
}

// appendValue appends v in the JSON of the DynamoDB API (Amazon DynamoDB API
// Reference, "AttributeValue").
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errors.New("its values lie in one another more than 32 levels deep")
	}
	switch v := v.(type) {
	case string:
		return append(appendString(append(b, `{"S":`...), v), '}'), nil
	case json.Number:
		return append(append(append(b, `{"N":"`...), v...), `"}`...), nil
	case bool:
		return fmt.Appendf(b, `{"BOOL":%v}`, v), nil
	case []any:
		b = append(b, `{"L":[`...)
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, "]}"...), nil
	case map[string]any:
		b, err := appendMembers(append(b, `{"M":`...), v, depth+1)
		return append(b, '}'), err
	}
	return append(b, `{"NULL":true}`...), nil
}

func appendMembers(b []byte, members map[string]any, depth int) ([]byte, error) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		var err error
		if b, err = appendValue(b, members[name], depth); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendString(b []byte, s string) []byte {
	if plain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, _ := json.Marshal(s) // a string always marshals
	return append(b, quoted...)
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf })
}

// requestBody is a BatchWriteItem of the items.
func requestBody(table string, items []*item) []byte {
	b := append(append([]byte(`{"RequestItems":{"`), table...), `":[`...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it.put...)
	}
	return append(b, "]}}"...)
}

// unprocessed returns those of items that an answer to them says were not
// written. An answer that cannot be read, or names another item, says it of all.
func unprocessed(table string, answer []byte, items []*item) ([]*item, error) {
	var a struct {
		UnprocessedItems map[string][]struct {
			PutRequest struct {
				Item map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.UnprocessedItems == nil {
		return items, errors.New("the answer is not the one to BatchWriteItem: check the endpoint")
	}
	left := map[itemKey]bool{}
	for _, r := range a.UnprocessedItems[table] {
		left[itemKey{textOf(r.PutRequest.Item["id"]), textOf(r.PutRequest.Item["time"])}] = true
	}
	var still []*item
	for _, it := range items {
		if left[it.key] {
			still = append(still, it)
			delete(left, it.key)
		}
	}
	if len(left) > 0 || len(a.UnprocessedItems) > 1 {
		return items, nil
	}
	return still, nil
}

func textOf(value json.RawMessage) string {
	var v struct{ S string }
	_ = json.Unmarshal(value, &v) // what is no text is no key
	return v.S
}
