package remote

import (
	"encoding/json"
	"errors"
	"fmt"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/wire"
)

// Kind is the kind of outbox entries that are writes to the cluster.
const Kind = "table"

// Write is one write that waits for the cluster: it puts an item, sets one
// attribute of an item, or removes an item. To perform it again changes nothing.
// FORMAT.md describes how it is stored.
type Write struct {
	Table     string          `json:"table"`
	Item      json.RawMessage `json:"item,omitempty"`  // to put
	Key       json.RawMessage `json:"key,omitempty"`   // to remove, or with Attribute to change
	Attribute string          `json:"set,omitempty"`   // to set
	Value     json.RawMessage `json:"value,omitempty"` // of Attribute
}

// Put returns the write that puts an item, which is not kept.
func Put(tableName string, it table.Item) *Write {
	return &Write{Table: tableName, Item: wire.AppendItem(nil, it)}
}

// Set returns the write that sets one attribute of the item with the key, which
// comes into being when it is not there.
func Set(tableName string, key table.Item, attribute string, v table.Value) *Write {
	return &Write{Table: tableName, Key: wire.AppendItem(nil, key), Attribute: attribute, Value: wire.AppendValue(nil, &v)}
}

// Remove returns the write that removes the item with the key, which is not kept.
func Remove(tableName string, key table.Item) *Write {
	return &Write{Table: tableName, Key: wire.AppendItem(nil, key)}
}

// Check says why the write can never be performed, as far as this machine knows,
// or nil. What tables there are, and their keys, the cluster knows.
func (w *Write) Check() error {
	if err := table.CheckName(w.Table); err != nil {
		return err
	}
	set := w.Attribute != ""
	if (w.Item == nil) == (w.Key == nil) || set != (w.Value != nil) || set && w.Key == nil {
		return errWrite
	}
	if len(w.Item)+len(w.Value) > maxWrite {
		return &table.Error{Code: table.CodeValidation, Message: "Item size has exceeded the maximum allowed size"}
	}
	return nil
}

// maxWrite bounds the JSON of a write in bytes: items have 400 KB, which as JSON
// may be some times as much.
const maxWrite = 3 << 20

// Lane is where writes keep their order: the table.
func (w *Write) Lane() string { return w.Table }

const writeVersion = 1

var errWrite = errors.New("the stored write is damaged, or of a newer mote")

// Encode returns the write for outbox.Entry.Data.
func (w *Write) Encode() []byte {
	data, err := json.Marshal(w)
	if err != nil {
		panic(err) // its parts were made by package wire, or checked by decodeWrite
	}
	return append([]byte{writeVersion}, data...)
}

// decodeWrite reads an encoded write and checks it.
func decodeWrite(data []byte) (*Write, error) {
	if len(data) == 0 || data[0] != writeVersion {
		return nil, errWrite
	}
	w := &Write{}
	if err := json.Unmarshal(data[1:], w); err != nil {
		return nil, fmt.Errorf("%w: %w", errWrite, err)
	}
	return w, w.Check()
}

// Batching is how writes travel together: those that wait, at once.
func Batching() *outbox.Batching {
	return &outbox.Batching{MaxOpen: -1, MaxSize: maxDelivery, MaxBytes: 1 << 20}
}

// identity is what no two writes of one request may have in common: the key, as
// canonical JSON.
func (w *Write) identity(s *schema) (string, error) {
	data := w.Key
	if data == nil {
		data = w.Item
	}
	it, err := wire.ParseItem(data)
	if err != nil {
		return "", err
	}
	return string(wire.AppendItem(nil, s.keyOf(it))), nil
}

// single returns the operation that performs the write alone, and its request.
func (w *Write) single() (operation string, request map[string]any) {
	switch {
	case w.Item != nil:
		return "PutItem", map[string]any{"TableName": w.Table, "Item": w.Item}
	case w.Attribute == "":
		return "DeleteItem", map[string]any{"TableName": w.Table, "Key": w.Key}
	}
	return "UpdateItem", map[string]any{
		"TableName": w.Table, "Key": w.Key, "UpdateExpression": "SET #a = :v",
		"ExpressionAttributeNames":  map[string]string{"#a": w.Attribute},
		"ExpressionAttributeValues": map[string]json.RawMessage{":v": w.Value},
	}
}

// writeRequest is a member of a BatchWriteItem.
type writeRequest struct {
	PutRequest *struct {
		Item json.RawMessage
	} `json:",omitempty"`
	DeleteRequest *struct {
		Key json.RawMessage
	} `json:",omitempty"`
}

func (w *Write) inBatch() (r writeRequest) {
	if w.Item != nil {
		r.PutRequest = &struct{ Item json.RawMessage }{w.Item}
	} else {
		r.DeleteRequest = &struct{ Key json.RawMessage }{w.Key}
	}
	return r
}

// write is the write that the request is part of, as far as its key goes.
func (r *writeRequest) write() *Write {
	switch {
	case r.PutRequest != nil:
		return &Write{Item: r.PutRequest.Item}
	case r.DeleteRequest != nil:
		return &Write{Key: r.DeleteRequest.Key}
	}
	return &Write{}
}
