package dbus

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func whole() *Message {
	return &Message{
		Kind: Call, Serial: 7, Path: "/org/bluez/hci0", Interface: "org.bluez.Adapter1", Member: "X", Destination: "org.bluez", ReplyTo: 3,
		Type: "ybnqiuxtdsogva{sv}a(oay)as",
		Body: []any{
			byte(1), true, int16(-2), uint16(3), int32(-4), uint32(5), int64(-6), uint64(7), 8.5, "text", Path("/p"), Signature("a{sv}"),
			Variant{"au", []any{uint32(1), uint32(2)}},
			map[any]any{"Transport": Variant{"s", "bredr"}},
			[]any{[]any{Path("/a"), []byte{1, 2}}},
			[]any{},
		},
	}
}

func TestMessagesComeBackAsTheyWent(t *testing.T) {
	m := whole()
	p, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(bytes.NewReader(p))
	if err != nil {
		t.Fatal(err)
	}
	m.Body[12] = []any{uint32(1), uint32(2)} // variants are read as what is in them
	m.Body[13] = map[any]any{"Transport": "bredr"}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got  %+v\nwant %+v", got, m)
	}
}

// TestBytesOfTheSpecification is a call of Hello as every client sends it.
func TestBytesOfTheSpecification(t *testing.T) {
	m := &Message{Kind: Call, Serial: 1, Path: "/a", Member: "Hello"}
	p, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := "l\x01\x00\x01" + "\x00\x00\x00\x00" + "\x01\x00\x00\x00" + "\x1e\x00\x00\x00" +
		"\x01\x01o\x00\x02\x00\x00\x00/a\x00" + "\x00\x00\x00\x00\x00" +
		"\x03\x01s\x00\x05\x00\x00\x00Hello\x00" + "\x00\x00"
	if string(p) != want {
		t.Errorf("got  %q\nwant %q", p, want)
	}
}

func TestBigEndianIsRead(t *testing.T) {
	p := "B\x02\x00\x01" + "\x00\x00\x00\x04" + "\x00\x00\x00\x09" + "\x00\x00\x00\x0f" +
		"\x05\x01u\x00\x00\x00\x00\x03" + "\x08\x01g\x00\x01u\x00" + "\x00" + "\x00\x00\x01\x02"
	m, err := read(strings.NewReader(p))
	if err != nil || m.Kind != Return || m.Serial != 9 || m.ReplyTo != 3 || !reflect.DeepEqual(m.Body, []any{uint32(0x102)}) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for name, m := range map[string]*Message{
		"another type":    {Type: "s", Body: []any{uint32(1)}},
		"too few":         {Type: "ss", Body: []any{"a"}},
		"too many":        {Type: "s", Body: []any{"a", "b"}},
		"no such type":    {Type: "z", Body: []any{"a"}},
		"an empty struct": {Type: "()", Body: []any{[]any{}}},
		"a key of arrays": {Type: "a{ayv}", Body: []any{map[any]any{}}},
		"half a dict":     {Type: "a{s}", Body: []any{map[any]any{}}},
		"unclosed":        {Type: "(s", Body: []any{[]any{"a"}}},
		"array of dict":   {Type: "a{sv}", Body: []any{[]any{"a"}}},
		"a short struct":  {Type: "(ss)", Body: []any{[]any{"a"}}},
		"another variant": {Type: "v", Body: []any{Variant{"u", "text"}}},
		"deep":            {Type: Signature(strings.Repeat("a", 40) + "y"), Body: []any{[]any{}}},
		"long":            {Type: Signature(strings.Repeat("y", 256)), Body: nil},
		"huge":            {Type: "s", Body: []any{strings.Repeat("x", maxMessage)}},
	} {
		if p, err := m.marshal(); err == nil {
			t.Errorf("%s: became % x", name, p)
		}
	}
	good, err := whole().marshal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(good) {
		if m, err := read(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("the first %d bytes are read as %+v", n, m)
		}
	}
	if _, err := read(strings.NewReader("l\x01\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff")); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a message of gigabytes: %v", err)
	}
}

// FuzzRead reads anything; what is read has values of its type.
func FuzzRead(f *testing.F) {
	p, err := whole().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	for _, m := range []*Message{{Kind: Call, Path: "/", Member: "Hello"}, {Kind: Failed, ReplyTo: 2, ErrorName: "a.b", Type: "s", Body: []any{"no"}}, {Kind: Signal, Type: "v", Body: []any{Variant{"v", Variant{"ay", []byte("x")}}}}} {
		p, err := m.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := read(bytes.NewReader(p))
		if err != nil {
			return
		}
		if n := strings.Count(string(m.Type), "("); n == 0 && !strings.Contains(string(m.Type), "a") && len(m.Body) != len(m.Type) {
			t.Errorf("%q has %d values", m.Type, len(m.Body))
		}
	})
}
