package eval

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mote/internal/iotsql"
)

// A case is one run of a file in testdata; testdata/README says how they read.
type testCase struct {
	where    string // file:line
	sql      string
	version  iotsql.Version
	msg      Message
	expect   string // "json …", "none", "nothing", "base64 …", "error …"
	template bool   // sql is a template and the result its text
}

// cases reads all files of testdata.
func cases(t testing.TB) []testCase {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	var out []testCase
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cs, err := parseCases(filepath.Base(f), string(data))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cs...)
	}
	return out
}

func freshCase() testCase {
	return testCase{version: iotsql.V2016, msg: Message{
		Topic: "a/b", ClientID: "dev1", Principal: "cert1", SourceIP: "192.0.2.1", Account: "000000000001",
		Payload: []byte("{}"), Time: time.UnixMilli(1566553626391).UTC(),
	}}
}

func parseCases(name, data string) ([]testCase, error) {
	var out []testCase
	cur := freshCase()
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			if line == "" {
				cur = freshCase()
			}
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		cur.where = fmt.Sprintf("%s:%d", name, n)
		done, err := cur.set(word, rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cur.where, err)
		}
		if done {
			out = append(out, cur)
		}
	}
	return out, nil
}

// set applies one line; it returns true for a line that says what to expect.
func (c *testCase) set(word, rest string) (done bool, err error) {
	switch word {
	case "sql", "template":
		c.sql, c.template = rest, word == "template"
	case "version":
		c.version, err = iotsql.ParseVersion(rest)
	case "topic":
		c.msg.Topic = rest
	case "client":
		c.msg.ClientID = rest
	case "principal":
		c.msg.Principal = rest
	case "payload":
		c.msg.Payload = []byte(rest)
	case "payload64":
		c.msg.Payload, err = base64.StdEncoding.DecodeString(rest)
	case "time":
		var ms int64
		ms, err = strconv.ParseInt(rest, 10, 64)
		c.msg.Time = time.UnixMilli(ms)
	case "x": // an expression, as the only item
		c.sql = "SELECT VALUE " + rest + " FROM 'a/b'"
		if strings.HasPrefix(rest, "-") {
			c.sql = "SELECT VALUE (" + rest + ") FROM 'a/b'"
		}
	case "json", "base64", "error", "text":
		c.expect = word + " " + rest
		return true, nil
	case "none", "nothing":
		c.expect = word
		return true, nil
	default:
		return false, fmt.Errorf("unknown word %q", word)
	}
	return false, err
}

func (c *testCase) run() string {
	if c.template {
		tpl, err := CompileTemplate(c.sql, c.version)
		if err != nil {
			return "error " + err.Error()
		}
		msg := c.msg
		return "text " + tpl.Text(&msg)
	}
	st, err := iotsql.Parse(c.sql)
	if err != nil {
		return "error " + err.Error()
	}
	p, err := Compile(st, c.version)
	if err != nil {
		return "error " + err.Error()
	}
	msg := c.msg
	r, fired := p.Run(&msg)
	if !fired {
		return "nothing"
	}
	if b, ok := r.Binary(); ok {
		return "base64 " + base64.StdEncoding.EncodeToString(b)
	}
	out, err := r.AppendPayload(nil)
	switch {
	case err != nil:
		return "error " + err.Error()
	case len(out) == 0:
		return "none"
	}
	return "json " + string(out)
}

func TestText(t *testing.T) {
	cs := cases(t)
	if len(cs) < 100 {
		t.Fatalf("only %d cases", len(cs))
	}
	for _, c := range cs {
		if got := c.run(); got != c.expect {
			t.Errorf("%s: %s\n payload %s\n got  %s\n want %s", c.where, c.sql, c.msg.Payload, got, c.expect)
		}
	}
}

func FuzzRun(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c.sql, c.msg.Topic, c.msg.Payload, c.version == iotsql.V2016)
	}
	f.Fuzz(func(t *testing.T, sql, topic string, payload []byte, new bool) {
		v := iotsql.V2015
		if new {
			v = iotsql.V2016
		}
		m := Message{Topic: topic, Payload: payload, ClientID: "c", Time: time.UnixMilli(1)}
		if tpl, err := CompileTemplate(sql, v); err == nil {
			if out := tpl.Text(&m); len(out) > maxText {
				t.Fatalf("a text of %d bytes", len(out))
			}
		}
		st, err := iotsql.Parse(sql)
		if err != nil {
			return
		}
		p, err := Compile(st, v)
		if err != nil {
			var e *iotsql.Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		r, fired := p.Run(&m)
		if !fired {
			return
		}
		out, err := r.AppendPayload(nil)
		if _, binary := r.Binary(); err == nil && !binary && len(out) > 0 {
			if _, err := readJSON(string(out)); err != nil && !tooDeep(string(out)) {
				t.Fatalf("the result is not JSON: %.200q", out)
			}
		}
	})
}

// tooDeep says whether nesting alone may be why a text is not read.
func tooDeep(s string) bool { return strings.Count(s, "{")+strings.Count(s, "[") > MaxDepth }
