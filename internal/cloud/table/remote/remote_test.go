package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/table"
)

// stub is a cluster that notes what it gets. answer says what becomes of a call;
// nil, or an empty one, is success.
type stub struct {
	answer func(operation, body string) (status int, answer string)

	mu    sync.Mutex
	calls []string // guarded by mu: operation and body
}

const described = `{"Table":{"TableName":"air","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"ItemCount":7}}`

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	s.mu.Lock()
	s.calls = append(s.calls, operation+" "+string(body))
	s.mu.Unlock()
	status, answer := 0, ""
	if s.answer != nil {
		status, answer = s.answer(operation, string(body))
	}
	if status == 0 {
		status, answer = http.StatusOK, "{}"
		if operation == "DescribeTable" {
			answer = described
		}
	}
	if !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/dynamodb/aws4_request") || r.Header.Get("Via") != Via {
		status, answer = http.StatusForbidden, "unsigned"
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// writes are the calls that are no DescribeTable.
func (s *stub) writes() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if !strings.HasPrefix(c, "DescribeTable") {
			out = append(out, c)
		}
	}
	return out
}

func open(t *testing.T, s *stub) (*Cluster, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := Open(Options{URL: server.URL, Region: "eu-west-1", Credentials: func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, server
}

func row(id string, n int) *Write {
	v, _ := table.Number(fmt.Sprint(n))
	return Put("air", table.Item{"id": table.String(id), "n": v})
}

func entries(writes ...*Write) (out []*outbox.Entry) {
	for _, w := range writes {
		out = append(out, &outbox.Entry{Kind: Kind, Data: w.Encode()})
	}
	return out
}

// classes are the classes of errors: 0 done, else the class and its number as text.
func classes(errs []error) string {
	var out []string
	for _, err := range errs {
		var e *outbox.Error
		switch {
		case err == nil:
			out = append(out, "ok")
		case errors.As(err, &e):
			out = append(out, map[outbox.Class]string{outbox.Busy: "busy", outbox.Unreachable: "unreachable", outbox.Permanent: "permanent"}[e.Class])
		default:
			out = append(out, "?")
		}
	}
	return strings.Join(out, " ")
}

func TestWritesOfAKeyKeepTheirOrder(t *testing.T) {
	s := &stub{}
	c, _ := open(t, s)
	var all []*Write
	for i := range 60 {
		all = append(all, row(fmt.Sprint(i%30), i))
	}
	all = append(all, Remove("air", table.Item{"id": table.String("0")}), Set("air", table.Item{"id": table.String("1")}, "dust", table.Bool(true)))
	if got := classes(NewDeliverer(c).Deliver(t.Context(), entries(all...))); strings.Trim(got, "ok ") != "" {
		t.Fatal(got)
	}
	last := map[string]int{}
	for _, call := range s.writes() {
		operation, body, _ := strings.Cut(call, " ")
		if operation != "BatchWriteItem" {
			continue
		}
		var in struct {
			RequestItems map[string][]struct {
				PutRequest *struct {
					Item map[string]map[string]string
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatal(err)
		}
		if n := len(in.RequestItems["air"]); n > maxBatch {
			t.Errorf("a batch has %d writes", n)
		}
		for _, r := range in.RequestItems["air"] {
			if r.PutRequest == nil {
				continue
			}
			id := r.PutRequest.Item["id"]["S"]
			var n int
			_, _ = fmt.Sscan(r.PutRequest.Item["n"]["N"], &n)
			if was, ok := last[id]; ok && n <= was {
				t.Errorf("%s: %d came after %d", id, n, was)
			}
			last[id] = n
		}
	}
	if len(last) != 30 || len(s.writes()) > 7 {
		t.Errorf("%d keys in %d calls", len(last), len(s.writes()))
	}
	if !slices.ContainsFunc(s.writes(), func(c string) bool {
		return strings.HasPrefix(c, "UpdateItem") && strings.Contains(c, `"#a":"dust"`)
	}) {
		t.Error("the attribute was not set")
	}
}

func TestABadWriteHoldsUpNoOther(t *testing.T) {
	refuse := func(operation, body string) (int, string) {
		if operation == "BatchWriteItem" || operation == "PutItem" && strings.Contains(body, `"bad"`) {
			return 400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}`
		}
		return 0, ""
	}
	s := &stub{answer: refuse}
	c, _ := open(t, s)
	errs := NewDeliverer(c).Deliver(t.Context(), entries(row("1", 1), row("bad", 1), row("2", 1)))
	if got := classes(errs); got != "ok permanent ok" {
		t.Error(got)
	}
	if e, ok := errors.AsType[*table.Error](errs[1]); !ok || e.Code != table.CodeValidation || e.Message != "no" {
		t.Error(errs[1])
	}
	if data := []byte{9}; classes(NewDeliverer(c).Deliver(t.Context(), []*outbox.Entry{{Data: data}})) != "permanent" {
		t.Error("a damaged write")
	}
}

func TestWhatTheClusterAnswers(t *testing.T) {
	for _, x := range []struct {
		status int
		answer string
		want   string
	}{
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`, "permanent"},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`, "busy"},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","Message":"no"}`, "busy"},
		{400, `{"__type":"com.amazon.coral.service#ExpiredTokenException"}`, "busy"},
		{503, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}`, "busy"},
		{500, `{"__type":"com.amazon.coral.validate#ValidationException"}`, "busy"},
		{502, `<html>`, "busy"},
		{301, ``, "busy"},
	} {
		s := &stub{answer: func(string, string) (int, string) { return x.status, x.answer }}
		c, _ := open(t, s)
		if got := classes(NewDeliverer(c).Deliver(t.Context(), entries(row("1", 1)))); got != x.want {
			t.Errorf("%d %s: %s, want %s", x.status, x.answer, got, x.want)
		}
	}
}

func TestUnprocessedWritesStay(t *testing.T) {
	left := `{"UnprocessedItems":{"air":[{"PutRequest":{"Item":{"id":{"S":"2"},"n":{"N":"1"}}}}]}}`
	s := &stub{answer: func(operation, _ string) (int, string) {
		if operation == "BatchWriteItem" {
			return 200, left
		}
		return 0, ""
	}}
	c, _ := open(t, s)
	d := NewDeliverer(c)
	if got := classes(d.Deliver(t.Context(), entries(row("1", 1), row("2", 1), row("3", 1), row("1", 2)))); got != "ok busy ok busy" {
		t.Error(got)
	}
	left = `{"UnprocessedItems":{"air":[{"PutRequest":{"Item":{"id":{"S":"nobody"}}}}]}}`
	if got := classes(d.Deliver(t.Context(), entries(row("1", 1), row("2", 1)))); got != "busy busy" {
		t.Error("left over, but not known which: ", got)
	}
}

func TestAClusterThatIsAway(t *testing.T) {
	s := &stub{}
	c, server := open(t, s)
	server.Close()
	if got := classes(NewDeliverer(c).Deliver(t.Context(), entries(row("1", 1), row("2", 1)))); got != "unreachable unreachable" {
		t.Error(got)
	}
	_, err := c.GetItem(table.GetRequest{Table: "air", Key: table.Item{"id": table.String("1")}})
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || !strings.Contains(err.Error(), server.URL) {
		t.Error(err)
	}
	if c.reads.refuses() == nil {
		t.Error("the next read would wait again")
	}
}

func TestWithoutDescribeTableWritesGoAlone(t *testing.T) {
	s := &stub{answer: func(operation, _ string) (int, string) {
		if operation == "DescribeTable" {
			return 400, `{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException"}`
		}
		return 0, ""
	}}
	c, _ := open(t, s)
	if got := classes(NewDeliverer(c).Deliver(t.Context(), entries(row("1", 1), row("1", 2)))); got != "ok ok" {
		t.Error(got)
	}
	if w := s.writes(); len(w) != 2 || !strings.HasPrefix(w[0], `PutItem {"Item":{"id":{"S":"1"},"n":{"N":"1"}}`) {
		t.Errorf("%q", w)
	}
}

func TestReads(t *testing.T) {
	s := &stub{answer: func(operation, body string) (int, string) {
		switch operation {
		case "GetItem":
			return 200, `{"Item":{"id":{"S":"1"},"n":{"N":"1.50"}}}`
		case "Query":
			return 200, `{"Items":[{"id":{"S":"1"}}],"Count":1,"ScannedCount":2,"LastEvaluatedKey":{"id":{"S":"1"}}}`
		case "ListTables":
			return 200, `{"TableNames":["air"],"LastEvaluatedTableName":"air"}`
		}
		return 0, ""
	}}
	c, _ := open(t, s)
	got, err := c.GetItem(table.GetRequest{Table: "air", Key: table.Item{"id": table.String("1")}})
	if err != nil || got.Item["n"].Str != "1.5" {
		t.Errorf("%v, %v", got, err)
	}
	page, err := c.Query(table.QueryRequest{
		Reading:      table.Reading{Table: "air", Limit: 5, Names: map[string]string{"#h": "id"}, Values: map[string]table.Value{":h": table.String("1")}, StartKey: table.Item{"id": table.String("0")}},
		KeyCondition: "#h = :h", Descending: true,
	})
	if err != nil || len(page.Items) != 1 || page.Scanned != 2 || page.LastKey["id"].Str != "1" {
		t.Errorf("%+v, %v", page, err)
	}
	want := `Query {"ConsistentRead":false,"ExclusiveStartKey":{"id":{"S":"0"}},"ExpressionAttributeNames":{"#h":"id"},"ExpressionAttributeValues":{":h":{"S":"1"}},"KeyConditionExpression":"#h = :h","Limit":5,"ScanIndexForward":false,"TableName":"air"}`
	if w := s.writes(); w[len(w)-1] != want {
		t.Errorf("%s\nwant %s", w[len(w)-1], want)
	}
	if names, last := c.List("", 10); !slices.Equal(names, []string{"air"}) || last != "air" {
		t.Error(names, last)
	}
	d, err := c.Describe("air")
	if err != nil || d.Hash != (table.KeyAttr{Name: "id", Kind: table.S}) || d.Range != nil || c.Count(d).Items != 7 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestURLs(t *testing.T) {
	keys := func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("none") }
	for _, bad := range []string{"", "dynamodb", "ftp://host", "http://host/path", "http://user:secret@host", "http://host?x=1"} {
		if _, err := Open(Options{URL: bad, Credentials: keys}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	c, err := Open(Options{URL: "https://dynamodb.eu-west-1.amazonaws.com", OtherRegion: "us-west-2", Credentials: keys})
	if err != nil || c.Region() != "eu-west-1" || c.URL() != "https://dynamodb.eu-west-1.amazonaws.com/" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := c.Call(t.Context(), "ListTables", nil); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Error(err)
	}
}

func FuzzDecodeWrite(f *testing.F) {
	f.Add(row("1", 1).Encode())
	f.Add(Set("air", table.Item{"id": table.String("1")}, "a", table.Null()).Encode())
	f.Add(Remove("air", table.Item{"id": table.String("1")}).Encode())
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := decodeWrite(data)
		if err != nil {
			return
		}
		again, err := decodeWrite(w.Encode())
		if err != nil || again.Table != w.Table || again.Attribute != w.Attribute {
			t.Errorf("%s came back as %s, %v", data, w.Encode(), err)
		}
		w.single()
	})
}
