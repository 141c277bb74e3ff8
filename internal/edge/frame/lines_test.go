package frame

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/reading"
)

func jsonLines(t testing.TB, o Options) *Format {
	t.Helper()
	f, err := JSONLines(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func csvLines(t testing.TB, table Table, o Options) *Format {
	t.Helper()
	f, err := CSV(table, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// lines feeds text and returns what came of it, one text for each frame and
// reject.
func lines(f *Format, text string) (out []string) {
	s := f.NewScanner()
	s.Feed([]byte(text), func(fr Frame) { out = append(out, shown(fr)) }, func(r Reject) { out = append(out, "refused: "+r.Reason.Error()) })
	return out
}

func shown(fr Frame) string {
	at := fr.Time
	if at.IsZero() {
		at = time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC)
	}
	text := string(fr.Reading(at).AppendJSON(nil))
	if fr.Rate != "" {
		text += " rate " + fr.Rate
	}
	return strings.TrimPrefix(text, `{"time":"2026-11-22T10:15:30.000Z",`)
}

func TestJSONLines(t *testing.T) {
	plain := jsonLines(t, Options{})
	device := jsonLines(t, Options{ID: "device", Skip: []string{"wifi"}, Text: []string{"serial"}})
	roof := jsonLines(t, Options{Board: "roof", Time: "ts"})
	for _, c := range []struct {
		f    *Format
		in   string
		want string
	}{
		{plain, `{"id":"1","dust":35.20,"temp":-1.5e1}`, `"id":"1","dust":35.20,"temp":-1.5e1}`},
		{plain, `{"id":7,"rate":60,"n":0.30000000000000000000004}`, `"id":"7","n":0.30000000000000000000004} rate 60`},
		{plain, `{"id":"1","s":"35.2","b":true,"none":null,"é":"ü\n"}`, `refused: the value of é holds the control character 0x0a`},
		{plain, `{"id":"1","s":"35.2","b":true,"none":null,"é":"ü"}`, `"id":"1","s":"35.2","b":"true","é":"ü"}`},
		{plain, `{"id":"1","dht":{"temp":21.5,"humid":40},"pm":[1,2.5,{"x":10}],"e":{}}`, `"id":"1","dht.temp":21.5,"dht.humid":40,"pm.0":1,"pm.1":2.5,"pm.2.x":10}`},
		{plain, `{"dust":1}`, `refused: it has no member "id", which says what board it is from`},
		{plain, `{"id":"1","id":"2"}`, `refused: the member "id" is there twice`},
		{plain, `{"id":"1","a":{"b":1},"a.b":2}`, `refused: the member "a.b" is there twice`},
		{plain, `{"id":"a/b"}`, `refused: the id "a/b" holds "/"; an id has only letters, digits, colon, underscore and hyphen`},
		{plain, `{"id":"1","time":1}`, `refused: its member "time" is given by the gateway: set time = "time" if it is the board's clock, or leave it out with skip`},
		{plain, `{"id":"1"}{}`, `refused: something stands behind the JSON object`},
		{plain, `[1]`, `refused: it is not a JSON object`},
		{plain, `{"id":"1","":2}`, `refused: "" is no name of a field; want 1 to 64 bytes that can be printed`},
		{plain, `{"id":"1","x":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, `refused: "x.0.0.0.0.0.0.0" is nested too deep; at most 8`},
		{plain, `{"id":"1","n":1e999}`, `"id":"1","n":"1e999"}`},
		{device, `{"device":"r-1","wifi":-60,"serial":12,"id":3}`, `refused: its member "id" is not the board's id by the configuration: leave it out with skip`},
		{device, `{"device":"r-1","wifi":-60,"serial":12}`, `"id":"r-1","serial":"12"}`},
		{roof, `{"ts":1763805600,"t":1}`, `{"time":"2025-11-22T10:00:00.000Z","id":"roof","t":1}`},
		{roof, `{"ts":1763805600123.4,"t":1}`, `{"time":"2025-11-22T10:00:00.123Z","id":"roof","t":1}`},
		{roof, `{"ts":"2025-11-22T11:00:00.5+01:00","t":1}`, `{"time":"2025-11-22T10:00:00.500Z","id":"roof","t":1}`},
		{roof, `{"ts":12,"t":1}`, `"id":"roof","t":1}`}, // its clock is not set
		{roof, `{"t":1}`, `refused: it has no member "ts", the board's clock`},
		{roof, `{"ts":"noon","t":1}`, `refused: the board's time "noon": want RFC 3339, or seconds or milliseconds since 1970`},
	} {
		if got := lines(c.f, "x\n"+c.in+"\n"); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

// TestJSONLinesNeedNoLineBefore: the first line of a connection counts when it
// is whole, and is passed over when it is the rest of one.
func TestJSONLinesNeedNoLineBefore(t *testing.T) {
	f := jsonLines(t, Options{})
	for in, want := range map[string][]string{
		`{"id":"1"}` + "\r\n" + `{"id":"2"}` + "\n": {`"id":"1"}`, `"id":"2"}`},
		`:"1"}` + "\n\n" + `{"id":"2"}` + "\n":      {`"id":"2"}`},
		`{"id":"1","x":{"id":"3"}}`[14:] + "\n":     nil,
		"\xff\xfe\n" + `{"id":"2"}` + "\n" + "x\n":  {`"id":"2"}`, "refused: it is not a JSON object"},
	} {
		if got := lines(f, in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	f := csvLines(t, Table{Columns: []string{"id", "dust", "", "note", "rate"}, Comment: "#"}, Options{Text: []string{"note"}})
	semi := csvLines(t, Table{Columns: []string{"ts", "temp"}, Delimiter: ";"}, Options{Board: "roof", Time: "ts"})
	for _, c := range []struct {
		f    *Format
		in   string
		want []string
	}{
		{f, "1,35.20,x,5,60", []string{`"id":"1","dust":35.20,"note":"5"} rate 60`}},
		{f, `1, 35.2 ,,"a ""b"", c",`, []string{`"id":"1","dust":35.2,"note":"a \"b\", c"}`}},
		{f, "# 1,2,3,4,5", nil},
		{f, "id,dust,,note,rate", nil},
		{f, "\r", nil},
		{f, "1,2,3,4", []string{"refused: it has 4 values; the table has 5 columns"}},
		{f, `1,"2,3,4,5`, []string{"refused: a quote is not closed on its line; values with line ends are not taken"}},
		{f, `1,"2"x,3,4,5`, []string{`refused: "x,3,4,5" stands behind a value in quotes`}},
		{f, `1,2"",3,4,5`, []string{`refused: a quote stands inside the value "2\"\"", which does not begin with one`}},
		{f, ",2,3,4,5", []string{"refused: the id is empty"}},
		{f, "1,\xff,3,4,5", []string{"refused: it is not text (invalid UTF-8)"}},
		{semi, "2025-11-22T10:00:00Z;21,5", []string{`{"time":"2025-11-22T10:00:00.000Z","id":"roof","temp":"21,5"}`}},
	} {
		if got := lines(c.f, "rest of a line\n"+c.in+"\n"); !slices.Equal(got, c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.in, got, c.want)
		}
	}
	if got := lines(f, "f1,2,3,4,5\n1,2,3,4,5\n"); len(got) != 1 {
		t.Errorf("the first line may be the rest of one, but it was taken: %q", got)
	}
}

func TestValues(t *testing.T) {
	o := Options{Board: "1", Units: true, Values: []Value{
		{Name: "temp", Unit: "°C", Scale: "0.1", Round: -1, Min: "-40", Max: "85"},
		{Name: "dust", Offset: "-0.5", Round: 1, Min: "0"},
		{Name: "note", Unit: "x", Round: -1},
	}}
	keep := csvLines(t, Table{Columns: []string{"temp", "dust", "note"}}, o)
	o.DropFrame, o.Units = true, false
	drop := csvLines(t, Table{Columns: []string{"temp", "dust", "note"}}, o)
	for in, want := range map[string][2]string{
		"215,1.25,a":  {`"id":"1","temp":21.5,"temp_unit":"°C","dust":0.8,"note":"a","note_unit":"x"}`, `"id":"1","temp":21.5,"dust":0.8,"note":"a"}`},
		"900,1.25,a":  {`"id":"1","dust":0.8,"note":"a","note_unit":"x"}`, "refused: the value of temp, 90.0, is above 85, the most that is plausible"},
		"nan,1.25,a":  {`"id":"1","dust":0.8,"note":"a","note_unit":"x"}`, `refused: the value of temp, "nan", is not a number`},
		"850,0.5,a":   {`"id":"1","temp":85.0,"temp_unit":"°C","dust":0.0,"note":"a","note_unit":"x"}`, `"id":"1","temp":85.0,"dust":0.0,"note":"a"}`},
		"-401,0.45,,": {"refused: it has 4 values; the table has 3 columns", "refused: it has 4 values; the table has 3 columns"},
		"-401,0.44,":  {"refused: no plausible value is left: the value of temp, -40.1, is below -40, the least that is plausible", "refused: the value of temp, -40.1, is below -40, the least that is plausible"},
	} {
		if got := lines(keep, "\n"+in+"\n"); !slices.Equal(got, []string{want[0]}) {
			t.Errorf("%s:\n got %q\nwant %q", in, got, want[0])
		}
		if got := lines(drop, "\n"+in+"\n"); !slices.Equal(got, []string{want[1]}) {
			t.Errorf("%s, whole frame:\n got %q\nwant %q", in, got, want[1])
		}
	}
}

func TestValuesScaleAPatternToo(t *testing.T) {
	f := mustCompile(t, seedPattern, Options{Values: []Value{{Name: "temp", Scale: "0.1", Round: -1}}, Skip: []string{"humid"}})
	if got := lines(f, "{1:35:215:40:7}"); !slices.Equal(got, []string{`"id":"1","dust":35,"temp":21.5} rate 7`}) {
		t.Errorf("%q", got)
	}
}

func TestChanged(t *testing.T) {
	f := jsonLines(t, Options{Values: []Value{{Name: "temp", Deadband: "0.5", Round: -1}}})
	if !f.Bands() || jsonLines(t, Options{}).Bands() {
		t.Error("bands")
	}
	number := func(name, text string) reading.Field { return reading.Value(name, text, false) }
	base := []reading.Field{number("temp", "21.5"), number("dust", "1")}
	for _, c := range []struct {
		now  []reading.Field
		want bool
	}{
		{[]reading.Field{number("temp", "22.0"), number("dust", "1.0")}, false},
		{[]reading.Field{number("temp", "21.0"), number("dust", "1")}, false},
		{[]reading.Field{number("temp", "22.01"), number("dust", "1")}, true},
		{[]reading.Field{number("temp", "21.5"), number("dust", "1.1")}, true},
		{[]reading.Field{number("temp", "21.5")}, true},
		{[]reading.Field{number("temp", "nan"), number("dust", "1")}, true},
	} {
		if got := f.Changed(base, c.now); got != c.want {
			t.Errorf("%v: %v", c.now, got)
		}
	}
}

func TestFormatsRefuse(t *testing.T) {
	csv := func(o Options, columns ...string) error {
		_, err := CSV(Table{Columns: columns}, o)
		return err
	}
	object := func(o Options) error { _, err := JSONLines(o); return err }
	delimiter := func(d string) error {
		_, err := CSV(Table{Columns: []string{"id"}, Delimiter: d}, Options{})
		return err
	}
	value := func(v Value) error { return csv(Options{Values: []Value{v}}, "id", "temp") }
	pattern := func(p string, o Options) error { _, err := Compile(p, o); return err }
	for want, err := range map[string]error{
		"no columns":                               csv(Options{}),
		`no field "id"`:                            csv(Options{}, "dust"),
		`"dust" is there twice`:                    csv(Options{}, "id", "dust", "dust"),
		"keep one of them":                         csv(Options{Board: "roof"}, "id"),
		`"ts" is no field`:                         csv(Options{Time: "ts"}, "id"),
		`"time" is given by the gateway`:           csv(Options{}, "id", "time"),
		"65 columns":                               csv(Options{}, make([]string, 65)...),
		`"x" is to be left out but never comes`:    csv(Options{Skip: []string{"x"}}, "id"),
		"one ASCII character":                      delimiter("ab"),
		`the delimiter "."`:                        delimiter("."),
		`the board's name: the id "a b"`:           object(Options{Board: "a b"}),
		"given twice":                              object(Options{Board: "a", Addressed: true}),
		`"time" cannot be the id`:                  object(Options{ID: "time"}),
		"a longest frame of 1 bytes":               object(Options{Max: 1}),
		`field "tmep": there is none`:              value(Value{Name: "tmep"}),
		`field "id": it is no value`:               value(Value{Name: "id"}),
		`field "temp": scale: "ten" is`:            value(Value{Name: "temp", Scale: "ten"}),
		"min is 2 and max is 1":                    value(Value{Name: "temp", Min: "2", Max: "1"}),
		"a dead-band of -1":                        value(Value{Name: "temp", Deadband: "-1"}),
		"rounded to 31 places":                     value(Value{Name: "temp", Round: 31}),
		`no field "id", which says what board a f`: pattern("{dust}", Options{}),
		"named elsewhere too":                      pattern("{id:dust}", Options{Board: "1"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want it to say %s", err, want)
		}
	}
}

func TestMessages(t *testing.T) {
	object := jsonLines(t, Options{Addressed: true, Max: 100})
	table := csvLines(t, Table{Columns: []string{"id", "n"}}, Options{})
	marks := mustCompile(t, "{id:n}", Options{})
	ends := mustCompile(t, "n\n", Options{Addressed: true})
	for _, c := range []struct {
		f         *Format
		board, in string
		want      []string
	}{
		{object, "roof", "{\n  \"t\": 1\n}\n", []string{`"id":"roof","t":1}`}},
		{object, "a/b", `{"t":1}`, []string{`refused: the id "a/b" holds "/"; an id has only letters, digits, colon, underscore and hyphen`}},
		{object, "", `{"t":1}`, []string{"refused: the id is empty"}},
		{object, "roof", "online", []string{"refused: it is not a JSON object"}},
		{object, "roof", "", []string{"refused: there is no frame on this line"}},
		{object, "roof", strings.Repeat(" ", 101), []string{"refused: the message has 101 bytes; a longest frame has 100"}},
		{table, "roof", "1,2\n3,4", []string{`"id":"1","n":2}`, `"id":"3","n":4}`}},
		{marks, "roof", "{1:2}{3:4}{5", []string{`"id":"1","n":2}`, `"id":"3","n":4}`, "refused: the connection ended inside the frame"}},
		{ends, "roof", "5", []string{`"id":"roof","n":5}`}},
	} {
		got := message(c.f, Message{Board: c.board, Data: []byte(c.in)})
		if !slices.Equal(got, c.want) {
			t.Errorf("%q\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func FuzzLines(f *testing.F) {
	for i, seed := range []string{
		`{"id":"1","dust":35.2}` + "\n", "1,2,\"a\"\"b\",4\n", "\xff\n{\"id\":1}\r\n", `{"id":"1","x":{"y":[1,{"z":null}]}}` + "\n", "# x\nid,ts,note,t\n", `{"id":"1","ts":1763805600}` + "\n",
		strings.Repeat("[", 300), `{"ESP8266":{"id":"esp-1","ts":"2025-11-22T10:00:00Z"}}` + "\n",
	} {
		f.Add([]byte(seed), uint64(i))
	}
	values := []Value{{Name: "t", Scale: "0.1", Offset: "-1", Round: 2, Min: "-10", Max: "10", Deadband: "1"}}
	formats := []*Format{
		jsonLines(f, Options{Max: 60}), jsonLines(f, Options{Board: "roof", Time: "ts", Values: values, Max: 200}),
		csvLines(f, Table{Columns: []string{"id", "ts", "note", "t"}, Comment: "#"}, Options{Max: 60, Values: values}),
	}
	good := []string{`{"id":"77","n":8}`, `{"ts":1763805600,"n":8}`, "77,1,8,9"}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for i, fm := range formats {
			whole, skipped := scan(fm, stream)
			pieces, skippedToo := scan(fm, split(rng, stream)...)
			if !slices.Equal(whole, pieces) || skipped != skippedToo {
				t.Fatalf("%s: in one piece %q, %d skipped\nin many %q, %d", fm.pattern, whole, skipped, pieces, skippedToo)
			}
			events, _ := scan(fm, stream, []byte("\n"+good[i]+"\n"))
			if len(events) == 0 || strings.HasPrefix(events[len(events)-1], "reject") {
				t.Fatalf("%s: the line %q after %q was lost: %q", fm.pattern, good[i], stream, events)
			}
			checkEveryByteCounted(t, fm, stream)
			var before []reading.Field
			fm.Message(Message{Board: "roof", Data: stream}, func(fr Frame) {
				fm.Changed(before, fr.Fields)
				before = fr.Fields
				checkReading(t, fr)
			}, func(r Reject) { _ = fmt.Sprint(r.Reason, r.Text()) })
		}
	})
}

// checkReading: what a frame says is a reading in JSON, and reads back.
func checkReading(t *testing.T, fr Frame) {
	record := fr.Reading(time.Unix(1e9, 0)).AppendJSON(nil)
	var back reading.Reading
	if err := back.UnmarshalJSON(record); err != nil || len(back.Fields) != len(fr.Fields) || back.ID != fr.ID {
		t.Fatalf("%+v is written %s: %v", fr, record, err)
	}
}

func BenchmarkJSONLines(b *testing.B) {
	fm := jsonLines(b, Options{Values: []Value{{Name: "temp", Scale: "0.1", Min: "-40", Max: "85", Round: -1}}})
	stream := []byte(strings.Repeat(`{"id":"1","dust":35.2,"temp":215,"humid":40}`+"\n", 1000))
	s := fm.NewScanner()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		s.Feed(stream, func(Frame) {}, func(Reject) {})
	}
}
