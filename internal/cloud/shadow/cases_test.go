package shadow

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// bench is an engine on a store of its own, with a clock that is set.
type bench struct {
	*Engine
	t   testing.TB
	dir string
	at  time.Time
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir(), at: time.Unix(1_800_000_000, 0)}
	b.start()
	t.Cleanup(func() { _ = b.st.Close() })
	return b
}

func (b *bench) start() {
	st, err := store.Open(b.dir, store.Options{MinFree: 1, MemTable: 1 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Engine = New(st, Options{Now: func() time.Time { return b.at }})
}

func (b *bench) restart() {
	if err := b.st.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.start()
}

// publish does what a publish does, in a commit of its own.
func (b *bench) publish(n Name, op, payload string) []*message.Message {
	b.t.Helper()
	batch := b.st.NewBatch()
	out, _ := b.Apply(batch, &message.Message{Topic: n.prefix() + op, Payload: []byte(payload)})
	if err := b.st.Commit(batch); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// lines are the answers as the case files write them.
func lines(n Name, out []*message.Message) (s string) {
	for _, m := range out {
		s += "< " + strings.TrimPrefix(m.Topic, n.prefix()) + " " + string(m.Payload) + "\n"
	}
	return s
}

// state is the state of a get.
func (b *bench) state(n Name) string {
	doc, ok := b.Document(n.Thing, n.Shadow)
	if !ok {
		return "none"
	}
	body, err := parse(doc)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body.member("state").appendTo(nil))
}

// TestCases runs the tables of testdata/cases; documents.txt says how they read.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := caseRun{bench: newBench(t)}
			for i, line := range strings.Split(string(data), "\n") {
				c.at = fmt.Sprintf("%s:%d", file, i+1)
				c.line(line)
			}
			c.settle()
			if c.requests == 0 {
				t.Fatal("no request in the file")
			}
		})
	}
}

type caseRun struct {
	*bench
	at        string
	name      Name
	asked     string
	got, want string
	state     bool
	requests  int
}

// settle compares what the last request led to.
func (c *caseRun) settle() {
	c.t.Helper()
	if c.asked != "" && !c.state && c.got != c.want {
		c.t.Errorf("%s\ngot\n%swant\n%s", c.asked, c.got, c.want)
	}
	c.asked, c.want, c.state = "", "", false
}

func (c *caseRun) line(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
	case "thing":
		c.settle()
		c.name = Name{Thing: rest}
	case "shadow":
		c.settle()
		c.name.Shadow = rest
	case "clock":
		c.settle()
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			c.t.Fatalf("%s: %v", c.at, err)
		}
		c.bench.at = time.Unix(n, 0)
	case "restart":
		c.settle()
		c.restart()
	case ">":
		c.settle()
		op, payload, _ := strings.Cut(rest, " ")
		c.asked = c.at + ": " + line
		c.got = lines(c.name, c.publish(c.name, op, payload))
		c.requests++
	case "<":
		c.want += line + "\n"
	case "=":
		c.state = true
		if got := c.bench.state(c.name); got != rest {
			c.t.Errorf("%s\n got %s\nwant %s\nafter %s", c.at, got, rest, c.got)
		}
	default:
		c.t.Fatalf("%s: what is %q", c.at, word)
	}
}
