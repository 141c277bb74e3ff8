package dynamodb

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestCases runs the files of testdata: sessions of calls and answers that any
// server of this API could be held to. A line
//
//	Operation {request}
//
// calls; the line after it is the answer: a JSON object, compared as JSON, "empty", or
// the name of an exception with its text after ": ", and the reasons of a cancelled transaction after that. @200K stands for a text of
// that many bytes. A line that begins with
// "..." goes on with the line before it, one with "#" is a comment, and
// "= name" begins a new case over the same tables: hash, whose key is the text
// a; number, whose key is the number a; range, whose keys are the texts a and b;
// wide, whose keys are the texts a and b, with the indexes local over a and c and global over c.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runCases(t, file) })
	}
}

type caseLine struct {
	number int
	text   string
}

func readCases(t *testing.T, file string) (lines []caseLine) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for n := 1; scan.Scan(); n++ {
		text := strings.TrimSpace(scan.Text())
		switch more, goesOn := strings.CutPrefix(text, "..."); {
		case goesOn:
			lines[len(lines)-1].text += " " + strings.TrimSpace(more)
		case text != "" && text[0] != '#':
			lines = append(lines, caseLine{n, text})
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func runCases(t *testing.T, file string) {
	server, _ := serve(t)
	must(t, server, "CreateTable", `{"TableName":"hash","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}]}`)
	must(t, server, "CreateTable", `{"TableName":"number","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"N"}]}`)
	must(t, server, "CreateTable", `{"TableName":"range","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"b","KeyType":"RANGE"}],"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"b","AttributeType":"S"}]}`)
	must(t, server, "CreateTable", `{"TableName":"wide","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"b","KeyType":"RANGE"}],
		"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"b","AttributeType":"S"},{"AttributeName":"c","AttributeType":"S"}],
		"LocalSecondaryIndexes":[{"IndexName":"local","KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"c","KeyType":"RANGE"}],"Projection":{"ProjectionType":"ALL"}}],
		"GlobalSecondaryIndexes":[{"IndexName":"global","KeySchema":[{"AttributeName":"c","KeyType":"HASH"}],"Projection":{"ProjectionType":"KEYS_ONLY"}}]}`)
	name := ""
	lines := readCases(t, file)
	for len(lines) > 0 {
		if title, ok := strings.CutPrefix(lines[0].text, "= "); ok {
			name, lines = title, lines[1:]
			continue
		}
		if len(lines) < 2 {
			t.Fatalf("%s:%d: a call without an answer", file, lines[0].number)
		}
		op, body, _ := strings.Cut(lines[0].text, " ")
		body = strings.ReplaceAll(body, "@200K", strings.Repeat("x", 200<<10))
		status, answer := call(t, server, op, body)
		if got := short(t, status, answer); !sameAnswer(got, lines[1].text) {
			t.Errorf("%s:%d (%s)\n%s %s\n got %s\nwant %s", file, lines[0].number, name, op, body, got, lines[1].text)
		}
		lines = lines[2:]
	}
}

// short is an answer as the cases have it.
func short(t *testing.T, status int, answer string) string {
	t.Helper()
	if status == 200 {
		return cmp.Or(answer, "empty")
	}
	var e struct {
		Type    string          `json:"__type"`
		Message string          `json:"message"` // also "Message": names match in any case
		Reasons json.RawMessage `json:"CancellationReasons"`
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	_, name, _ := strings.Cut(e.Type, "#")
	return strings.TrimSpace(name + ": " + e.Message + " " + string(e.Reasons))
}

func sameAnswer(got, want string) bool {
	if got == want {
		return true
	}
	var x, y any
	return json.Unmarshal([]byte(got), &x) == nil && json.Unmarshal([]byte(want), &y) == nil && reflect.DeepEqual(x, y)
}
