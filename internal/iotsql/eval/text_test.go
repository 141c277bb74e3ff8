package eval

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	expect   string // "json …", "none", "nothing", "base64 …", "error …", "refused …"
	template string // runs instead of sql, and sees its variables
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
	case "sql":
		c.sql, c.template = rest, ""
	case "template":
		c.template = rest
	case "property":
		err = c.property(strings.Cut(rest, " "))
	case "user":
		name, value, _ := strings.Cut(rest, " ")
		c.msg.UserProperties = append(slices.Clip(c.msg.UserProperties), UserProperty{name, value})
	case "item", "shadow", "registry":
		at := strings.IndexByte(rest, '{')
		if at < 0 {
			return false, fmt.Errorf("%s: no JSON object", word)
		}
		c.answer(word+" "+strings.TrimSpace(rest[:at]), rest[at:])
	case "version":
		c.version, err = iotsql.ParseVersion(rest)
	case "topic":
		c.msg.Topic = rest
	case "client":
		c.msg.ClientID = rest
	case "account":
		c.msg.Account = rest
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
	case "x":
		c.expression(rest)
	case "v":
		at := strings.LastIndex(rest, " => ")
		if at < 0 {
			return false, errors.New("no => before the value")
		}
		c.expression(rest[:at])
		if c.expect = "json " + rest[at+4:]; c.expect == "json Undefined" {
			c.expect = "none"
		}
		return true, nil
	case "json", "base64", "error", "refused", "text":
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

// expression makes x the only thing that is selected.
func (c *testCase) expression(x string) {
	if strings.HasPrefix(x, "-") { // VALUE would be a name
		x = "(" + x + ")"
	}
	c.sql, c.template = "SELECT VALUE "+x+" FROM 'a/b'", ""
}

// property sets one MQTT 5 property, as get_mqtt_property writes it.
func (c *testCase) property(name, value string, _ bool) (err error) {
	switch name {
	case "content_type":
		c.msg.ContentType = value
	case "response_topic":
		c.msg.ResponseTopic = value
	case "correlation_data":
		c.msg.CorrelationData, err = base64.StdEncoding.DecodeString(value)
	case "format_indicator":
		c.msg.FormatIndicator = map[string]FormatIndicator{"UNSPECIFIED_BYTES": FormatBytes, "UTF8_DATA": FormatUTF8}[value]
	default:
		err = fmt.Errorf("unknown property %q", name)
	}
	return err
}

// answer adds what a service answers; other blocks keep theirs.
func (c *testCase) answer(question, json string) {
	fresh := answers{question: json}
	if old, ok := c.msg.Services.(answers); ok {
		maps.Copy(fresh, old)
	}
	c.msg.Services = fresh
}

// answers are services that know some answers: JSON texts by "item TABLE
// NAME=VALUE …", "shadow THING [NAME]" and "registry API THING".
type answers map[string]string

func (a answers) get(words ...string) ([]byte, bool) {
	json, ok := a[strings.TrimSpace(strings.Join(words, " "))]
	return []byte(json), ok
}

func (a answers) Item(table string, keys []Key) ([]byte, bool) {
	words := []string{"item", table}
	for _, k := range keys {
		words = append(words, k.Name+"="+pickText(k.Number, k.Text, "'"+k.Text+"'"))
	}
	return a.get(words...)
}

func (a answers) Shadow(thing, shadow string) ([]byte, bool) { return a.get("shadow", thing, shadow) }

func (a answers) RegistryData(api, thing string) ([]byte, bool) { return a.get("registry", api, thing) }

func pickText(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// templateAlone compiles a template that belongs to no statement.
func templateAlone(src string, v iotsql.Version) (*Template, error) {
	return compileTemplate(&compiler{src: src, version: v, reduce: v == iotsql.V2016})
}

// runTemplate runs the template, alone or with the variables of the statement.
func (c *testCase) runTemplate() string {
	compile := func() (*Template, error) { return templateAlone(c.template, c.version) }
	if c.sql != "" {
		p, refused := c.compile()
		if p == nil {
			return refused
		}
		compile = func() (*Template, error) { return p.CompileTemplate(c.template) }
	}
	tpl, err := compile()
	if err != nil {
		return "error " + err.Error()
	}
	msg := c.msg
	return "text " + tpl.Text(&msg)
}

// compile returns the program, or what to expect of a statement that is refused.
func (c *testCase) compile() (*Program, string) {
	st, err := iotsql.Parse(c.sql)
	if err != nil {
		return nil, "error " + err.Error()
	}
	p, err := Compile(st, c.version)
	if err != nil {
		return nil, "error " + err.Error()
	}
	return p, ""
}

func (c *testCase) run() string {
	if c.template != "" {
		return c.runTemplate()
	}
	p, refused := c.compile()
	if p == nil {
		return refused
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

// met says whether got is what is expected. A refusal is given as its place and
// words of its message, since every engine has its own texts.
func (c *testCase) met(got string) bool {
	rest, ok := strings.CutPrefix(c.expect, "refused ")
	if !ok {
		return got == c.expect
	}
	place, words, _ := strings.Cut(rest, " ")
	line, column, _ := strings.Cut(place, ":")
	return words != "" && strings.HasPrefix(got, "error line "+line+", column "+column+": ") && strings.Contains(got, words)
}

func TestText(t *testing.T) {
	cs := cases(t)
	if len(cs) < 100 {
		t.Fatalf("only %d cases", len(cs))
	}
	for _, c := range cs {
		if got := c.run(); !c.met(got) {
			t.Errorf("%s: %s %s\n payload %s\n got  %s\n want %s", c.where, c.sql, c.template, c.msg.Payload, got, c.expect)
		}
	}
}

func FuzzRun(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c.sql+c.template, c.msg.Topic, c.msg.Payload, c.version == iotsql.V2016)
	}
	f.Fuzz(func(t *testing.T, sql, topic string, payload []byte, new bool) {
		v := iotsql.V2015
		if new {
			v = iotsql.V2016
		}
		m := Message{Topic: topic, Payload: payload, ClientID: "c", Time: time.UnixMilli(1)}
		if tpl, err := templateAlone(sql, v); err == nil {
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
