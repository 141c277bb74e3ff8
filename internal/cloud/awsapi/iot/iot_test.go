package iot

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/destination"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/sigv4"
)

var _ TopicRules = (*rules.Engine)(nil)

// fakeRules keeps rules without running them.
type fakeRules struct {
	mu    sync.Mutex
	rules map[string]rules.Rule
	full  bool
}

func (f *fakeRules) Create(name string, p rules.Payload) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.rules[name]; ok {
		return rules.ErrExists
	}
	return f.put(name, p, time.UnixMilli(1700000000123))
}

func (f *fakeRules) put(name string, p rules.Payload, at time.Time) error {
	switch {
	case f.full:
		return fmt.Errorf("write: %w", store.ErrFull)
	case !strings.HasPrefix(p.SQL, "SELECT"):
		return &rules.InvalidError{SQL: true, Msg: "expected SELECT at column 1"}
	case len(p.Actions) == 0:
		return &rules.InvalidError{Msg: "the rule does nothing"}
	}
	_, rest, _ := strings.Cut(p.SQL, "FROM '")
	filter, _, _ := strings.Cut(rest, "'")
	f.rules[name] = rules.Rule{Name: name, Payload: p, CreatedAt: at, Filter: filter}
	return nil
}

func (f *fakeRules) Replace(name string, p rules.Payload) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.rules[name]
	if !ok {
		return rules.ErrNotFound
	}
	return f.put(name, p, r.CreatedAt)
}

func (f *fakeRules) Get(name string) (rules.Rule, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.rules[name]
	if !ok {
		return r, rules.ErrNotFound
	}
	return r, nil
}

func (f *fakeRules) List() (out []rules.Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		out = append(out, r)
	}
	return out
}

func (f *fakeRules) SetEnabled(name string, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.rules[name]
	if !ok {
		return rules.ErrNotFound
	}
	r.Payload.RuleDisabled = !on
	f.rules[name] = r
	return nil
}

func (f *fakeRules) Delete(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.rules[name]; !ok {
		return rules.ErrNotFound
	}
	delete(f.rules, name)
	return nil
}

// openRegistry opens the registry in dir.
func openRegistry(t testing.TB, dir string) (*registry.Registry, *store.Store) {
	t.Helper()
	st := storetest.Open(t, dir)
	reg, err := registry.Open(st, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return reg, st
}

// newServer serves an empty registry in dir, without a front that checks
// signatures.
func newServer(t testing.TB, dir string) (*httptest.Server, *registry.Registry, *fakeRules) {
	t.Helper()
	reg, st := openRegistry(t, dir)
	f := &fakeRules{rules: map[string]rules.Rule{}}
	destinations, err := destination.Open(st, destination.Options{Trust: destination.TrustNone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destinations.Close)
	srv := httptest.NewServer(New(reg, f, Options{Endpoint: "mote.example", Destinations: destinations}))
	t.Cleanup(srv.Close)
	return srv, reg, f
}

// do sends a request as curl would and returns the status, the error type and
// the body.
func do(t testing.TB, srv *httptest.Server, method, path, body string, headers ...string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers) && headers[i] != ""; i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") != "application/json" || len(resp.Header.Get("x-amzn-RequestId")) != 36 {
		t.Errorf("%s %s: headers %v", method, path, resp.Header)
	}
	return resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), string(data)
}

const allowAll = `{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}]}`

// TestWire walks through statuses, codes and texts, step after step.
func TestWire(t *testing.T) {
	srv, reg, _ := newServer(t, t.TempDir())
	cert, _, err := reg.CreateKeysAndCertificate(true)
	if err != nil {
		t.Fatal(err)
	}
	arn := reg.ARN("cert/" + cert.ID)
	target := `{"target":"` + arn + `"}`
	const rule = `{"sql":"SELECT * FROM 'a/+'","actions":[{"x":{}}]}`
	for _, s := range []struct {
		method, path, body string
		header, value      string
		status             int
		code, want         string
	}{
		{"POST", "/things/a%3Ab", "{}", "", "", 200, "", `"thingArn":"arn:aws:iot:us-east-1:000000000001:thing/a:b"`},
		{"POST", "/things/a:b", `{"attributePayload":{"attributes":{"x":"y"}}}`, "", "", 409, "ResourceAlreadyExistsException", `"resourceArn":"arn:aws:iot:us-east-1:000000000001:thing/a:b"`},
		{"GET", "/things/a%3Ab", "", "", "", 200, "", `"attributes":{},"version":1`},
		{"GET", "/things/a%2Fb", "", "", "", 404, "ResourceNotFoundException", "Thing a/b does not exist"},
		{"POST", "/things/t", `{"attributePayload":{"attributes":{"x":1}}}`, "", "", 400, "InvalidRequestException", "attributePayload.attributes of the request must not be number"},
		{"POST", "/things/t", `{"attributePayload":`, "", "", 400, "InvalidRequestException", "not JSON"},
		{"POST", "/things/t", `{"thingTypeName":"board"}`, "", "", 404, "ResourceNotFoundException", "Thing type board does not exist"},
		{"PATCH", "/things/a:b", `{"expectedVersion":7}`, "", "", 409, "VersionConflictException", "expected was 7"},
		{"PATCH", "/things/a:b", `{"attributePayload":{"attributes":{"room":"attic"},"merge":true}}`, "", "", 200, "", "{}"},
		{"GET", "/things?attributeName=room&attributeValue=att&usePrefixAttributeValue=true", "", "", "", 200, "", `"version":2`},
		{"GET", "/things?attributeName=room&attributeValue=att", "", "", "", 200, "", `{"things":[]}`},
		{"GET", "/things?maxResults=0", "", "", "", 400, "InvalidRequestException", `maxResults is \"0\"`},
		{"GET", "/things?maxResults=251", "", "", "", 400, "InvalidRequestException", "1 to 250"},
		{"GET", "/things?nextToken=zz", "", "", "", 400, "InvalidRequestException", "paging token"},

		{"POST", "/policies/p", `{"policyDocument":"{\"Version\":\"2012-10-17\",\n\"Statement\":3}"}`, "", "", 400, "MalformedPolicyException", "Policy document is Malformed: line 2, column 13: Statement: must be an object, not a number"},
		{"POST", "/policies/p", `{}`, "", "", 400, "InvalidRequestException", "policyDocument is missing"},
		{"POST", "/policies/p", `{"policyDocument":"` + allowAll + `","tags":[{"Key":"team","Value":"air"}]}`, "", "", 200, "", `"policyVersionId":"1"`},
		{"POST", "/policies/p", `{"policyDocument":"` + allowAll + `"}`, "", "", 409, "ResourceAlreadyExistsException", `"resourceId":"p"`},
		{"GET", "/policies/p/version/01", "", "", "", 400, "InvalidRequestException", "version id"},
		{"GET", "/policies/p/version/2", "", "", "", 404, "ResourceNotFoundException", "Policy version 2"},
		{"PUT", "/target-policies/p", target, "", "", 200, "", "{}"},
		{"PUT", "/target-policies/p", `{"target":"arn:aws:iot:us-east-1:000000000001:thinggroup/x"}`, "", "", 404, "ResourceNotFoundException", "Thing group x"},
		{"PUT", "/target-policies/p", `{"target":"arn:aws:iot:us-east-1:000000000001:thing/a"}`, "", "", 400, "InvalidRequestException", "is no target of a policy"},
		{"POST", "/attached-policies/" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(arn), "", "", "", 200, "", `"policyName":"p"`},
		{"POST", "/policy-targets/p", "", "", "", 200, "", `{"targets":["` + arn + `"]}`},
		{"GET", "/policy-principals", "", oldPolicyHeader, "p", 200, "", `{"principals":["` + arn + `"]}`},
		{"GET", "/principal-policies", "", oldPrincipalHeader, arn, 200, "", `"policyName":"p"`},
		{"POST", "/policies/q", `{"policyDocument":"` + allowAll + `"}`, "", "", 200, "", `"policyVersionId":"1"`},
		{"PUT", "/principal-policies/q", "", oldPrincipalHeader, arn, 200, "", "{}"},
		{"GET", "/principal-policies?pageSize=1", "", oldPrincipalHeader, arn, 200, "", `"policyName":"p"`},
		{"GET", "/principal-policies?pageSize=1&isAscendingOrder=false", "", oldPrincipalHeader, arn, 200, "", `"policyName":"q"`},
		{"GET", "/policy-principals?isAscendingOrder=x", "", oldPolicyHeader, "p", 400, "InvalidRequestException", "true or false"},
		{"DELETE", "/principal-policies/q", "", oldPrincipalHeader, arn, 200, "", "{}"},
		{"DELETE", "/policies/q", "", "", "", 200, "", "{}"},
		{"DELETE", "/policies/p", "", "", "", 409, "DeleteConflictException", "attached to one or more principals (name=p)"},
		{"PUT", "/principal-policies/p", "", "", "", 400, "InvalidRequestException", "the header x-amzn-iot-principal is missing"},
		{"DELETE", "/principal-policies/p", "", oldPrincipalHeader, arn, 200, "", "{}"},
		{"PUT", "/principal-policies/p", "", oldPrincipalHeader, arn, 200, "", "{}"},

		{"PUT", "/things/a:b/principals?thingPrincipalType=EXCLUSIVE_THING", "", principalHeader, arn, 200, "", "{}"},
		{"PUT", "/things/a:b/principals?thingPrincipalType=MINE", "", principalHeader, arn, 400, "InvalidRequestException", "EXCLUSIVE_THING or NON_EXCLUSIVE_THING"},
		{"GET", "/things/a:b/principals-v2", "", "", "", 200, "", `"thingPrincipalType":"EXCLUSIVE_THING"`},
		{"GET", "/principals/things", "", principalHeader, arn, 200, "", `{"things":["a:b"]}`},
		{"DELETE", "/things/a:b", "", "", "", 400, "InvalidRequestException", "Cannot delete. Thing a:b is still attached to one or more principals"},
		{"DELETE", "/certificates/" + cert.ID, "", "", "", 406, "CertificateStateException", "not ACTIVE"},
		{"PUT", "/certificates/" + cert.ID + "?newStatus=INACTIVE", "", "", "", 200, "", "{}"},
		{"DELETE", "/certificates/" + cert.ID + "?forceDelete=true", "", "", "", 409, "DeleteConflictException", "Things must be detached"},
		{"GET", "/certificates/" + cert.ID, "", "", "", 200, "", `"customerVersion":2`},
		{"GET", "/certificates", "", "", "", 200, "", `"status":"INACTIVE","certificateMode":"DEFAULT","creationDate":1`},

		{"POST", "/rules/r", `{"sql":"SELEKT","actions":[{}]}`, "", "", 400, "SqlParseException", "expected SELECT"},
		{"POST", "/rules/r", `{"sql":"SELECT 1","actions":[]}`, "", "", 400, "InvalidRequestException", "does nothing"},
		{"POST", "/rules/r", `{"sql":"SELECT 1"}`, "", "", 400, "InvalidRequestException", "actions is missing"},
		{"POST", "/rules/r", `{"sql":"SELECT 1","actions":[1,2,3,4,5,6,7,8,9,10,11]}`, "", "", 400, "InvalidRequestException", "11 actions"},
		{"POST", "/rules/a-b", rule, "", "", 400, "InvalidRequestException", "rule name"},
		{"POST", "/rules/r", rule, "x-amz-tagging", "aws:a=b", 400, "InvalidRequestException", "reserved"},
		{"POST", "/rules/r", rule, "x-amz-tagging", "a=b&c=d%20e", 200, "", "{}"},
		{"POST", "/rules/r", rule, "", "", 409, "ResourceAlreadyExistsException", `"resourceArn":"arn:aws:iot:us-east-1:000000000001:rule/r"`},
		{"GET", "/rules/r", "", "", "", 200, "", `"createdAt":1700000000.123,"actions":[{"x":{}}],"ruleDisabled":false,"awsIotSqlVersion":"2015-10-08"`},
		{"GET", "/rules/none", "", "", "", 401, "UnauthorizedException", "Access to topic rule 'none' was denied"},
		{"POST", "/rules/none/enable", "", "", "", 401, "UnauthorizedException", "Access to topic rule 'none' was denied"},
		{"PATCH", "/rules/none", rule, "", "", 401, "UnauthorizedException", "was denied"},
		{"POST", "/rules/r/disable", "", "", "", 200, "", "{}"},
		{"GET", "/rules?ruleDisabled=true", "", "", "", 200, "", `"topicPattern":"a/+"`},
		{"GET", "/rules?ruleDisabled=false", "", "", "", 200, "", `{"rules":[]}`},
		{"GET", "/rules?topic=a%2Fb", "", "", "", 200, "", `"ruleName":"r"`},
		{"GET", "/rules?topic=b", "", "", "", 200, "", `{"rules":[]}`},
		{"GET", "/tags?resourceArn=arn:aws:iot:us-east-1:000000000001:rule/r", "", "", "", 200, "", `{"tags":[{"Key":"a","Value":"b"},{"Key":"c","Value":"d e"}]}`},
		{"POST", "/untag", `{"resourceArn":"arn:aws:iot:us-east-1:000000000001:policy/p","tagKeys":["team"]}`, "", "", 200, "", "{}"},
		{"GET", "/tags?resourceArn=arn:aws:iot:us-east-1:000000000001:policy/p", "", "", "", 200, "", `{"tags":[]}`},
		{"GET", "/tags?resourceArn=arn:aws:iot:us-east-1:000000000001:rule/none", "", "", "", 404, "ResourceNotFoundException", "Rule none"},
		{"GET", "/tags?resourceArn=arn:aws:iot:us-east-1:000000000001:thing/a:b", "", "", "", 400, "InvalidRequestException", "cannot have tags"},
		{"DELETE", "/rules/r", "", "", "", 200, "", "{}"},
		{"DELETE", "/rules/r", "", "", "", 200, "", "{}"},

		{"GET", "/endpoint?endpointType=iot:Data-ATS", "", "", "", 200, "", `{"endpointAddress":"mote.example"}`},
		{"GET", "/endpoint", "", "", "", 200, "", "mote.example"},
		{"GET", "/endpoint?endpointType=iot:Other", "", "", "", 400, "InvalidRequestException", "iot:Data-ATS"},
		{"GET", "/nothing", "", "", "", 501, "NotImplementedException", "GET /nothing is not an operation of AWS IoT"},
		{"POST", "/dynamic-thing-groups/g", `{"queryString":"a"}`, "", "", 501, "NotImplementedException", "CreateDynamicThingGroup is an operation of AWS IoT that this server does not have: search-index finds"},
		{"PUT", "/policies/p", "", "", "", 501, "NotImplementedException", "on this path there is DELETE, GET, POST"},
		{"POST", "/things/x", strings.Repeat(" ", maxBody+1), "", "", 400, "InvalidRequestException", "more than"},
	} {
		status, code, body := do(t, srv, s.method, s.path, s.body, s.header, s.value)
		if status != s.status || code != s.code || !strings.Contains(body, s.want) {
			t.Errorf("%s %s %.80s\n got %d %s %s\nwant %d %s …%s…", s.method, s.path, s.body, status, code, body, s.status, s.code, s.want)
		}
	}
}

func TestTestAuthorization(t *testing.T) {
	srv, reg, _ := newServer(t, t.TempDir())
	cert, _, err := reg.CreateKeysAndCertificate(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{
		"pub":  `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}/*"}}`,
		"deny": `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Publish","Resource":"*/secret"}}`,
		"more": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`,
	} {
		if _, err := reg.CreatePolicy(name, doc, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pub", "deny"} {
		if err := reg.AttachPolicy(name, cert.ID); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(extra, kind string, topics ...string) string {
		t.Helper()
		for i, topic := range topics {
			topics[i] = `"` + reg.ARN(topic) + `"`
		}
		body := fmt.Sprintf(`{"principal":%q,"authInfos":[{"actionType":%q,"resources":[%s]}]%s}`, reg.ARN("cert/"+cert.ID), kind, strings.Join(topics, ","), extra)
		status, _, answer := do(t, srv, "POST", "/test-authorization?clientId=c1", body)
		var out struct {
			AuthResults []struct {
				AuthDecision string
				Allowed      struct{ Policies []policyName }
				Denied       struct {
					ExplicitDeny struct{ Policies []policyName }
				}
			}
		}
		if err := json.Unmarshal([]byte(answer), &out); err != nil || status != 200 {
			return fmt.Sprint(status, answer)
		}
		r := out.AuthResults[0]
		text := r.AuthDecision
		for _, p := range append(r.Allowed.Policies, r.Denied.ExplicitDeny.Policies...) {
			text += " " + p.Name
		}
		return text
	}
	for _, c := range []struct{ got, want string }{
		{ask("", "PUBLISH", "topic/c1/a"), "ALLOWED pub"},
		{ask("", "PUBLISH", "topic/c1/a", "topic/c2/a"), "IMPLICIT_DENY pub"},
		{ask("", "PUBLISH", "topic/c1/secret"), "EXPLICIT_DENY deny"},
		{ask(`,"policyNamesToSkip":["deny"]`, "PUBLISH", "topic/c1/secret"), "ALLOWED pub"},
		{ask("", "CONNECT", "client/c1"), "IMPLICIT_DENY"},
		{ask(`,"policyNamesToAdd":["more"]`, "CONNECT", "client/c1"), "ALLOWED more"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if got := ask("", "FLY", "topic/a"); !strings.HasPrefix(got, "400") {
		t.Errorf("got %s", got)
	}
	if got := ask(`,"policyNamesToAdd":["none"]`, "CONNECT", "client/a"); !strings.HasPrefix(got, "404") {
		t.Errorf("got %s", got)
	}
}

func TestFullDiskIsUnavailable(t *testing.T) {
	srv, _, f := newServer(t, t.TempDir())
	f.full = true
	status, code, body := do(t, srv, "POST", "/rules/r", `{"sql":"SELECT 1","actions":[{}]}`)
	if status != 503 || code != "ServiceUnavailableException" || !strings.Contains(body, "disk is full") {
		t.Errorf("%d %s %s", status, code, body)
	}
}

func TestRefuse(t *testing.T) {
	w := httptest.NewRecorder()
	(&Handler{}).Refuse(w, httptest.NewRequest("GET", "/things", nil), &sigv4.Error{Code: sigv4.CodeUnknownKey, Message: "The security token included in the request is invalid."})
	if w.Code != 403 || w.Header().Get("x-amzn-ErrorType") != "UnrecognizedClientException" || !strings.Contains(w.Body.String(), `{"message":"The security token`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// FuzzRequest checks that no request makes the handler panic or answer
// something else than JSON.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/things/a%3Ab", `{"attributePayload":{"attributes":{"a":"b"},"merge":true}}`)
	f.Add("PATCH", "/things/t", `{"attributePayload":null,"expectedVersion":1}`)
	f.Add("POST", "/policies/p", `{"policyDocument":"`+allowAll+`"}`)
	f.Add("POST", "/rules/r", `{"sql":"SELECT 1","actions":[{}],"errorAction":{}}`)
	f.Add("POST", "/test-authorization?clientId=c", `{"authInfos":[{"actionType":"PUBLISH","resources":["x"]}]}`)
	f.Add("GET", "/certificates?pageSize=3&marker=AAAA&isAscendingOrder=true", "")
	f.Add("POST", "/untag", `{"resourceArn":"arn:aws:iot:us-east-1:000000000001:policy/p","tagKeys":["a"]}`)
	reg, _ := openRegistry(f, f.TempDir())
	h := New(reg, &fakeRules{rules: map[string]rules.Rule{}}, Options{Endpoint: "mote.example"})
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if strings.HasPrefix(path, "/keys-and") { // slow by nature
			return
		}
		req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if !json.Valid(w.Body.Bytes()) || w.Code == 500 {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
	})
}
