package rest

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"mote/internal/cloud/table"
)

func TestItems(t *testing.T) {
	w := newWorld(t)
	if a := w.post(t, "/prod/item", `{"id":"1","dust":35.20,"big":12345678901234567890123456789012345678,"ok":true,"none":null,"list":[1,"a"],"map":{"x":-0.5}}`); a.status != 200 || a.body != "{}" {
		t.Fatalf("%+v", a)
	}
	n := func(s string) table.Value { return must[table.Value](t)(table.Number(s)) }
	want := table.Item{"id": table.String("1"), "dust": n("35.2"), "big": n("12345678901234567890123456789012345678"), "ok": table.Bool(true), "none": table.Null(),
		"list": table.List(n("1"), table.String("a")), "map": table.Map(table.Item{"x": n("-0.5")})}
	if got := w.items["air"]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v", got)
	}
	if a := w.post(t, "/prod/item", strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40)); a.status != 400 || !strings.Contains(a.body, "Nesting Levels") {
		t.Errorf("deep: %+v", a)
	}
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	in := func(template string) Integration {
		return Integration{Type: "AWS", HTTPMethod: "POST", URI: putItemURI, RequestTemplates: map[string]string{"application/json": template}}
	}
	w.route(t, w.api.ID, "/boards/{id}", Method{HTTPMethod: "POST"}, in(`{
	  "TableName": "dust",
	  "Item": {"id": {"S": "b-$input.params('id')"}, "time": {"S": "$input.path('$.time')"}, "v": {"N": "$input.path('$.values[1].x')"},
	           "raw": {"S": "$input.json('$.values')"}, "gone": {"S": "$input.path('$.a.b.c')"}, "ok": {"BOOL": "$input.path('$.ok')"}, "from": {"S": "$context.identity.sourceIp"}}}`))
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	if a := w.post(t, "/prod/boards/7", `{"time":"t","values":[1,{"x":2.50}],"ok":true}`); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	v := must[table.Value](t)(table.Number("2.5"))
	want := table.Item{"id": table.String("b-7"), "time": table.String("t"), "v": v, "raw": table.String(`[1,{"x":2.50}]`), "gone": table.String(""), "ok": table.Bool(true), "from": table.String("127.0.0.1")}
	if got := w.items["dust"]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v", got)
	}
	for template, text := range map[string]string{
		`#set($x = 1) {"TableName":"t"}`:                                        "VTL",
		`{"TableName":"t"}`:                                                     "Item",
		`{"Item":"$input.body"}`:                                                "TableName",
		`{"TableName":"t","Item":"$input.path('$.x')"}`:                         "$input.body",
		`{"TableName":"t","Item":{"a":{"M":"x"}}}`:                              `type "M"`,
		`{"TableName":"t","Item":{"a":{"S":"$util.x()"}}}`:                      "$util",
		`{"TableName":"t","Item":{"a":{"S":"$input.path('x')"}}}`:               "JSON path",
		`{"TableName":"t","Item":{"a":{"S":"$context.authorizer"}}}`:            "context.authorizer",
		`{"TableName":"t","Item":"$input.body","ConditionExpression":"a = :a"}`: "ConditionExpression",
	} {
		if _, err := compileAction(ptr(in(template))); err == nil || !strings.Contains(err.Error(), text) || !strings.HasPrefix(err.Error(), CodeBadRequest) {
			t.Errorf("%s: %v", template, err)
		}
	}
}

func TestIntegrationsNotOffered(t *testing.T) {
	for _, in := range []Integration{
		{Type: "HTTP_PROXY", URI: "https://example.com"},
		{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:r:lambda:path/2015-03-31/functions/f/invocations"},
		{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:r:dynamodb:action/Query"},
		{Type: "AWS", HTTPMethod: "POST", URI: "https://example.com"},
		{Type: "AWS", HTTPMethod: "GET", URI: publishURI},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI + "a/{id}"},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI + "a?qos=2"},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI, RequestParameters: map[string]string{"integration.request.header.x": "'y'"}},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI, RequestTemplates: map[string]string{"application/json": "{}"}},
		{Type: "AWS", HTTPMethod: "POST", URI: putItemURI},
		{Type: "MOCK", RequestTemplates: map[string]string{"application/json": "$x"}},
		{Type: "MOCK", Responses: map[string]*IntegrationResponse{"200": {StatusCode: "200", ResponseTemplates: map[string]string{"application/json": "$x"}}}},
	} {
		if _, err := compileAction(&in); err == nil || !strings.HasPrefix(err.Error(), CodeBadRequest) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestTopicMapping(t *testing.T) {
	w := newWorld(t)
	in := Integration{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:eu-west-1:abc-ats.iotdata:path/topics/boards/{id}/{kind}?qos=0",
		RequestParameters: map[string]string{"integration.request.path.id": "method.request.path.board", "integration.request.path.kind": "'air'"}}
	w.route(t, w.api.ID, "/b/{board}", Method{HTTPMethod: "POST"}, in)
	w.route(t, w.api.ID, "/any/{proxy+}", Method{HTTPMethod: "ANY"}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	mock := Integration{Type: "MOCK", RequestTemplates: map[string]string{"application/json": `{"statusCode": 204}`}}
	w.route(t, w.api.ID, "/mock", Method{HTTPMethod: "GET"}, mock)
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	for path, want := range map[string]string{"/prod/b/a%20b": "boards/a b/air", "/prod/any/x/y/": "rest/prod/any/x/y"} {
		w.messages = nil
		if a := w.post(t, path, "x"); a.status != 200 || w.messages[0].Topic != want {
			t.Errorf("%s: %+v %+v", path, a, w.messages)
		}
	}
	for _, path := range []string{"/prod/b/%23", "/prod/b/a+b"} {
		if a := w.post(t, path, "x"); a.status != 400 || !strings.Contains(a.body, "not valid") {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if a := w.do(t, w.request(t, "GET", "/prod/mock", "")); a.status != 204 {
		t.Errorf("mock: %+v", a)
	}
}

func FuzzItemTemplate(f *testing.F) {
	f.Add(`{"TableName":"t","Item":{"a":{"S":"x$input.path('$.a[0].b')"},"b":{"N":"$input.json('$.c')"}}}`, `{"a":[{"b":1}],"c":2}`)
	f.Add(`{"TableName":"t","Item":"$input.body"}`, `{"a":[[[{}]]],"n":1e99}`)
	f.Fuzz(func(t *testing.T, template, body string) {
		p, err := compileItemTemplate(template)
		if err != nil {
			return
		}
		object, err := decodeObject([]byte(body))
		if err != nil {
			return
		}
		c := &call{r: httptest.NewRequest("POST", "/", nil), ep: &endpoint{}, body: []byte(body), object: object}
		_, _ = p.item(c)
	})
}
