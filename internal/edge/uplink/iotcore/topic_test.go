package iotcore

import (
	"encoding/json"
	"strings"
	"testing"

	"mote/internal/mqtt"
	"mote/internal/reading"
)

func TestTopics(t *testing.T) {
	const r = `{"time":"2026-11-22T10:15:30.123Z","id":"1","room":"kitchen","dust":35.2,"bad":"a+b"}`
	with := func(id string) string { return strings.Replace(r, `"id":"1"`, `"id":"`+id+`"`, 1) }
	for _, c := range []struct{ template, record, want string }{
		{"sensors/{id}/air", r, "sensors/1/air"},
		{"sensors/{id}/air", `{"id":7,"time":"2026-11-22T10:15:30Z"}`, "sensors/7/air"},
		{"sensors/{id}/air", with("größe 1"), "sensors/größe 1/air"},
		{"sensors/{id}/air", with(`a\"b`), `sensors/a"b/air`},
		{"sensors/{id}/air", with("$x"), "sensors/$x/air"},
		{"fixed", r, "fixed"},
		{"{room}/{id}{dust}", r, "kitchen/135.2"},
		{"at/{time}", r, "at/2026-11-22T10:15:30.123Z"},
		{"$aws/rules/store/{id}", r, "$aws/rules/store/1"},

		{"sensors/{id}/air", with("a/b"), ""},
		{"sensors/{id}/air", with("+"), ""},
		{"sensors/{id}/air", with("#"), ""},
		{"sensors/{id}/air", with(`\u0000`), ""},
		{"sensors/{id}/air", with(`\n`), ""},
		{"sensors/{id}/air", with("\xff"), ""},
		{"sensors/{id}/air", with(""), ""},
		{"sensors/{id}/air", "not JSON", ""},
		{"sensors/{id}/air", `{"time":"2026-11-22T10:15:30.123Z"}`, ""},
		{"sensors/{id}/air", `{"time":"2026-11-22T10:15:30.123Z","id":"1`, ""},
		{"{id}/air", with("$aws"), ""},
		{"{none}/{id}", r, ""},
		{"x/{bad}", r, ""},
	} {
		template, err := parseTemplate(c.template)
		if err != nil {
			t.Fatal(err)
		}
		got, err := template.Topic([]byte(c.record))
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%s of %q: %q, %v; want %q", c.template, c.record, got, err, c.want)
		}
	}
}

func TestTemplatesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"":            "empty",
		"a/+/{id}":    "wildcard",
		"a/#":         "wildcard",
		"a/{}":        "between { and }",
		"a/{id":       "between { and }",
		"a/{i{d}":     "between { and }",
		"a/}":         "} without {",
		"a/\x00/{id}": "null",
	} {
		if _, err := parseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	deep, err := parseTemplate("1/2/3/4/5/6/7/8/{id}")
	if err != nil || deep.fitsAWS() == nil {
		t.Error("eight slashes", err)
	}
}

// FuzzTopic holds that the quick way to the id finds what the JSON decoder
// finds, and that no record makes an illegal topic or one of another shape.
func FuzzTopic(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2}`))
	f.Add([]byte(`{"time":"2026-11-22T10:15:30.123456Z","id":"a/b"}`))
	f.Add([]byte(`{"time":"","id":"1"}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		template, err := parseTemplate("sensors/{id}/air")
		if err != nil {
			t.Fatal(err)
		}
		topic, err := template.Topic(record)
		if err != nil {
			return
		}
		if err := mqtt.ValidTopic(topic); err != nil || !mqtt.Match("sensors/+/air", topic) {
			t.Fatalf("%q gives %q: %v", record, topic, err)
		}
		var r reading.Reading
		if json.Unmarshal(record, &r) == nil && topic != "sensors/"+r.ID+"/air" {
			t.Fatalf("%q has id %q and topic %q", record, r.ID, topic)
		}
	})
}

func BenchmarkTopic(b *testing.B) {
	template, err := parseTemplate(DefaultTopic)
	if err != nil {
		b.Fatal(err)
	}
	record := []byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := template.Topic(record); err != nil {
			b.Fatal(err)
		}
	}
}
