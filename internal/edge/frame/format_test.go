package frame

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const seedPattern = "{id:dust:temp:humid:rate}"

func mustCompile(t testing.TB, pattern string, o Options) *Format {
	t.Helper()
	f, err := Compile(pattern, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCompile(t *testing.T) {
	for pattern, want := range map[string]struct {
		open, close string
		fields      []string
	}{
		seedPattern:              {"{", "}", []string{"id", "dust", "temp", "humid", "rate"}},
		"$id,dust_2.5\r\n":       {"$", ".5\r\n", []string{"id", "dust_2"}},
		"<<id=a; b>>":            {"<<", ">>", []string{"id", "a", "b"}},
		"id,dust\n":              {"", "\n", []string{"id", "dust"}},
		"{id}":                   {"{", "}", []string{"id"}},
		"{rate, ID/ id |Dust9a}": {"{", "}", []string{"rate", "ID", "id", "Dust9a"}},
	} {
		f, err := Compile(pattern, Options{})
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if f.open != want.open || f.close != want.close || !slices.Equal(f.Fields(), want.fields) || f.Pattern() != pattern {
			t.Errorf("%q: open %q close %q fields %q", pattern, f.open, f.close, f.Fields())
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		pattern string
		o       Options
		want    string
	}{
		{"", Options{}, "empty"},
		{"{}", Options{}, "names no field"},
		{"{dust:temp}", Options{}, `no field "id"`},
		{"{id:dust:id}", Options{}, `"id" is there twice`},
		{"{id:time}", Options{}, `"time" is given by the gateway`},
		{"{id:dust", Options{}, "nothing closes"},
		{"|id:dust|", Options{}, "must differ"},
		{"<id:dust<>", Options{}, "must differ"},
		{"<>id:dust>", Options{}, "must differ"},
		{"{}id:dust}{", Options{}, "belong to both"},
		{"{id{dust}", Options{}, "opening mark"},
		{"{id}dust}", Options{}, "closing mark"},
		{"{id-dust}", Options{}, "part of a number"},
		{"{id.dust}", Options{}, "part of a number"},
		{"{id:été}", Options{}, "ASCII"},
		{"{id\x00dust}", Options{}, "control character 0x00"},
		{"{id:dust}", Options{Text: []string{"tmep"}}, `"tmep" is declared as text but is not in the pattern, which has id, dust`},
		{"{id:dust}", Options{Max: 2}, "no room"},
		{"{id:dust}", Options{Max: -1}, "between"},
		{"{id:dust}", Options{Max: 1 << 20}, "between"},
		{strings.Repeat("{", 17) + "id}", Options{}, "16 bytes"},
		{"{id:" + strings.Repeat("x", 65) + "}", Options{}, "65 bytes"},
		{"{id:" + strings.Repeat("ab:", 2000) + "z}", Options{}, "at most 4096"},
		{"{id" + strings.Repeat(":a", 64) + "}", Options{}, "65 fields"},
	} {
		_, err := Compile(c.pattern, c.o)
		if !errors.Is(err, ErrPattern) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %v; want it to say %s", c.pattern, err, c.want)
		}
	}
}

func TestReading(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 15, 30, 123e6, time.UTC)
	for body, want := range map[string]string{
		"1:35.2:21.5:40:7":       `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40}`,
		"007: 35.20:+1.50:.5: 7": `{"time":"2026-11-22T10:15:30.123Z","id":"007","dust":35.20,"temp":1.50,"humid":0.5}`,
		"a-b_9:nan::x y:":        `{"time":"2026-11-22T10:15:30.123Z","id":"a-b_9","dust":"nan","temp":"","humid":"x y"}`,
	} {
		fr, err := mustCompile(t, seedPattern, Options{}).Parse([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got := string(fr.Reading(at).AppendJSON(nil)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	fr, err := mustCompile(t, seedPattern, Options{Text: []string{"dust"}}).Parse([]byte("1:35.2:21.5:40:7"))
	if err != nil || fr.Rate != "7" || fr.Fields[0].Number || fr.Fields[0].Text != "35.2" || !fr.Fields[1].Number {
		t.Errorf("declared text: %+v, %v", fr, err)
	}
}

func TestParseRefuses(t *testing.T) {
	f := mustCompile(t, seedPattern, Options{Max: 4096})
	for body, want := range map[string]string{
		"1:2:3:4":                            "ends after 4 of 5 fields",
		"1:2:3:4:5:6":                        "rate holds the delimiter",
		"":                                   "ends after 1 of 5",
		":2:3:4:5":                           "id is empty",
		"  :2:3:4:5":                         "id is empty",
		"a/b:2:3:4:5":                        `the id "a/b" holds "/"`,
		"+:2:3:4:5":                          `holds "+"`,
		"#:2:3:4:5":                          `holds "#"`,
		"é:2:3:4:5":                          "has only letters",
		"1:2\x1b[2J:3:4:5":                   "dust holds the control character 0x1b",
		"1:2:3\r\n:4:5":                      "temp holds the control character 0x0d",
		"1:2:3:4:5\x7f":                      "rate holds the control character",
		"1:2:3:\u0085:5":                     "control character",
		"1:\xff:3:4:5":                       "not text",
		strings.Repeat("9", 65) + ":2:3:4:5": "65 bytes",
		"1:" + strings.Repeat("x", 1025) + ":::5": "1025 bytes",
	} {
		if fr, err := f.Parse([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %+v, %v; want it to say %s", body, fr, err, want)
		}
	}
}
