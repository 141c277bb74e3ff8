package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
	"mote/internal/cloud/sink"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/cloud/table"
)

// The files testdata/*.txt hold cases: a rule, a message and what the rule does
// with it. A case begins with "== name". Lines until the first one that is no
// known word belong to the line before:
//
//	sql       the statement
//	version   awsIotSqlVersion; default 2016-03-23, "none" leaves it out
//	action    an action as JSON, any number of times
//	error     the error action
//	topic, client, payload    the message; payload "0x…" is given in hexadecimal
//	item      TABLE JSON: an item of the DynamoDB API that is there before
//	gives     one line for each effect, in order, or "nothing"
//	refused   the text of the refusal of the rule
//
// The tables are air (key id), both (keys id and n, a number) and errors (key
// topic). UUIDs are shown as <uuid>.
type textCase struct {
	name, sql, version, topic, client, refused string
	payload                                    []byte
	actions, items, gives                      []string
	errorAction                                string
}

var textWords = map[string]bool{
	"sql": true, "version": true, "action": true, "error": true, "topic": true, "client": true, "payload": true, "item": true, "gives": true, "refused": true,
}

func readCases(t *testing.T, file string) (cases []*textCase) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c *textCase
	var word, text string
	flush := func() {
		if word != "" {
			c.set(t, word, strings.TrimRight(text, "\n"))
		}
		word = ""
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		first, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "#") || line == "" && word == "":
		case first == "==":
			flush()
			c = &textCase{name: rest, version: "2016-03-23", topic: "sensors/1/air", client: "dev1"}
			cases = append(cases, c)
		case textWords[first]:
			flush()
			word, text = first, rest
		default:
			text += "\n" + line
		}
	}
	flush()
	return cases
}

func (c *textCase) set(t *testing.T, word, text string) {
	t.Helper()
	switch word {
	case "sql":
		c.sql = text
	case "version":
		c.version = strings.TrimPrefix(text, "none")
	case "action":
		c.actions = append(c.actions, text)
	case "error":
		c.errorAction = text
	case "topic":
		c.topic = text
	case "client":
		c.client = text
	case "payload":
		c.payload = []byte(text)
		if digits, ok := strings.CutPrefix(text, "0x"); ok {
			if _, err := fmt.Sscanf(digits, "%x", &c.payload); err != nil {
				t.Fatal(err)
			}
		}
	case "item":
		c.items = append(c.items, text)
	case "gives":
		for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			c.gives = append(c.gives, strings.TrimSpace(line))
		}
	case "refused":
		c.refused = strings.TrimSpace(text)
	}
}

// recorder is tables and an outbox that tell what is done to them.
type recorder struct {
	*table.DB
	told    []string
	full    error // of Add
	entries []*outbox.Entry
}

func (r *recorder) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *recorder) Put(b *store.Batch, name string, item table.Item) error {
	err := r.DB.Put(b, name, item)
	if err == nil {
		r.tell("put %s %s", name, show(item))
	}
	return err
}

func (r *recorder) PutMembers(b *store.Batch, name string, members []table.Member) error {
	err := r.DB.PutMembers(b, name, members)
	if err == nil {
		item := table.Item{}
		for _, m := range members {
			item[m.Name] = m.Value
		}
		r.tell("put %s %s", name, show(item))
	}
	return err
}

func (r *recorder) SetAttribute(b *store.Batch, name string, key table.Item, attribute string, v table.Value, late func(error)) error {
	err := r.DB.SetAttribute(b, name, key, attribute, v, late)
	if err == nil {
		r.tell("update %s %s set %s", name, show(key), show(table.Item{attribute: v}))
	}
	return err
}

func (r *recorder) Remove(b *store.Batch, name string, key table.Item) error {
	err := r.DB.Remove(b, name, key)
	if err == nil {
		r.tell("delete %s %s", name, show(key))
	}
	return err
}

func (r *recorder) Add(b *store.Batch, e *outbox.Entry) error {
	if r.full != nil {
		return r.full
	}
	one := *e
	r.entries = append(r.entries, &one)
	b.Set(fmt.Appendf(nil, "o%d", len(r.entries)), e.Data)
	r.tell("%s", tellEntry(e))
	return nil
}

func (r *recorder) Status() outbox.Status {
	s := outbox.Status{}
	for _, e := range r.entries {
		s.Rules = append(s.Rules, outbox.RuleStatus{Rule: e.Rule, Kind: e.Kind, Waiting: 1})
	}
	return s
}

func tellEntry(e *outbox.Entry) string {
	text := fmt.Sprintf("send %s to %s", e.Kind, e.Lane)
	if e.Batch != nil {
		text += fmt.Sprintf(" batch %v %d %d %d", e.Batch.MaxOpen, e.Batch.MaxSize, e.Batch.MaxBytes, e.Batch.Weight)
	}
	switch e.Kind {
	case sink.KindHTTP:
		h, err := sink.DecodeHTTP(e.Data)
		if err != nil {
			return err.Error()
		}
		text += fmt.Sprintf(": %s %v", h.URL, h.Headers)
		if h.SigV4 != nil {
			text += fmt.Sprintf(" signed %v", *h.SigV4)
		}
		return text + fmt.Sprintf(" binary=%v %s", h.Binary, shownBytes(h.Body))
	case sink.KindS3:
		s, err := sink.DecodeS3(e.Data)
		if err != nil {
			return err.Error()
		}
		return text + fmt.Sprintf(": %s %s", s.Key, shownBytes(s.Body))
	case sink.KindLambda:
		l, err := sink.DecodeLambda(e.Data)
		if err != nil {
			return err.Error()
		}
		return text + fmt.Sprintf(": %s", shownBytes(l.Payload))
	case sink.KindKafka:
		k, err := sink.DecodeKafka(e.Data)
		if err != nil {
			return err.Error()
		}
		partition := "any"
		if k.Partition != nil {
			partition = fmt.Sprint(*k.Partition)
		}
		return text + fmt.Sprintf(": key %q partition %s %v %v %s", k.Key, partition, k.Headers, k.Client, shownBytes(k.Value))
	}
	return text
}

// shownBytes shows a payload: text as it is, other bytes quoted.
func shownBytes(data []byte) string {
	if quoted := strconv.Quote(string(data)); strings.Contains(quoted, `\x`) || len(data) == 0 {
		return quoted
	}
	return string(data)
}

// open opens an engine over real tables.
func (r *recorder) open(t testing.TB, o Options) (*store.Store, *Engine) {
	t.Helper()
	st := storetest.Open(t, t.TempDir())
	var err error
	if r.DB, err = table.Open(st, table.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.DB.Close() })
	for name, keys := range map[string][]table.KeyAttr{
		"air": {{Name: "id", Kind: table.S}}, "both": {{Name: "id", Kind: table.S}, {Name: "n", Kind: table.N}}, "errors": {{Name: "topic", Kind: table.S}},
	} {
		schema := []table.KeyElement{{Name: keys[0].Name, Type: "HASH"}}
		if len(keys) > 1 {
			schema = append(schema, table.KeyElement{Name: keys[1].Name, Type: "RANGE"})
		}
		if _, err := r.Create(table.CreateRequest{Name: name, Billing: table.PayPerRequest, Attributes: keys, Schema: schema}); err != nil {
			t.Fatal(err)
		}
	}
	o.Outbox = r
	e, err := Open(st, r, o)
	if err != nil {
		t.Fatal(err)
	}
	return st, e
}

func (c *textCase) ruleOf() Payload {
	p := Payload{SQL: c.sql, AWSIoTSQLVersion: c.version}
	for _, a := range c.actions {
		p.Actions = append(p.Actions, json.RawMessage(a))
	}
	if c.errorAction != "" {
		p.ErrorAction = json.RawMessage(c.errorAction)
	}
	return p
}

func (c *textCase) message() *message.Message {
	return &message.Message{Topic: c.topic, Payload: c.payload, ClientID: c.client, Time: testTime}
}

var uuidForm = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func (c *textCase) run(t *testing.T) []string {
	t.Helper()
	rec := &recorder{}
	st, e := rec.open(t, Options{
		Shadow: func(_ *store.Batch, thing, name string) ([]byte, bool) {
			return fmt.Appendf(nil, `{"state":{"reported":{"of":%q,"name":%q}}}`, thing, name), thing != "none"
		},
		RegistryData: func(api, thing string) ([]byte, bool) {
			return fmt.Appendf(nil, `{"api":%q,"thingName":%q}`, api, thing), true
		},
	})
	for _, text := range c.items {
		name, data, _ := strings.Cut(text, " ")
		putWire(t, rec.DB, name, data)
	}
	if err := e.Create("r", c.ruleOf()); err != nil {
		var invalid *InvalidError
		if !errors.As(err, &invalid) {
			t.Fatal(err)
		}
		return []string{"refused " + err.Error()}
	}
	b := st.NewBatch()
	out := e.Apply(b, c.message())
	for _, m := range out.Republish {
		rec.tell("publish %s qos %d %s", m.Topic, m.QoS, shownBytes(m.Payload))
	}
	for _, f := range out.Failed {
		rec.tell("failed %s", strings.TrimPrefix(f.Error(), "rule r: "))
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	return rec.told
}

// putWire puts an item of S and N attributes that is given as JSON.
func putWire(t *testing.T, db *table.DB, name, data string) {
	t.Helper()
	var wire map[string]map[string]string
	if err := json.Unmarshal([]byte(data), &wire); err != nil {
		t.Fatal(err)
	}
	item := table.Item{}
	for attribute, v := range wire {
		for kind, text := range v {
			item[attribute] = table.String(text)
			if kind == "N" {
				item[attribute], _ = table.Number(text)
			}
		}
	}
	if _, err := db.PutItem(table.PutRequest{Table: name, Item: item}); err != nil {
		t.Fatal(err)
	}
}

func TestTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		for _, c := range readCases(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+c.name, func(t *testing.T) {
				got := strings.Join(c.run(t), "\n")
				want := strings.Join(c.gives, "\n")
				if c.refused != "" {
					want = "refused " + c.refused
				}
				if got = uuidForm.ReplaceAllString(got, "<uuid>"); got == "" {
					got = "nothing"
				}
				if got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}
