package frame

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func bare(t testing.TB, name string, o Options) *Format {
	t.Helper()
	f, err := Bare(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// message reads one message and returns what came of it, as lines does.
func message(f *Format, m Message) (out []string) {
	f.Message(m, func(fr Frame) { out = append(out, shown(fr)) }, func(r Reject) { out = append(out, "refused: "+r.Reason.Error()) })
	return out
}

func TestBareValues(t *testing.T) {
	topics := bare(t, "", Options{Addressed: true, Text: []string{"door"}, Skip: []string{"uptime"}, Max: 40, Units: true, Values: []Value{
		{Name: "temp", Unit: "°C", Scale: "0.1", Offset: "-1", Round: 1, Min: "-40", Max: "85"},
	}})
	roof := bare(t, "dust", Options{Board: "roof", Values: []Value{{Name: "dust", Round: -1, Min: "0"}}})
	for _, c := range []struct {
		f               *Format
		board, name, in string
		want            string
	}{
		{topics, "a", "humid", "40", `"id":"a","humid":40}`},
		{topics, "a", "humid", " 40.50\r\n", `"id":"a","humid":40.50}`},
		{topics, "a", "humid", "-1.5e-3", `"id":"a","humid":-1.5e-3}`},
		{topics, "a", "temp", "215", `"id":"a","temp":20.5,"temp_unit":"°C"}`},
		{topics, "a", "temp", "2150", "refused: no plausible value is left: the value of temp, 214.0, is above 85, the most that is plausible"},
		{topics, "a", "humid", "nan", `refused: the value of humid, "nan", is not a number; if it should be text, name the field in text`},
		{topics, "a", "humid", "unavailable", `refused: the value of humid, "unavailable", is not a number; if it should be text, name the field in text`},
		{topics, "a", "humid", "21.5 °C", `refused: the value of humid, "21.5 °C", is not a number; if it should be text, name the field in text`},
		{topics, "a", "humid", " ", `refused: the value of humid, "", is not a number; if it should be text, name the field in text`},
		{topics, "a", "humid", `{"t":1}`, `refused: the value of humid, "{\"t\":1}", is not a number; if it should be text, name the field in text`},
		{topics, "a", "humid", "\xff", "refused: it is not text (invalid UTF-8)"},
		{topics, "a", "humid", strings.Repeat("1", 41), "refused: the message has 41 bytes; a longest frame has 40"},
		{topics, "a", "door", "ON", `"id":"a","door":"ON"}`},
		{topics, "a", "door", "1", `"id":"a","door":"1"}`},
		{topics, "a", "door", "a\nb", "refused: the value of door holds the control character 0x0a"},
		{topics, "a", "rate", "30", `"id":"a"} rate 30`},
		{topics, "a", "rate", "fast", `refused: the value of rate, "fast", is not a number; if it should be text, name the field in text`},
		{topics, "a", "uptime", "77", `"id":"a"}`},
		{topics, "a", "pm.2_5", "7", `"id":"a","pm.2_5":7}`},
		{topics, "a", "", "7", `refused: "" is no name of a field; want 1 to 64 bytes that can be printed`},
		{topics, "a", "a\x01", "7", `refused: "a\x01" is no name of a field; want 1 to 64 bytes that can be printed`},
		{topics, "a", "\xff", "7", `refused: "\xff" is no name of a field; want 1 to 64 bytes that can be printed`},
		{topics, "a", "time", "7", "refused: a value cannot be called time: the reading has that for something else"},
		{topics, "a", "id", "7", "refused: a value cannot be called id: the reading has that for something else"},
		{topics, "a/b", "humid", "7", `refused: the id "a/b" holds "/"; an id has only letters, digits, colon, underscore and hyphen`},
		{topics, "", "humid", "7", "refused: the id is empty"},
		{roof, "other", "other", "12.5", `"id":"roof","dust":12.5}`},
		{roof, "", "", "-3", "refused: no plausible value is left: the value of dust, -3, is below 0, the least that is plausible"},
	} {
		if got := message(c.f, Message{Board: c.board, Name: c.name, Data: []byte(c.in)}); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s %s %q\n got %q\nwant %q", c.board, c.name, c.in, got, c.want)
		}
	}
}

func TestBareValuesRefuse(t *testing.T) {
	for want, c := range map[string]struct {
		name string
		o    Options
	}{
		"does not say what board it is from":      {"temp", Options{}},
		"has no board's clock":                    {"temp", Options{Board: "roof", Time: "ts"}},
		"a value cannot be called id":             {"id", Options{Board: "roof"}},
		`"a\n" is no name of a field`:             {"a\n", Options{Board: "roof"}},
		`field "tmep": there is none`:             {"temp", Options{Board: "roof", Values: []Value{{Name: "tmep"}}}},
		`the field "door" is declared as text`:    {"temp", Options{Board: "roof", Text: []string{"door"}}},
		`field "id": it is no value of a reading`: {"", Options{Addressed: true, Values: []Value{{Name: "id"}}}},
		"a longest frame of 1 bytes":              {"", Options{Addressed: true, Max: 1}},
	} {
		if _, err := Bare(c.name, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want it to say %s", err, want)
		}
	}
}

func FuzzBareValue(f *testing.F) {
	for _, seed := range []string{"21.5", "nan", "ON", "unavailable", " +007.50\r\n", "1e400", "-0", "\xff", "", "21,5", `"x"`, "0x1F", "Infinity"} {
		f.Add("kitchen", "temperature", []byte(seed))
	}
	f.Add("a/b", "$name", []byte("1"))
	f.Add("", "rate", []byte("30"))
	number := bare(f, "", Options{Addressed: true, Text: []string{"text"}, Values: []Value{{Name: "t", Scale: "0.1", Offset: "-1", Round: 2, Min: "-10", Max: "10"}}})
	f.Fuzz(func(t *testing.T, board, name string, data []byte) {
		frames, rejects := 0, 0
		number.Message(Message{Board: board, Name: name, Data: data}, func(fr Frame) {
			frames++
			if fr.ID != board || checkID(fr.ID) != nil || fr.Value != name || !utf8.ValidString(name) {
				t.Errorf("%+v", fr)
			}
			switch {
			case name == "rate" && len(fr.Fields) == 0:
			case len(fr.Fields) != 1 || fr.Fields[0].Name != name || fr.Fields[0].Number == (name == "text"):
				t.Errorf("%+v", fr)
			}
		}, func(Reject) { rejects++ })
		if frames+rejects != 1 {
			t.Errorf("%d frames and %d rejects of one message", frames, rejects)
		}
	})
}
