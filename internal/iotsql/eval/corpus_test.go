package eval

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"mote/internal/iotsql"
)

// corpus reads a file of statements or templates of the parser's testdata; a
// line that begins with white space continues the one before it.
func corpus(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			out[len(out)-1] += "\n" + line
		default:
			out = append(out, line)
		}
	}
	if len(out) < 30 {
		t.Fatalf("%s has %d entries", name, len(out))
	}
	return out
}

// What is in the field compiles and runs, over any payload.
func TestFieldStatementsRun(t *testing.T) {
	lacking := map[string]bool{}
	for _, src := range corpus(t, "field.sql") {
		st, err := iotsql.Parse(src)
		if err != nil {
			t.Errorf("%s\n%v", src, err)
			continue
		}
		p, err := Compile(st, iotsql.V2016)
		if err != nil {
			t.Errorf("%s\n%v", src, err)
			continue
		}
		for _, f := range p.NotOffered() {
			lacking[f] = true
		}
		for _, payload := range []string{`{"state":{"reported":{"sound":11}},"current":{"state":{}},"e":[{"n":1}],"a":null}`, `7`, "\xff\x00"} {
			m := Message{Topic: "$aws/things/pi/shadow/update", ClientID: "pi", Payload: []byte(payload), Time: time.UnixMilli(1566553626391)}
			if r, fired := p.Run(&m); fired {
				if _, err := r.AppendPayload(nil); err != nil {
					t.Errorf("%s over %q\n%v", src, payload, err)
				}
			}
		}
	}
	if want := map[string]bool{"aws_lambda": true, "decode(…, 'proto', …)": true}; !maps.Equal(lacking, want) {
		t.Errorf("functions that are not offered: %v", lacking)
	}
}

func TestFieldTemplatesRun(t *testing.T) {
	for _, src := range corpus(t, "templates.txt") {
		tpl, err := templateAlone(src, iotsql.V2016)
		if err != nil {
			t.Errorf("%s\n%v", src, err)
			continue
		}
		m := Message{Topic: "a/b/c", Payload: []byte(`{"temp":20}`), Time: time.UnixMilli(1566553626391)}
		if got := tpl.Text(&m); strings.Contains(got, "${") {
			t.Errorf("%s: %s", src, got)
		}
	}
}
