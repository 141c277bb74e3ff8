package rest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/sigv4"
)

func TestSignedRoutes(t *testing.T) {
	w := newWorld(t)
	req := w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), seedBody, "execute-api", w.now)
	if a := w.do(t, req); a.status != 200 || w.messages[0].Principal != accessKey {
		t.Fatalf("%+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/both", seedBody, "x-api-key", keyValue), seedBody, "execute-api", w.now)
	if a := w.do(t, req); a.status != 200 {
		t.Errorf("both: %+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), "another body", "execute-api", w.now)
	if a := w.do(t, req); a.status != 403 || a.errorType != "InvalidSignatureException" || !strings.HasPrefix(a.body,
		`{"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'POST\n/prod/iam\n\n`) {
		t.Errorf("wrong signature: %+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), seedBody, "execute-api", w.now.Add(-6*time.Minute))
	if a := w.do(t, req); a.status != 403 || !strings.Contains(a.body, "Signature expired: ") || !strings.Contains(a.body, " - 5 min.)") {
		t.Errorf("expired: %+v", a)
	}
}

// TestTemporaryKeys: the role of a temporary key is asked about the very resource,
// in which an escaped slash does not part two segments.
func TestTemporaryKeys(t *testing.T) {
	w := newWorld(t)
	w.route(t, w.api.ID, "/{any}", Method{HTTPMethod: "POST", AuthorizationType: AuthIAM}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	var asked []string
	w.e.o.Sessions = func(id, token string) (*sigv4.Session, *sigv4.Error) {
		return &sigv4.Session{Secret: secret, Principal: "me", May: func(action, resource, _ string) error {
			asked = append(asked, action+" "+resource)
			return errors.New("no")
		}}, nil
	}
	for _, path := range []string{"/prod/iam", "/prod/open%2Fx"} {
		req := w.request(t, "POST", path, seedBody)
		ok(t, sigv4.Sign(t.Context(), req, []byte(seedBody), aws.Credentials{AccessKeyID: "ASIAX", SecretAccessKey: secret, SessionToken: "t"}, "execute-api", "ap-northeast-2", w.now))
		if a := w.do(t, req); a.status != 403 || a.errorType != sigv4.CodeDenied {
			t.Errorf("%s: %+v", path, a)
		}
	}
	at := "execute-api:Invoke " + w.api.ID + "/prod/POST/"
	if want := []string{at + "iam", at + "open%2Fx"}; !slices.Equal(asked, want) || len(w.messages) != 0 {
		t.Errorf("asked %q, published %v", asked, w.messages)
	}
}

// seedRequest builds the request of the seed's Python sender, which signs the
// wrong host, the path "/" and a list of headers that ends in a semicolon.
func (w *world) seedRequest(t testing.TB, path string) *http.Request {
	stamp := w.now.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/ap-northeast-2/execute-api/aws4_request"
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	canonical := "POST\n/\n\nhost:apigateway.amazonaws.com\nx-amz-date:" + stamp + "\n\nhost;x-amz-date;\n" + hash(seedBody)
	key := mac(mac(mac(mac([]byte("AWS4"+secret), stamp[:8]), "ap-northeast-2"), "execute-api"), "aws4_request")
	signature := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hash(canonical)))
	return w.request(t, "POST", path, seedBody, "Content-Type", "application/json", "X-Amz-Date", stamp, "X-Api-key", keyValue,
		"Authorization", "AWS4-HMAC-SHA256 Credential="+accessKey+"/"+scope+", SignedHeaders=host;x-amz-date;, Signature="+signature)
}

func TestSeedSigner(t *testing.T) {
	w := newWorld(t)
	if a := w.do(t, w.seedRequest(t, "/prod/dust")); a.status != 200 || len(w.messages) != 1 {
		t.Fatalf("on a route with API key: %+v", a)
	}
	if a := w.do(t, w.seedRequest(t, "/prod/both")); a.status != 403 || a.errorType != "InvalidSignatureException" {
		t.Fatalf("on a route with AWS_IAM: %+v", a)
	}
	recent, _ := w.refusals.Recent(1)
	for _, want := range []string{`signed the host "apigateway.amazonaws.com"`, `signed the path "/" but sent "/prod/both"`, "ends in a ';'"} {
		if !strings.Contains(recent[0].Reason, want) {
			t.Errorf("reason %q lacks %q", recent[0].Reason, want)
		}
	}
	if recent[0].Principal != accessKey {
		t.Errorf("principal %q", recent[0].Principal)
	}
}
