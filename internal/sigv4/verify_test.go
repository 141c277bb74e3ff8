package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	exampleID     = "AKIDEXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var exampleTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

func exampleKeys(id string) (string, bool) {
	if id == exampleID {
		return exampleSecret, true
	}
	return "", false
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// parse reads a request as Go's server does.
func parse(t testing.TB, raw string) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(raw, "\n\n")
	head = strings.ReplaceAll(head, "\n", "\r\n")
	if body != "" {
		head += fmt.Sprintf("\r\nContent-Length: %d", len(body))
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n" + body)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, data
}

const suiteAuth = "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "

// The vectors of the published AWS suite, and some of the same credentials.
var vectors = []struct{ name, request string }{
	{"get-vanilla", "GET / HTTP/1.1\nHost: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\n" +
		suiteAuth + "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"post-vanilla", "POST / HTTP/1.1\nHost: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\n" +
		suiteAuth + "SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"get-vanilla-query-order-key-case", "GET /?Param2=value2&Param1=value1 HTTP/1.1\nHost: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\n" +
		suiteAuth + "SignedHeaders=host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"post-header-value-case", "POST / HTTP/1.1\nHost: example.amazonaws.com\nMy-Header1: VALUE1\nX-Amz-Date: 20150830T123600Z\n" +
		suiteAuth + "SignedHeaders=host;my-header1;x-amz-date, Signature=cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{"post-x-www-form-urlencoded", "POST / HTTP/1.1\nHost: example.amazonaws.com\nContent-Type: application/x-www-form-urlencoded\nX-Amz-Date: 20150830T123600Z\n" +
		suiteAuth + "SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a\n\nParam1=value1"},
	{"execute-api with a body", "POST /prod/dust HTTP/1.1\nHost: abc123.execute-api.ap-northeast-2.amazonaws.com\nContent-Type: application/json\nX-Amz-Date: 20150830T123600Z\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/ap-northeast-2/execute-api/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=1157d42f0bd79e013f67aaa498b15582d96b60be663e9fcaad29d4e49f75ca78\n\n" + `{"id":"1"}`},
	{"presigned WebSocket", "GET /mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fiotdevicegateway%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=636ffaf9f0efb190da315c2c8380b455b8fb6b59817263ac8bcc0a8dded10604 HTTP/1.1\nHost: a1b2c3-ats.iot.us-east-1.amazonaws.com"},
	{"presigned WebSocket, token added after signing", "GET /mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fiotdevicegateway%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=636ffaf9f0efb190da315c2c8380b455b8fb6b59817263ac8bcc0a8dded10604&X-Amz-Security-Token=abc%2Bd HTTP/1.1\nHost: a1b2c3-ats.iot.us-east-1.amazonaws.com"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			r, body := parse(t, v.request)
			id, e := Verify(r, body, exampleKeys, Options{Now: at(exampleTime)})
			if e != nil {
				t.Fatalf("refused: %v (%s)", e, e.Diagnosis)
			}
			if id.AccessKeyID != exampleID || !id.Time.Equal(exampleTime) || id.Presigned != strings.HasPrefix(v.name, "presigned") {
				t.Errorf("identity %+v", id)
			}
			for _, changed := range []func(){
				func() { r.Method = "PATCH" },
				func() { r.Host = "other.example" },
				func() { body = append([]byte("x"), body...) },
				func() { r.URL.Path, r.URL.RawPath = "/other", "" },
			} {
				changed()
				if _, e := Verify(r, body, exampleKeys, Options{Now: at(exampleTime)}); e == nil || e.Code != CodeInvalid {
					t.Errorf("a changed request is accepted: %v", e)
				}
				r, body = parse(t, v.request)
			}
		})
	}
}

func TestCanonicalHash(t *testing.T) {
	r, body := parse(t, vectors[5].request)
	c, e := readClaim(r)
	if e != nil {
		t.Fatal(e)
	}
	form := canonical{r.Method, "/prod/dust", "", headerLines(r, c.names, r.Host), strings.Join(c.names, ";"), hashHex(body), false}
	if got := hashHex([]byte(form.String())); got != "f058fdbd6f72bbd3c7f5243a26d9e26237d0402898d90456a41c8510807fea7a" {
		t.Errorf("canonical hash %s of\n%s", got, form.String())
	}
}

// TestRefusals holds the order and the texts of AWS's refusals.
func TestRefusals(t *testing.T) {
	const get, date, sig = "GET / HTTP/1.1\nHost: h\n", "X-Amz-Date: 20150830T123600Z\n", "Signature=00"
	const cred = "Credential=AKIDEXAMPLE/20150830/us-east-1/dynamodb/aws4_request"
	const alg = "Authorization: AWS4-HMAC-SHA256 "
	for _, c := range []struct {
		name, request, code, message, diagnosis string
	}{
		{"both", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256 HTTP/1.1\nHost: h\n" + alg + "x", CodeInvalid, "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.", "signed twice"},
		{"none", get, CodeMissingToken, "Request is missing Authentication Token", "not signed"},
		{"algorithm", get + "Authorization: Basic eDp5", CodeIncomplete, "Unsupported AWS 'algorithm': 'Basic' (only AWS4-HMAC-SHA256 for now). ", "Basic"},
		{"query algorithm", "GET /?X-Amz-Algorithm=AWS3 HTTP/1.1\nHost: h", CodeIncomplete, "Unsupported AWS 'algorithm': 'AWS3' (only AWS4-HMAC-SHA256 for now). ", "AWS3"},
		{"no equal sign", get + date + alg + "hello", CodeIncomplete, "'hello' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 hello'.", "of 5 bytes"},
		{"all missing", get + alg + "a=b", CodeIncomplete, "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. " +
			"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 a=b", "incomplete"},
		{"query missing", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=x HTTP/1.1\nHost: h", CodeIncomplete,
			"AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters.", "presigned URL is incomplete"},
		{"host unsigned", get + date + alg + cred + ", SignedHeaders=x-amz-date, " + sig, CodeIncomplete, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.", "lack host"},
		{"date", get + "X-Amz-Date: yesterday\n" + alg + cred + ", SignedHeaders=host, " + sig, CodeIncomplete, "Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601", "yesterday"},
		{"expired", get + "X-Amz-Date: 20150830T122059Z\n" + alg + cred + ", SignedHeaders=host, " + sig, CodeInvalid, "Signature expired: 20150830T122059Z is now earlier than 20150830T122100Z (20150830T123600Z - 15 min.)", "15m1s behind"},
		{"future", get + "X-Amz-Date: 20150830T125101Z\n" + alg + cred + ", SignedHeaders=host, " + sig, CodeInvalid, "Signature not yet current: 20150830T125101Z is still later than 20150830T125100Z (20150830T123600Z + 15 min.)", "15m1s ahead of"},
		{"credential", get + date + alg + "Credential=a/b, SignedHeaders=host, " + sig, CodeIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b'", "has 2 parts"},
		{"scope", get + date + alg + "Credential=AKIDEXAMPLE/20150829/mars/iot/aws5, SignedHeaders=host, " + sig, CodeInvalid,
			"Credential should be scoped to a valid region, not 'mars'. Credential should be scoped to correct service: 'dynamodb'. Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'. " +
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150829' != '20150830', from '20150830T123600Z'.", `service "iot"`},
		{"unknown key", get + date + alg + "Credential=AKIDOTHER/20150830/us-east-1/dynamodb/aws4_request, SignedHeaders=host, " + sig, CodeUnknownKey, "The security token included in the request is invalid.", `"AKIDOTHER" is not known`},
		{"signature", get + date + alg + cred + ", SignedHeaders=host, " + sig, CodeInvalid,
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n" +
				"The Canonical String for this request should have been\n'GET\n/\n\nhost:h\n\nhost\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n\n" +
				"The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/dynamodb/aws4_request\n", "64 hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, body := parse(t, strings.TrimSuffix(c.request, "\n"))
			_, e := Verify(r, body, exampleKeys, Options{Services: []string{"dynamodb"}, Regions: []string{"us-east-1"}, Now: at(exampleTime)})
			if e == nil {
				t.Fatal("accepted")
			}
			if e.Code != c.code || !strings.HasPrefix(e.Message, c.message) || c.name != "signature" && e.Message != c.message {
				t.Errorf("got  %s %q\nwant %s %q", e.Code, e.Message, c.code, c.message)
			}
			if !strings.Contains(e.Diagnosis, c.diagnosis) {
				t.Errorf("diagnosis %q lacks %q", e.Diagnosis, c.diagnosis)
			}
		})
	}
}

func TestSkewOfExecuteAPI(t *testing.T) {
	r, _ := parse(t, vectors[0].request)
	o := Options{MaxSkew: ExecuteAPIMaxSkew, Now: at(exampleTime.Add(5*time.Minute + time.Second))}
	_, e := Verify(r, nil, exampleKeys, o)
	if e == nil || e.Message != "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)" {
		t.Errorf("got %v", e)
	}
	o.Now = at(exampleTime.Add(5 * time.Minute))
	if _, e := Verify(r, nil, exampleKeys, o); e != nil {
		t.Errorf("at the limit: %v", e)
	}
}

func TestPresignedLifetime(t *testing.T) {
	r, _ := parse(t, vectors[6].request)
	if _, e := Verify(r, nil, exampleKeys, Options{Now: at(exampleTime.Add(24 * time.Hour))}); e != nil {
		t.Errorf("within its lifetime: %v", e)
	}
	_, e := Verify(r, nil, exampleKeys, Options{Now: at(exampleTime.Add(24*time.Hour + time.Second))})
	if e == nil || e.Message != "Signature expired: 20150831T123600Z is now earlier than 20150831T123601Z" {
		t.Errorf("after its lifetime: %v", e)
	}
	for _, bad := range []string{"0", "-1", "604801", "x", "99999999999999999999"} {
		raw := strings.Replace(vectors[6].request, "Expires=86400", "Expires="+bad, 1)
		r, _ := parse(t, raw)
		if _, e := Verify(r, nil, exampleKeys, Options{Now: at(exampleTime)}); e == nil || !strings.Contains(e.Message, "X-Amz-Expires") {
			t.Errorf("X-Amz-Expires %s: %v", bad, e)
		}
	}
}

// overTheWire sends a signed request through Go's client and server and
// returns what the server saw.
func overTheWire(t *testing.T, send func(base string) *http.Request) (*http.Request, []byte) {
	t.Helper()
	var seen *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		seen = r
	}))
	defer s.Close()
	resp, err := http.DefaultTransport.RoundTrip(send(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return seen, body
}

// TestRoundTripsWithSDK signs random requests with the AWS SDK's signer, in
// both forms, and verifies what arrives.
func TestRoundTripsWithSDK(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	creds := aws.Credentials{AccessKeyID: exampleID, SecretAccessKey: exampleSecret}
	for i := range 150 {
		presign := i%3 == 0
		now := time.Now().Truncate(time.Second)
		if i%5 == 0 {
			creds.SessionToken = "token/+=" // not interpreted, but signed
		} else {
			creds.SessionToken = ""
		}
		var sent string
		r, body := overTheWire(t, func(base string) *http.Request {
			body := randomText(rnd, 40)
			if i%4 == 0 {
				body = ""
			}
			req, err := http.NewRequest([]string{"GET", "POST", "PUT", "DELETE"}[rnd.IntN(4)], base+randomPath(rnd)+randomQuery(rnd), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for range rnd.IntN(4) {
				req.Header.Add(fmt.Sprintf("X-Custom-%d", rnd.IntN(3)), "  "+randomHeader(rnd)+" ")
			}
			sent = req.Method + " " + req.URL.String()
			if !presign {
				if err := Sign(t.Context(), req, []byte(body), creds, "iot", "eu-west-1", now); err != nil {
					t.Fatal(err)
				}
				return req
			}
			signed, header, err := Presign(context.Background(), req, []byte(body), creds, "iot", "eu-west-1", now)
			if err != nil {
				t.Fatal(err)
			}
			req.URL, _ = url.Parse(signed)
			header.Del("Host")
			for k, v := range header {
				req.Header[k] = v
			}
			return req
		})
		id, e := Verify(r, body, exampleKeys, Options{Services: []string{"iot"}})
		if e != nil {
			t.Fatalf("%d %s: %v\n%s", i, sent, e, e.Diagnosis)
		}
		if id.Presigned != presign || id.Region != "eu-west-1" {
			t.Errorf("identity %+v", id)
		}
		if _, e := Verify(r, append(body, 'x'), exampleKeys, Options{}); e == nil {
			t.Errorf("%s: another body is accepted", sent)
		}
	}
}

func randomText(rnd *rand.Rand, n int) string {
	b := make([]byte, rnd.IntN(n)+1)
	for i := range b {
		b[i] = byte(rnd.IntN(256))
	}
	return string(b)
}

func randomPath(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.IntN(4) {
		b.WriteString("/" + url.PathEscape(randomText(rnd, 8)))
	}
	if rnd.IntN(4) == 0 {
		b.WriteString("//a/./b")
	}
	return b.String() + "/"
}

func randomQuery(rnd *rand.Rand) string {
	q := url.Values{}
	for range rnd.IntN(4) {
		q.Add(randomText(rnd, 3), randomText(rnd, 6))
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func randomHeader(rnd *rand.Rand) string {
	const letters = "ab   c,;=/ü"
	r := []rune(letters)
	var b strings.Builder
	for range rnd.IntN(12) + 1 {
		b.WriteRune(r[rnd.IntN(len(r))])
	}
	return b.String()
}

// signAs signs r by hand as a form of the canonical request that a client may
// use, and sets its Authorization header.
func signAs(r *http.Request, form canonical, signedHeaders, service string) {
	now := time.Now().UTC()
	s := scope{exampleID, now.Format("20060102"), "us-east-1", service, terminator}
	r.Header.Set("X-Amz-Date", stamp(now))
	form.headers = strings.ReplaceAll(form.headers, "DATE", stamp(now))
	key := signingKey(exampleSecret, s.day, s.region, s.service)
	sig := fmt.Sprintf("%x", mac(key, stringToSign(stamp(now), s.String(), form.String())))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.keyID+"/"+s.String()+", SignedHeaders="+signedHeaders+", Signature="+sig)
}

func TestLenientForms(t *testing.T) {
	const headers, signed = "host:h\nx-amz-date:DATE\n", "host;x-amz-date"
	for _, c := range []struct {
		target, path, query string
		ok                  bool
	}{
		{"/things/a%3Ab", "/things/a%253Ab", "", true},
		{"/things/a%3Ab", "/things/a%3Ab", "", true},
		{"/things/a%3Ab", "/things/a:b", "", false},
		{"/a//b/../c", "/a/c", "", true},
		{"/a//b/../c", "/a//b/../c", "", true},
		{"/x?a=1+2", "/x", "a=1%202", true},
		{"/x?a=1+2", "/x", "a=1%2B2", true},
		{"/x?b=%2f&a=1+2", "/x", "a=1+2&b=%2f", true},
		{"/x?b&a=2&a=1", "/x", "a=1&a=2&b=", true},
		{"/x?b&a=2&a=1", "/x", "b=&a=2&a=1", false},
		{"/x?a=%2f", "/x", "a=%2F", true},
	} {
		r := httptest.NewRequest("GET", c.target, nil)
		r.Host = "h"
		signAs(r, canonical{"GET", c.path, c.query, headers, signed, hashHex(nil), false}, signed, "iot")
		if _, e := Verify(r, nil, exampleKeys, Options{}); (e == nil) != c.ok {
			t.Errorf("%s signed as %s ? %s: %v", c.target, c.path, c.query, e)
		}
	}
}

func TestDiagnosis(t *testing.T) {
	body := []byte(`{"id":"1"}`)
	const headers, signed = "host:h\nx-amz-date:DATE\n", "host;x-amz-date"
	right := canonical{"POST", "/prod/dust", "a=1", headers, signed, hashHex(body), false}
	for _, c := range []struct {
		name, list string
		change     func(*canonical)
		want       []string
		not        string
	}{
		{"the seed's signer", "host;x-amz-date;", func(f *canonical) {
			f.path, f.query, f.headers, f.signed = "/", "", strings.Replace(headers, "host:h", "host:apigateway.amazonaws.com", 1), "host;x-amz-date;"
		}, []string{`signed the host "apigateway.amazonaws.com" but sent "h"`, `signed the path "/" but sent "/prod/dust"`, `"host;x-amz-date;" ends in a ';'`, "empty query"}, "secret"},
		{"blank line", signed, func(f *canonical) { f.noBlankLine = true }, []string{"lacks the empty line"}, "host"},
		{"empty body", signed, func(f *canonical) { f.payload = hashHex(nil) }, []string{"signed an empty body"}, "host"},
		{"unsigned payload", signed, func(f *canonical) { f.payload = "UNSIGNED-PAYLOAD" }, []string{"UNSIGNED-PAYLOAD"}, "host"},
		{"without stage", signed, func(f *canonical) { f.path = "/dust" }, []string{`signed the path "/dust"`}, "the host"},
		{"order", "x-amz-date;host", func(f *canonical) { f.signed = "x-amz-date;host" }, []string{"not a sorted list"}, "the host"},
		{"upper case", "Host;X-Amz-Date", func(f *canonical) { f.signed = "Host;X-Amz-Date" }, []string{"not lower case"}, "the host"},
		{"other secret", signed, func(f *canonical) { f.method = "X" }, []string{"another secret"}, "the host"},
		{"missing header", "host;x-amz-date;x-gone", func(f *canonical) { f.headers += "x-gone:1\n"; f.signed += ";x-gone" }, []string{`signed header "x-gone" is not in the request`}, "the host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/prod/dust?a=1", bytes.NewReader(body))
			r.Host = "h"
			form := right
			c.change(&form)
			signAs(r, form, c.list, "execute-api")
			_, e := Verify(r, body, exampleKeys, Options{})
			if e == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(e.Diagnosis, w) {
					t.Errorf("diagnosis %q lacks %q", e.Diagnosis, w)
				}
			}
			if strings.Contains(e.Diagnosis, c.not) || strings.Contains(e.Diagnosis, exampleSecret) {
				t.Errorf("diagnosis %q says too much", e.Diagnosis)
			}
		})
	}
}

func TestClaimed(t *testing.T) {
	for _, v := range vectors {
		r, _ := parse(t, v.request)
		id, service := Claimed(r)
		if id != exampleID || service == "" || !strings.Contains(v.request, service) {
			t.Errorf("%s: %q %q", v.name, id, service)
		}
	}
	for _, auth := range []string{"", "Basic eDp5", "AWS4-HMAC-SHA256 Credential=a/b", "Credential=,,"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", auth)
		if id, service := Claimed(r); id != "" || service != "" {
			t.Errorf("%q: %q %q", auth, id, service)
		}
	}
}

// TestSecretsInTheWrongPlace: people swap key id and secret, and send tokens
// bare; the client may read them back, the log must not have them.
func TestSecretsInTheWrongPlace(t *testing.T) {
	const token = "wJalrXUtnFEMI-K7MDENG+bPxRfiCYEXAMPLEKEY"
	now := "\nX-Amz-Date: 20150830T123600Z\nAuthorization: "
	for _, auth := range []string{token, "Token " + token, "AWS4-HMAC-SHA256 " + token, "AWS4-HMAC-SHA256 Credential=" + token + ", SignedHeaders=host, Signature=00",
		"AWS4-HMAC-SHA256 Credential=" + token + "/20150830/us-east-1/iot/aws4_request, SignedHeaders=host, Signature=00"} {
		r, body := parse(t, "GET / HTTP/1.1\nHost: h"+now+auth)
		_, e := Verify(r, body, exampleKeys, Options{Now: at(exampleTime)})
		id, _ := Claimed(r)
		if e == nil || strings.Contains(e.Diagnosis+id, token[:8]) {
			t.Errorf("%s: for the log %q %+v", auth, id, e)
		}
	}
}

// FuzzVerify: nothing that a stranger sends may panic or be accepted without
// the secret.
func FuzzVerify(f *testing.F) {
	for _, v := range vectors {
		r, body := parse(f, v.request)
		f.Add(r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date"), body)
	}
	f.Add("GET", "/a//%2e%2f..", "a=%zz&&=+&X-Amz-Algorithm=AWS4-HMAC-SHA256", "", "AWS4-HMAC-SHA256 ,=;", "Mon, 02 Jan 2006 15:04:05 GMT", []byte{0})
	f.Fuzz(func(t *testing.T, method, path, query, host, auth, date string, body []byte) {
		r := &http.Request{Method: method, Host: host, ContentLength: int64(len(body)), Header: http.Header{},
			URL: &url.URL{Path: path, RawPath: path, RawQuery: query}}
		for name, value := range map[string]string{"Authorization": auth, "X-Amz-Date": date} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		o := Options{Now: at(exampleTime)}
		other := func(id string) (string, bool) { return "another secret", true }
		Claimed(r)
		if _, e := Verify(r, body, other, o); e == nil {
			t.Error("accepted without the secret")
		} else if e.Code == "" || e.Message == "" || e.Diagnosis == "" {
			t.Errorf("incomplete refusal %+v", e)
		}
		_, _ = Verify(r, body, exampleKeys, o)
	})
}

func BenchmarkVerify(b *testing.B) {
	r, body := parse(b, vectors[5].request)
	for b.Loop() {
		if _, e := Verify(r, body, exampleKeys, Options{Now: at(exampleTime)}); e != nil {
			b.Fatal(e)
		}
	}
}
