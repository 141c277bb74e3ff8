package test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// restConfig is what mote up makes, plus a route for each other mode.
func restConfig(t *testing.T) string {
	t.Helper()
	base, err := os.ReadFile("../cmd/mote/up.toml")
	if err != nil {
		t.Fatal(err)
	}
	more := `
[[route]]
path = "/prod/open"
auth = "none"

[[route]]
path = "/prod/signed"
auth = "iam"

[[route]]
path = "/prod/both"
auth = "iam+api-key"

[[route]]
path = "/prod/direct"
auth = "api-key"
table = "air"

[[rule]]
name = "store_others"
sql = "SELECT * FROM 'rest/prod/+'  WHERE topic(3) <> 'dust'"
table = "air"
`
	path := filepath.Join(t.TempDir(), "mote.toml")
	if err := os.WriteFile(path, append(base, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// curl posts body and returns "STATUS BODY".
func (h *host) curl(path, body string, headers ...string) string {
	h.t.Helper()
	args := []string{"-s", "-w", "\n%{http_code}", "-H", "Content-Type: application/json", "-d", body, h.ep.HTTP + path}
	for _, header := range headers {
		args = append(args, "-H", header)
	}
	out := h.mustRun(tool(h.t, "curl"), args...)
	i := strings.LastIndexByte(out, '\n')
	return out[i+1:] + " " + out[:i]
}

const seedReading = `{"time":"2026-11-22T10:15:30.123Z","id":"9","dust":"35.2","temp":"21.5","humid":"40"}`

func TestRESTRoutes(t *testing.T) {
	h := startHost(t, t.TempDir(), "up", "--config", restConfig(t))
	key := "x-api-key: " + apiKey(t, h)

	if got := h.curl("/prod/dust", seedReading, key); !strings.HasPrefix(got, "200 ") {
		t.Fatalf("with the key: %s", got)
	}
	item := h.item("9", "2026-11-22T10:15:30.123Z")
	if text(item["dust"]) != "35.2" || text(item["humid"]) != "40" {
		t.Errorf("item: %v", item)
	}
	for name, c := range map[string]struct{ got, want string }{
		"no key":               {h.curl("/prod/dust", seedReading), `403 {"message":"Forbidden"}`},
		"wrong key":            {h.curl("/prod/dust", seedReading, "x-api-key: wrongwrongwrongwrongwrong"), `403 {"message":"Forbidden"}`},
		"unknown route":        {h.curl("/prod/nosuch", seedReading, key), `403 {"message":"Missing Authentication Token"}`},
		"iam, unsigned":        {h.curl("/prod/signed", seedReading), `403 {"message":"Missing Authentication Token"}`},
		"no rule can store it": {h.curl("/prod/dust", `{"id":"9","time":5}`, key), "400 "},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%s: got %s, want %s", name, c.got, c.want)
		}
	}
	if got := h.curl("/prod/open", strings.Replace(seedReading, `"9"`, `"10"`, 1)); !strings.HasPrefix(got, "200 ") || h.item("10", "2026-11-22T10:15:30.123Z") == nil {
		t.Errorf("mode none: %s", got)
	}
	if got := h.curl("/prod/direct", strings.Replace(seedReading, `"9"`, `"12"`, 1), key); !strings.HasPrefix(got, "200 ") || h.item("12", "2026-11-22T10:15:30.123Z") == nil {
		t.Errorf("straight into the table: %s", got)
	}
}

// signed posts a reading with Signature V4, made with secretSuffix appended to
// the secret, and returns "STATUS BODY".
func (h *host) signed(path, id, secretSuffix string, headers ...string) string {
	h.t.Helper()
	body := strings.Replace(seedReading, `"9"`, `"`+id+`"`, 1)
	req, err := http.NewRequest(http.MethodPost, h.ep.HTTP+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	creds, err := h.aws().Credentials.Retrieve(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	creds.SecretAccessKey += secretSuffix
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), "execute-api", h.ep.Region, time.Now()); err != nil {
		h.t.Fatal(err)
	}
	return do(h.t, req)
}

func TestSignedRoutes(t *testing.T) {
	h := startHost(t, t.TempDir(), "up", "--config", restConfig(t))
	key := "x-api-key: " + apiKey(t, h)
	if got := h.signed("/prod/signed", "21", ""); !strings.HasPrefix(got, "200 ") || h.item("21", "2026-11-22T10:15:30.123Z") == nil {
		t.Errorf("iam: %s", got)
	}
	if got := h.signed("/prod/signed", "22", "x"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "The request signature we calculated does not match the signature you provided.") {
		t.Errorf("wrong signature: %s", got)
	}
	if got := h.signed("/prod/both", "23", ""); got != `403 {"message":"Forbidden"}` {
		t.Errorf("iam+api-key without the key: %s", got)
	}
	if got := h.signed("/prod/both", "23", "", key); !strings.HasPrefix(got, "200 ") || h.item("23", "2026-11-22T10:15:30.123Z") == nil {
		t.Errorf("iam+api-key: %s", got)
	}
}

// seedClient signs as the seed's Raspberry Pi script does: another host, the
// path /, a trailing ; and no empty line in the canonical request.
const seedClient = `
import sys, datetime, hashlib, hmac, json, urllib.request, urllib.error
url, api_key, access, secret, region = sys.argv[1:6]
def sign(k, m): return hmac.new(k, m.encode(), hashlib.sha256).digest()
now = datetime.datetime.utcnow()
amz, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
body = json.dumps({"time": "2026-11-22T10:15:31.000Z", "id": "31", "dust": "35.2", "temp": "21.5", "humid": "40"})
host = "apigateway.amazonaws.com"
canonical = "POST\n/\n\nhost:" + host + "\nx-amz-date:" + amz + "\nhost;x-amz-date;\n" + hashlib.sha256(body.encode()).hexdigest()
scope = day + "/" + region + "/execute-api/aws4_request"
to_sign = "AWS4-HMAC-SHA256\n" + amz + "\n" + scope + "\n" + hashlib.sha256(canonical.encode()).hexdigest()
k = sign(sign(sign(sign(("AWS4" + secret).encode(), day), region), "execute-api"), "aws4_request")
sig = hmac.new(k, to_sign.encode(), hashlib.sha256).hexdigest()
req = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json", "x-amz-date": amz, "x-api-key": api_key,
  "Authorization": "AWS4-HMAC-SHA256 Credential=" + access + "/" + scope + ", SignedHeaders=host;x-amz-date;, Signature=" + sig})
try:
    print(urllib.request.urlopen(req).status)
except urllib.error.HTTPError as e:
    print(e.code, e.read().decode())
`

func TestTheSeedsClient(t *testing.T) {
	h := startHost(t, t.TempDir(), "up", "--config", restConfig(t))
	creds, err := h.aws().Credentials.Retrieve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	post := func(path string) string {
		t.Helper()
		out, err := exec.Command("/usr/bin/python3", "-W", "ignore", "-c", seedClient, h.ep.HTTP+path, apiKey(t, h), creds.AccessKeyID, creds.SecretAccessKey, h.ep.Region).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := post("/prod/dust"); got != "200" || h.item("31", "2026-11-22T10:15:31.000Z") == nil {
		t.Errorf("route of mode api-key: %s", got)
	}
	if got := post("/prod/signed"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("route of mode iam: %s", got)
	}
	h.waitForLog("refused", "POST /prod/signed", "SignedHeaders")
	if strings.Contains(h.out.String(), creds.SecretAccessKey) || strings.Contains(h.out.String(), apiKey(t, h)) {
		t.Error("a key is in the log")
	}
}
