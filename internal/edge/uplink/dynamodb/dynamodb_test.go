package dynamodb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/watch"
)

var keys = credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "")

func newUplink(t *testing.T, endpoint string, change func(*Options)) (*Uplink, *watch.Log) {
	t.Helper()
	log := &watch.Log{}
	o := Options{
		Table: "air", Endpoint: endpoint, Region: "eu-west-1", Credentials: keys,
		MinBackoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, Log: log.Logger(),
	}
	if change != nil {
		change(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u, log
}

// table is a table in memory with the manners of DynamoDB: it refuses batches
// that are too large or name a key twice, and leaves items unprocessed.
type table struct {
	t *testing.T

	mu       sync.Mutex
	items    map[itemKey]string // guarded by mu; JSON
	writes   int                // guarded by mu; of items
	requests int                // guarded by mu

	// before, when set, may answer in the table's place; key is of one item.
	before func(n int) (status int, code, message string)
	poison func(item string) string // a ValidationException's message, or ""
	left   func(key itemKey) bool   // leaves the item unprocessed
}

type put struct {
	PutRequest struct {
		Item map[string]map[string]any
	}
}

func (s *table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req struct{ RequestItems map[string][]put }
	if err != nil || json.Unmarshal(body, &req) != nil || r.Header.Get("X-Amz-Target") != "DynamoDB_20120810.BatchWriteItem" ||
		!strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/dynamodb/aws4_request") {
		s.t.Errorf("request %s %s", r.Header, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.before != nil {
		if status, code, message := s.before(s.requests); status != 0 {
			fail(w, status, code, message)
			return
		}
	}
	puts := req.RequestItems["air"]
	if len(puts) == 0 || len(puts) > 25 {
		s.t.Errorf("%d items in a batch", len(puts))
	}
	seen, left := map[itemKey]bool{}, []put{}
	for _, p := range puts {
		text, _ := json.Marshal(p.PutRequest.Item)
		key := itemKey{fmt.Sprint(p.PutRequest.Item["id"]["S"]), fmt.Sprint(p.PutRequest.Item["time"]["S"])}
		if seen[key] {
			fail(w, 400, "com.amazon.coral.validate#ValidationException", "Provided list of item keys contains duplicates")
			s.t.Error("duplicate keys in one batch")
			return
		}
		seen[key] = true
		if s.poison != nil {
			if why := s.poison(string(text)); why != "" {
				fail(w, 400, "com.amazon.coral.validate#ValidationException", why)
				return
			}
		}
	}
	for _, p := range puts {
		text, _ := json.Marshal(p.PutRequest.Item)
		key := itemKey{fmt.Sprint(p.PutRequest.Item["id"]["S"]), fmt.Sprint(p.PutRequest.Item["time"]["S"])}
		if s.left != nil && s.left(key) {
			left = append(left, p)
			continue
		}
		s.writes++
		s.items[key] = string(text)
	}
	answer := map[string]any{"UnprocessedItems": map[string]any{}}
	if len(left) > 0 {
		answer["UnprocessedItems"] = map[string]any{"air": left}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

func serve(t *testing.T, s *table) string {
	t.Helper()
	s.t, s.items = t, map[itemKey]string{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

func TestItems(t *testing.T) {
	for record, want := range map[string]string{
		`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.20,"temp":-1.5e-3,"note":"a\"ü","e":""}`: `{"dust":{"N":"35.20"},"e":{"S":""},"id":{"S":"1"},"note":{"S":"a\"ü"},"temp":{"N":"-1.5e-3"},"time":{"S":"2026-11-22T10:15:30.123Z"}}`,
		`{"time":"2026-11-22T10:15:30Z","id":7,"ok":true,"no":null,"l":[1,"x",{"m":[]}]}`:               `{"id":{"S":"7"},"l":{"L":[{"N":"1"},{"S":"x"},{"M":{"m":{"L":[]}}}]},"no":{"NULL":true},"ok":{"BOOL":true},"time":{"S":"2026-11-22T10:15:30Z"}}`,
		`{"time":"2026-11-22T10:15:30Z","id":"1","n":123456789012345678901234567890.12345678}`:          `{"id":{"S":"1"},"n":{"N":"123456789012345678901234567890.12345678"},"time":{"S":"2026-11-22T10:15:30Z"}}`,
	} {
		it, err := newItem(1, []byte(record))
		if err != nil {
			t.Errorf("%s: %v", record, err)
			continue
		}
		if got := string(it.put); got != `{"PutRequest":{"Item":`+want+`}}` {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, record := range []string{
		``, `[]`, `null`, `{}`, `{"id":"1"}`, `{"time":"2026-11-22T10:15:30Z"}`, `{"id":"","time":"2026-11-22T10:15:30Z"}`, `{"id":true,"time":"2026-11-22T10:15:30Z"}`,
		`{"id":"1","time":"today"}`, `{"id":"1","time":"2026-11-22T10:15:30Z"} {}`,
		`{"id":"1","time":"2026-11-22T10:15:30Z","deep":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	} {
		if _, err := newItem(1, []byte(record)); err == nil {
			t.Errorf("%s is an item", record)
		}
	}
}

func TestEveryRecordIsWrittenOnceThroughTrouble(t *testing.T) {
	s := &table{}
	s.before = func(int) (int, string, string) {
		switch rand.IntN(12) {
		case 0:
			return 400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "The level of configured provisioned throughput was exceeded."
		case 1:
			return 400, "com.amazon.coral.service#ThrottlingException", "Rate exceeded"
		case 2:
			return 503, "", "down"
		case 3:
			panic(http.ErrAbortHandler)
		}
		return 0, "", ""
	}
	s.left = func(itemKey) bool { return rand.IntN(5) == 0 }
	u, _ := newUplink(t, serve(t, s), nil)
	q := &uplinktest.Queue{}
	q.AppendReadings(200, "1", "2", "3")
	stop := uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	stop()
	if len(s.items) != 600 {
		t.Errorf("%d items of 600", len(s.items))
	}
	if st := u.Status(); st.Delivered != 600 || st.InFlight != 0 || st.Refused != 0 {
		t.Errorf("status %+v", st)
	}
	if s.writes != 600 {
		t.Errorf("%d writes: what was processed is not sent again", s.writes)
	}
}

func TestPoisonIsKeptAsideAlone(t *testing.T) {
	s := &table{poison: func(item string) string {
		if strings.Contains(item, `"bad"`) {
			return "Item size has exceeded the maximum allowed size"
		}
		return ""
	}}
	file := filepath.Join(t.TempDir(), "refused.jsonl")
	u, _ := newUplink(t, serve(t, s), func(o *Options) { o.RefusedFile = file })
	q := &uplinktest.Queue{}
	q.AppendReadings(3, "1", "bad", "2")
	q.Append("not a reading")
	q.AppendReadings(40, "3")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if st := u.Status(); st.Delivered != 46 || st.Refused != 4 || !st.Connected {
		t.Errorf("status %+v", st)
	}
	text, _ := os.ReadFile(file)
	if strings.Count(string(text), "ValidationException: Item size has exceeded") != 3 || strings.Count(string(text), "not a reading") != 2 {
		t.Errorf("refused:\n%s", text)
	}
	if len(s.items) != 46 {
		t.Errorf("%d items", len(s.items))
	}
}

// A board that sends the same identity twice, or a spool with a record twice,
// makes one item, and both leave the queue.
func TestTheSameKeyTwiceInABatchIsOneItem(t *testing.T) {
	s := &table{}
	u, _ := newUplink(t, serve(t, s), nil)
	q := &uplinktest.Queue{}
	for n := range 4 {
		q.AppendReadings(3, "1", "2")
		q.Append(fmt.Sprintf(`{"time":"2026-11-22T09:00:00.000Z","id":"1","n":%d}`, n))
	}
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if len(s.items) != 7 || u.Status().Delivered != 28 {
		t.Errorf("%d items, %d delivered", len(s.items), u.Status().Delivered)
	}
	if got := s.items[itemKey{"1", "2026-11-22T09:00:00.000Z"}]; !strings.Contains(got, `"3"`) {
		t.Errorf("the last one is to win: %s", got)
	}
}

func TestWhatNeedsAPersonKeepsTheReadings(t *testing.T) {
	for says, c := range map[string]struct {
		status        int
		code, message string
	}{
		"make table air in region eu-west-1":    {400, "x#ResourceNotFoundException", "Requested resource not found"},
		"allow dynamodb:BatchWriteItem":         {400, "x#AccessDeniedException", "User: arn is not authorized"},
		"not known, or expired":                 {400, "x#UnrecognizedClientException", "The security token included in the request is invalid."},
		"check the secret access key":           {400, "x#InvalidSignatureException", "The request signature we calculated does not match"},
		"must be id (S) and time (S)":           {400, "x#ValidationException", "One or more parameter values were invalid: Missing the key board in the item"},
		"speaks the DynamoDB API":               {404, "", "<UnknownOperationException/>"},
		"not the one to BatchWriteItem":         {200, "", "hello"},
		"redirects are not followed":            {307, "", ""},
		"ItemCollectionSizeLimitExceeded":       {400, "x#ItemCollectionSizeLimitExceededException", "Item collection size limit exceeded."},
		"no AWS credentials":                    {0, "credentials", ""},
		"the table is throttled: its server le": {0, "unprocessed", ""},
	} {
		t.Run(says, func(t *testing.T) {
			s := &table{before: func(int) (int, string, string) { return c.status, c.code, c.message }}
			s.left = func(itemKey) bool { return c.code == "unprocessed" }
			u, log := newUplink(t, serve(t, s), func(o *Options) {
				if c.code == "credentials" {
					o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, io.EOF })
				}
			})
			q := &uplinktest.Queue{}
			q.AppendReadings(2, "1")
			stop := uplinktest.Run(t, u, q)
			watch.Until(t, "a warning", func() bool { return strings.Contains(log.String(), says) })
			stop()
			if q.Acked() != 0 || u.Status().Refused != 0 {
				t.Errorf("%d acknowledged, %+v", q.Acked(), u.Status())
			}
			if n := log.Count("cannot deliver"); n != 1 {
				t.Errorf("logged %d times\n%s", n, log)
			}
		})
	}
}

// One reading without the table's key does not pass for a wrong table once
// others are through.
func TestAReadingWithoutTheKeyIsKeptAsideWhenOthersAreTaken(t *testing.T) {
	s := &table{poison: func(item string) string {
		if !strings.Contains(item, `"board"`) {
			return "One or more parameter values were invalid: Missing the key board in the item"
		}
		return ""
	}}
	u, _ := newUplink(t, serve(t, s), nil)
	q := &uplinktest.Queue{}
	q.Append(`{"time":"2026-11-22T09:00:00.000Z","id":"1"}`)
	stop := uplinktest.Run(t, u, q)
	watch.Until(t, "an error", func() bool { return u.Status().LastError != "" })
	if u.Status().Refused != 0 {
		t.Error("refused before anything was ever taken")
	}
	for i := range 3 {
		q.Append(fmt.Sprintf(`{"time":"2026-11-22T09:00:0%d.000Z","id":"1","board":"b"}`, i+1))
	}
	q.WaitEmpty(t)
	stop()
	if st := u.Status(); st.Refused != 1 || st.Delivered != 3 {
		t.Errorf("%+v", st)
	}
}

// A clock that is wrong by a day delivers all the same: the server's Date says
// what time it is.
func TestAWrongClockIsCorrected(t *testing.T) {
	serverTime := func() time.Time { return time.Now().Add(-26 * time.Hour) }
	inner := &table{}
	inner.t, inner.items = t, map[itemKey]string{}
	var wrong atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", serverTime().UTC().Format(http.TimeFormat))
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || at.Sub(serverTime()).Abs() > 5*time.Minute {
			wrong.Add(1)
			fail(w, 400, "com.amazon.coral.service#InvalidSignatureException", "Signature not yet current: 20261122T101530Z is still later than …")
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	u, _ := newUplink(t, server.URL, nil)
	q := &uplinktest.Queue{}
	q.AppendReadings(100, "1", "2")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if n := wrong.Load(); n < 1 || n > workers {
		t.Errorf("%d requests with the wrong time", n)
	}
}

func TestPauses(t *testing.T) {
	for what, c := range map[string]struct {
		status   int
		code     string
		from, to time.Duration // of the second try
	}{
		"throttled":     {400, "x#ThrottlingException", 500 * time.Millisecond, time.Second},
		"server error":  {500, "x#InternalServerError", 500 * time.Millisecond, time.Second},
		"no such table": {400, "x#ResourceNotFoundException", 5 * time.Second, 10 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var tries []time.Duration
				u, _ := newUplink(t, "https://example.com", func(o *Options) { o.MinBackoff, o.MaxBackoff = 0, 0 })
				u.client.Transport = answers(func(*http.Request) (int, string) {
					if tries = append(tries, time.Since(start)); len(tries) == 5 {
						return 200, `{"UnprocessedItems":{}}`
					}
					return c.status, `{"__type":"` + c.code + `"}`
				})
				q := &uplinktest.Queue{}
				q.AppendReadings(1, "1")
				stop := uplinktest.Run(t, u, q)
				if err := q.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
				stop()
				if second := tries[1] - tries[0]; second < c.from || second > c.to {
					t.Errorf("tries after %v", tries)
				}
			})
		})
	}
}

type answers func(*http.Request) (int, string)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, text := a(r)
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		`table ""`:                  {},
		"3 to 255 letters":          {Table: "a/b"},
		"set one of them":           {Table: "air"},
		"not encrypted":             {Table: "air", Endpoint: "http://example.com", Region: "x"},
		"has no path":               {Table: "air", Endpoint: "https://example.com/prod", Region: "x"},
		"need a region":             {Table: "air", Endpoint: "https://example.com"},
		"needs AWS credentials":     {Table: "air", Region: "eu-west-1"},
		"CA file":                   {Table: "air", Region: "eu-west-1", Credentials: keys, CAFile: "/none"},
		"user name or password":     {Table: "air", Endpoint: "https://a:b@example.com", Region: "x"},
		"want https://host/stage/p": {Table: "air", Endpoint: "example.com", Region: "x"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for region, want := range map[string]string{"eu-west-1": "https://dynamodb.eu-west-1.amazonaws.com/", "cn-north-1": "https://dynamodb.cn-north-1.amazonaws.com.cn/"} {
		u, err := New(Options{Table: "air", Region: region, Credentials: keys})
		if err != nil || u.url.String() != want {
			t.Errorf("%v, %v", u, err)
		}
	}
	u, err := New(Options{Table: "air", Endpoint: "https://dynamodb.eu-west-3.amazonaws.com", Credentials: keys})
	if err != nil || u.o.Region != "eu-west-3" {
		t.Errorf("%v, %v", u, err)
	}
}

func FuzzItem(f *testing.F) {
	f.Add(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"note":"x"}`)
	f.Add(`{"time":"2026-11-22T10:15:30Z","id":7,"ok":true,"no":null,"l":[1,"x",{"m":[]}]}`)
	f.Add(`{"id":"\u0000","time":"2026-11-22T10:15:30Z","\ud800":"\"\\"}`)
	f.Fuzz(func(t *testing.T, record string) {
		it, err := newItem(1, []byte(record))
		if err != nil {
			return
		}
		var back put
		if err := json.Unmarshal(it.put, &back); err != nil {
			t.Fatalf("%s: %v", it.put, err)
		}
		members := back.PutRequest.Item
		if len(members) < 2 || members["time"]["S"] != it.key.time {
			t.Fatalf("%s of %s", it.put, record)
		}
		for name, v := range members {
			if len(v) != 1 {
				t.Fatalf("%s: %v", name, v)
			}
		}
		// an answer that leaves the item unprocessed names it, and so is understood
		answer := fmt.Sprintf(`{"UnprocessedItems":{"air":[%s]}}`, it.put)
		if left, err := unprocessed("air", []byte(answer), []*item{it}); err != nil || len(left) != 1 {
			t.Fatalf("%v, %v", left, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"UnprocessedItems":{}}`)
	f.Add(200, `{"UnprocessedItems":{"air":[{"PutRequest":{"Item":{"id":{"S":"1"},"time":{"S":"x"}}}}]}}`)
	f.Add(400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"x"}`)
	f.Add(500, `<html>`)
	u, err := New(Options{Table: "air", Region: "eu-west-1", Credentials: keys})
	if err != nil {
		f.Fatal(err)
	}
	items := []*item{{seq: 1, key: itemKey{"1", "x"}}, {seq: 2, key: itemKey{"1", "y"}}}
	f.Fuzz(func(t *testing.T, status int, text string) {
		v := u.judge(&http.Response{StatusCode: status, Header: http.Header{}}, []byte(text), items, time.Unix(0, 0))
		if (v.err == nil) != (v.kind == written) || len(v.left) > len(items) {
			t.Fatalf("%+v", v)
		}
		if v.kind == written && status != 200 {
			t.Fatal("a failure passes for written")
		}
		if v.err != nil && len(v.err.Error()) > 1000 {
			t.Fatalf("%d bytes of error", len(v.err.Error()))
		}
	})
}
