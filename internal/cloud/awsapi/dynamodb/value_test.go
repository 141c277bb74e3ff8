package dynamodb

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
)

func TestItemRoundTrip(t *testing.T) {
	const text = `{"b":{"B":"AAH/"},"bs":{"BS":["AA=="]},"l":{"L":[{"S":"zwei \u00fc \u2028 \\ \""},{"BOOL":false}]},"m":{"M":{"x":{"NULL":true}}},"n":{"N":"-0.5"},"ns":{"NS":["1","2"]},"s":{"S":""},"ss":{"SS":["a","b"]}}`
	s := &scanner{data: []byte(text)}
	it := s.item(maxNesting)
	if s.err != nil || it.fault != nil {
		t.Fatal(s.err, it.fault)
	}
	var got, want any
	if err := json.Unmarshal(appendItem(nil, it.Item), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Errorf("got %s\nwant %s", a, b)
	}
}

// FuzzValue feeds attribute values to the decoder, and what it took to the encoder.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		`{"S":"a"}`, `{"N":"35.20"}`, `{"N":5}`, `{"B":"AAH/"}`, `{"B":"A"}`, `{"BOOL":true}`, `{"NULL":false}`, `{"L":[{"S":"\ud800"}]}`, `{"M":{"a":{"M":{}}}}`, `{"SS":["a","a"]}`, `{"NS":["1","1.0"]}`,
		`{"BS":["AA=="]}`, `{}`, `{"S":null}`, `null`, `[]`, `{"S":"a","N":"1","X":{"y":[1,2,{"z":"]}"}]}}`, strings.Repeat(`{"L":[`, 40) + strings.Repeat(`]}`, 40),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		s := &scanner{data: data}
		a := s.attribute(maxNesting, unexpectedValue)
		if s.err != nil || a.fault != nil {
			return
		}
		if rest := bytes.TrimSpace(data[min(s.pos, len(data)):]); len(rest) != 0 {
			t.Fatalf("%q was left of %q", rest, data)
		}
		out := appendValue(nil, &a.Value)
		again := &scanner{data: out}
		b := again.attribute(maxNesting, unexpectedValue)
		if !json.Valid(out) || again.err != nil || b.fault != nil || !bytes.Equal(appendValue(nil, &b.Value), out) {
			t.Fatalf("%q becomes %q: %v %v", data, out, again.err, b.fault)
		}
	})
}

// FuzzRequest feeds whole bodies to every operation: nothing may panic, and no
// answer may be a failure of the server.
func FuzzRequest(f *testing.F) {
	st, err := store.Open(f.TempDir(), store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	db, err := table.Open(st, table.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _, _ = db.Close(), st.Close() })
	h := New(db, Options{})
	post := func(op, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Amz-Target", targetPrefix+op)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := post("CreateTable", createAir); w.Code != 200 {
		f.Fatal(w.Body)
	}
	for _, seed := range []string{
		createAir, `{"TableName":"air","Item":{"id":{"S":"1"},"time":{"S":"t"}},"ConditionExpression":"attribute_not_exists(id)"}`,
		`{"TableName":"air","Key":{"id":{"S":"1"},"time":{"S":"t"}},"ProjectionExpression":"a.b[0], c"}`,
		`{"TableName":"air","KeyConditionExpression":"id = :i","ExpressionAttributeValues":{":i":{"S":"1"}},"Limit":1,"ExclusiveStartKey":{"id":{"S":"1"},"time":{"S":"t"}}}`,
		`{"TableName":"air","Segment":1,"TotalSegments":4,"FilterExpression":"dust > :i","ExpressionAttributeValues":{":i":{"N":"1"}}}`,
		`{"TableName":"air","Key":{"id":{"S":"1"},"time":{"S":"t"}},"UpdateExpression":"SET l = list_append(if_not_exists(l, :l), :l), m.x[3] = :n - n REMOVE l[0] ADD n :n DELETE s :s","ExpressionAttributeValues":{":l":{"L":[]},":n":{"N":"1"},":s":{"SS":["a"]}},"ReturnValues":"UPDATED_NEW"}`,
		`{"TableName":"air","Key":{"id":{"S":"1"},"time":{"S":"t"}},"AttributeUpdates":{"n":{"Action":"ADD","Value":{"N":"1"}},"x":{"Action":"DELETE"}},"Expected":{"n":{"Exists":false},"x":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"1"},{"N":"2"}]}},"ConditionalOperator":"OR"}`,
		`{"TableName":"air","KeyConditions":{"id":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"1"}]},"time":{"ComparisonOperator":"BEGINS_WITH","AttributeValueList":[{"S":"t"}]}},"QueryFilter":{"n":{"ComparisonOperator":"NOT_CONTAINS","AttributeValueList":[{"S":"1"}]}},"AttributesToGet":["n"]}`,
		`{"ResourceArn":"arn:aws:dynamodb:us-east-1:000000000001:table/air","Tags":[{"Key":"a","Value":"b"}],"TagKeys":["a"]}`,
		`{"RequestItems":{"air":[{"PutRequest":{"Item":{"id":{"S":"1"},"time":{"S":"t"}}}},{"DeleteRequest":{"Key":{"id":{"S":"2"},"time":{"S":"t"}}}}]}}`,
		`{"RequestItems":{"air":{"Keys":[{"id":{"S":"1"},"time":{"S":"t"}}],"ExpressionAttributeNames":{"#a":"b"},"ProjectionExpression":"#a"}}}`,
		`{"RequestItems":[]}`, `{"RequestItems":{"air":null}}`, `{"RequestItems":{"air":[null]}}`, `{"RequestItems":{"air":{"Keys":[null]}}}`, `{"ResourceArn":"arn:aws:dynamodb:us-east-1:000000000001:table/air"}`, `null`, `"x"`, `5`,
		`{"TableName":"abc","ProvisionedThroughput":{"ReadCapacityUnits":1e30},"KeySchema":[null],"AttributeDefinitions":[{}],"StreamSpecification":[]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for op := range operations {
			if op == "DeleteTable" {
				continue
			}
			w := post(op, body)
			empty := w.Code == 200 && w.Body.Len() == 0 && (op == "TagResource" || op == "UntagResource")
			if w.Code >= 500 || !empty && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s %q: %d %s", op, body, w.Code, w.Body)
			}
		}
	})
}
