package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
)

// maxItemBody is how many bytes of JSON an item may come in: an item has at
// most 400 KB (DynamoDB developer guide, "Quotas in Amazon DynamoDB"), its JSON somewhat more.
const maxItemBody = 1 << 20

// maxDepth is how deep an item may be nested (DynamoDB developer
// guide, "Quotas in Amazon DynamoDB").
const maxDepth = 32

// errNesting has DynamoDB's text.
var errNesting = &table.Error{Code: table.CodeValidation, Message: "Nesting Levels have exceeded supported limits"}

// putItem puts the body, or parts of it, as an item into a table.
type putItem struct {
	template itemTemplate
	answer   response
}

func compilePutItem(in *Integration, answer response) (action, error) {
	if len(in.RequestParameters) > 0 {
		return nil, badRequest("request parameters are not offered for DynamoDB: write the values into the request template")
	}
	text, ok := in.RequestTemplates["application/json"]
	if !ok || len(in.RequestTemplates) != 1 {
		return nil, badRequest(`a DynamoDB integration needs one request template, for application/json: {"TableName":"T","Item":"$input.body"} puts the body as an item; ` +
			`or give each attribute, like {"TableName":"T","Item":{"id":{"S":"$input.path('$.id')"}}}`)
	}
	t, err := compileItemTemplate(text)
	if err != nil {
		return nil, err
	}
	return putItem{t, answer}, nil
}

func (putItem) maxBody() int { return maxItemBody }

func (p putItem) run(ctx context.Context, e *Engine, c *call) reply {
	body, err := decodeObject(c.body)
	if err != nil {
		return failure(http.StatusBadRequest, "BadRequestException", "Invalid request body: "+err.Error())
	}
	c.object = body
	item, err := p.template.item(c)
	if refused, ok := errors.AsType[*table.Error](err); ok {
		return failure(http.StatusBadRequest, refused.Code, refused.Message)
	}
	if err != nil {
		return failure(http.StatusBadRequest, "ValidationException", err.Error())
	}
	if e.o.Items == nil {
		e.o.Log.Error("a REST route puts items, but the engine has no tables", "path", c.ep.path)
		return internalError()
	}
	err = e.o.Items.PutDurable(ctx, p.template.table, item)
	if refused, ok := errors.AsType[*table.Error](err); ok {
		return failure(http.StatusBadRequest, refused.Code, refused.Message)
	}
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrClosed) || errors.Is(err, ErrUnavailable) || ctx.Err() != nil && err != nil {
		return unavailable("item", err)
	}
	if err != nil {
		e.o.Log.Error("a REST item could not be put", "table", p.template.table, "request_id", c.id, "err", err)
		return internalError()
	}
	return p.answer.success([]byte("{}"))
}

// decodeObject reads one JSON object, with its numbers as they are written.
func decodeObject(body []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil || out == nil {
		return nil, errors.New("it must be one JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return out, nil
}

// itemOf makes an item of a JSON object: text S, numbers N, true and false
// BOOL, null NULL, arrays L, objects M.
func itemOf(object map[string]any, depth int) (table.Item, error) {
	if depth > maxDepth {
		return nil, errNesting
	}
	item := make(table.Item, len(object))
	for name, v := range object {
		value, err := valueOf(v, depth)
		if err != nil {
			return nil, err
		}
		item[name] = value
	}
	return item, nil
}

func valueOf(v any, depth int) (table.Value, error) {
	switch v := v.(type) {
	case string:
		return table.String(v), nil
	case json.Number:
		return table.Number(v.String())
	case bool:
		return table.Bool(v), nil
	case []any:
		return listOf(v, depth+1)
	case map[string]any:
		m, err := itemOf(v, depth+1)
		return table.Map(m), err
	}
	return table.Null(), nil
}

func listOf(list []any, depth int) (table.Value, error) {
	if depth > maxDepth {
		return table.Value{}, errNesting
	}
	values := make([]table.Value, len(list))
	for i, v := range list {
		value, err := valueOf(v, depth)
		if err != nil {
			return table.Value{}, err
		}
		values[i] = value
	}
	return table.List(values...), nil
}
