package tabletest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"mote/internal/watch"
)

// scripts are the conformance suite of the DynamoDB API, as text: a case begins
// with "== NAME"; it is calls with what they answer.
//
//	PutItem {"TableName":"…", …}
//	=> {"Attributes":{…}}
//	GetItem {…}
//	!! ValidationException The text of the error
//
// The order of members and of the elements of sets means nothing, nor how JSON
// writes a number; the text "*" in an answer stands for any value. $T is a name of a table of the case's own.
//
//go:embed conformance/*.txt
var scripts embed.FS

// exchange is a call and its answer.
type exchange struct {
	where           string // file and line
	operation, body string
	want            string // JSON
	code, message   string // of the error in its place
}

type script struct {
	name string
	todo []exchange
}

// Server is a server of the DynamoDB API under test.
type Server struct {
	URL         string
	Credentials aws.Credentials
	// Except are the cases in which the server is known to be wrong, or lacks
	// what they need, with the reason.
	Except map[string]string
}

// Conform runs the suite against a server.
func Conform(t *testing.T, s Server) {
	names := map[string]bool{}
	for _, c := range loadScripts(t) {
		names[c.name] = true
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			if why := s.Except[c.name]; why != "" {
				t.Skip(why)
			}
			t.Parallel()
			s.run(t, c)
		})
	}
	t.Run("clients", func(t *testing.T) {
		t.Parallel()
		s.clients(t)
	})
	for name := range s.Except {
		if !names[name] {
			t.Errorf("there is an exception for %q, which is no case", name)
		}
	}
}

func loadScripts(t *testing.T) (out []script) {
	t.Helper()
	files, err := scripts.ReadDir("conformance")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := scripts.ReadFile("conformance/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		more, err := parseScripts(f.Name(), string(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, more...)
	}
	return out
}

func parseScripts(file, text string) (out []script, err error) {
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", file, i+1)
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || word[0] == '#':
			continue
		case word == "==":
			out = append(out, script{name: rest})
			continue
		case len(out) == 0:
			return nil, fmt.Errorf("%s: no case has begun", where)
		}
		if err := out[len(out)-1].add(where, word, rest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *script) add(where, word, rest string) error {
	last := len(c.todo) - 1
	open := last >= 0 && c.todo[last].want == "" && c.todo[last].code == ""
	switch {
	case word == "=>" && open:
		c.todo[last].want = rest
	case word == "!!" && open:
		c.todo[last].code, c.todo[last].message, _ = strings.Cut(rest, " ")
	case word == "=>", word == "!!", open:
		return fmt.Errorf("%s: an answer belongs to each call", where)
	default:
		c.todo = append(c.todo, exchange{where: where, operation: word, body: rest})
	}
	return nil
}

// tableOf is a name for the table of a case.
func tableOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "t-" + hex.EncodeToString(sum[:6])
}

func (s *Server) run(t *testing.T, c script) {
	name := tableOf(c.name)
	for _, x := range c.todo {
		status, got := s.call(t, x.operation, strings.ReplaceAll(x.body, "$T", name))
		if x.code != "" {
			s.checkError(t, x, status, got, name)
			continue
		}
		want := strings.ReplaceAll(x.want, "$T", name)
		if status != http.StatusOK || !sameJSON(t, x.where, want, got) {
			t.Fatalf("%s: %s answered %d %s\nwant %s", x.where, x.operation, status, got, want)
		}
		if x.operation == "CreateTable" {
			s.awaitTable(t, name)
		}
	}
}

// awaitTable waits until a table can be used.
func (s *Server) awaitTable(t *testing.T, name string) {
	t.Helper()
	watch.Until(t, "the table "+name+" is active", func() bool {
		_, got := s.call(t, "DescribeTable", `{"TableName":"`+name+`"}`)
		return strings.Contains(got, `"TableStatus":"ACTIVE"`)
	})
}

func (s *Server) checkError(t *testing.T, x exchange, status int, got, name string) {
	t.Helper()
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		t.Fatalf("%s: %s answered %d %s", x.where, x.operation, status, got)
	}
	_, code, _ := strings.Cut(e.Type, "#")
	if want := strings.ReplaceAll(x.message, "$T", name); status != http.StatusBadRequest || code != x.code || e.Message != want {
		t.Fatalf("%s: %s answered %d %s: %s\nwant 400 %s: %s", x.where, x.operation, status, code, e.Message, x.code, want)
	}
}

// call makes one signed call, and checks what every answer must have.
func (s *Server) call(t *testing.T, operation, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, s.Credentials, req, hex.EncodeToString(sum[:]), "dynamodb", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("X-Amz-Crc32"); got != strconv.FormatUint(uint64(crc32.ChecksumIEEE(answer)), 10) {
		t.Errorf("%s: x-amz-crc32 is %q, which is not the sum of %s", operation, got, answer)
	}
	return resp.StatusCode, string(answer)
}

// sameJSON says whether got is as wanted.
func sameJSON(t *testing.T, where, want, got string) bool {
	t.Helper()
	var a, b any
	if err := decodeNumbers(want, &a); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return decodeNumbers(got, &b) == nil && same("", a, b)
}

func decodeNumbers(text string, out any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	return d.Decode(out)
}

// same compares values of JSON below a member.
func same(member string, want, got any) bool {
	switch w := want.(type) {
	case string:
		return w == "*" || want == got
	case json.Number:
		g, ok := got.(json.Number)
		a, aerr := w.Float64()
		b, berr := g.Float64()
		return ok && aerr == nil && berr == nil && a == b
	case []any:
		g, ok := got.([]any)
		if !ok || len(w) != len(g) {
			return false
		}
		if member == "SS" || member == "NS" || member == "BS" {
			w, g = sorted(w), sorted(g)
		}
		for i := range w {
			if !same("", w[i], g[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for name := range w {
			if one, ok := g[name]; !ok || !same(name, w[name], one) {
				return false
			}
		}
		return true
	}
	return want == got
}

func sorted(set []any) []any {
	set = slices.Clone(set)
	slices.SortFunc(set, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return set
}
