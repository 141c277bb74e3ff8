package rules

import (
	"encoding/base64"
	"encoding/json"

	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/cloud/throttle"
	"mote/internal/iotsql/eval"
)

// services is what functions of statements read from outside the message.
type services struct {
	tables Tables
	opt    *Options
	logs   *throttle.Lines
	batch  *store.Batch // that the rules write into; nil in a trial without a store
}

var _ eval.Services = (*services)(nil)

// Item implements eval.Services.
func (s *services) Item(tableName string, keys []eval.Key) ([]byte, bool) {
	read := s.items()
	if read == nil {
		return nil, false
	}
	key := make(table.Item, len(keys))
	for _, k := range keys {
		v := table.String(k.Text)
		if k.Number {
			var err error
			if v, err = table.Number(k.Text); err != nil {
				return nil, s.failed("get_dynamodb", tableName, err)
			}
		}
		key[k.Name] = v
	}
	got, err := read(table.GetRequest{Table: tableName, Key: key})
	if err != nil {
		return nil, s.failed("get_dynamodb", tableName, err)
	}
	if got.Item == nil {
		return nil, false
	}
	data, err := json.Marshal(plainItem(got.Item))
	return data, err == nil
}

// items returns what reads items; nil in a trial without tables.
func (s *services) items() func(table.GetRequest) (table.GetResult, error) {
	switch {
	case s.opt.Cluster != nil:
		return s.opt.Cluster.GetItem
	case s.tables != nil:
		return s.tables.GetItem
	}
	return nil
}

// failed logs why a function has no value; it returns false.
func (s *services) failed(function, target string, err error) bool {
	if ok, missed := s.logs.Allow(); ok {
		s.opt.Log.Warn("a function of a rule has no value", "function", function, "target", cut(target, maxShownError),
			"err", cut(err.Error(), maxShownError), "not_logged", missed)
	}
	return false
}

// Shadow implements eval.Services.
func (s *services) Shadow(thing, shadow string) ([]byte, bool) {
	if s.opt.Shadow == nil {
		return nil, false
	}
	return s.opt.Shadow(s.batch, thing, shadow)
}

// RegistryData implements eval.Services.
func (s *services) RegistryData(api, thing string) ([]byte, bool) {
	if s.opt.RegistryData == nil {
		return nil, false
	}
	return s.opt.RegistryData(api, thing)
}

// plainItem makes plain JSON of an item: numbers keep their digits, sets become
// arrays, binary values base64 (AWS IoT SQL reference, "get_dynamodb").
func plainItem(item table.Item) map[string]any {
	out := make(map[string]any, len(item))
	for name, v := range item {
		out[name] = plain(v)
	}
	return out
}

func plain(v table.Value) any {
	switch v.Kind {
	case table.S:
		return v.Str
	case table.N:
		return json.Number(v.Str)
	case table.B:
		return base64.StdEncoding.EncodeToString(v.Bin)
	case table.BOOL:
		return v.Bool
	case table.L:
		return plainList(v.List, plain)
	case table.M:
		return plainItem(v.Map)
	case table.SS:
		return plainList(v.Set, func(s string) any { return s })
	case table.NS:
		return plainList(v.Set, func(s string) any { return json.Number(s) })
	case table.BS:
		return plainList(v.Set, func(s string) any { return base64.StdEncoding.EncodeToString([]byte(s)) })
	}
	return nil
}

func plainList[T any](list []T, f func(T) any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// wireItem makes the JSON of the DynamoDB API of an item (DynamoDB API
// reference, AttributeValue).
func wireItem(item table.Item) map[string]any {
	out := make(map[string]any, len(item))
	for name, v := range item {
		out[name] = wireValue(v)
	}
	return out
}

func wireValue(v table.Value) map[string]any {
	var x any
	switch v.Kind {
	case table.S, table.N:
		x = v.Str
	case table.NULL:
		x = true
	case table.B:
		x = base64.StdEncoding.EncodeToString(v.Bin)
	case table.L:
		x = plainList(v.List, func(e table.Value) any { return wireValue(e) })
	case table.M:
		x = wireItem(v.Map)
	case table.NS:
		x = v.Set
	default:
		x = plain(v)
	}
	return map[string]any{v.Kind.String(): x}
}
