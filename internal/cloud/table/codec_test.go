package table

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	airTable = &Table{Name: "air", Hash: KeyAttr{"id", S}, Range: &KeyAttr{"time", S}, id: 7}
	numTable = &Table{Name: "num", Hash: KeyAttr{"id", B}, Range: &KeyAttr{"n", N}, id: 8}
)

func number(t testing.TB, text string) Value {
	t.Helper()
	v, err := Number(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func everyKind(t testing.TB) Item {
	return Item{
		"id": String("1"), "time": String("t"), "s": String("zwei ü"), "n": number(t, "-35.2"), "b": Binary([]byte{0, 1, 255}), "yes": Bool(true), "nope": Bool(false), "null": Null(),
		"list": List(number(t, "1"), List([]Value{}...), String("")), "doc": Map(Item{"a": Map(Item{}), "b": Null()}),
		"ss": {Kind: SS, Set: []string{"a", ""}}, "ns": {Kind: NS, Set: []string{"1", "-0.5"}}, "bs": {Kind: BS, Set: []string{"\x00", "\xff"}},
	}
}

func TestItemSurvivesTheStore(t *testing.T) {
	item := everyKind(t)
	key, err := airTable.appendKey(nil, item, inItem)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := airTable.appendItem(nil, item, nil)
	got, err := airTable.decode(key, data)
	if err != nil || !reflect.DeepEqual(got, item) {
		t.Errorf("got %v, %v\nwant %v", got, err, item)
	}
	again, _ := airTable.appendItem(nil, maps.Clone(item), nil)
	if !bytes.Equal(data, again) {
		t.Error("the same item has two encodings")
	}
}

func TestDamagedItemIsAnError(t *testing.T) {
	data, _ := airTable.appendItem(nil, everyKind(t), nil)
	for i := range data {
		if err := decodeItem(Item{}, data[:i]); !errors.Is(err, errDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if err := decodeItem(Item{}, append(slices.Clone(data), 0)); !errors.Is(err, errDamaged) {
		t.Errorf("trailing byte: %v", err)
	}
	data[0]++
	if err := decodeItem(Item{}, data); !errors.Is(err, errDamaged) {
		t.Errorf("newer version: %v", err)
	}
}

func TestKeysSortAsTheirValues(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func() []byte {
		b := make([]byte, 1+r.IntN(4))
		for i := range b {
			b[i] = []byte{0, 0, 1, 'a', 0xfe, 0xff}[r.IntN(6)]
		}
		return b
	}
	for range 20000 {
		a, b := text(), text()
		x, y := appendKeyValue(nil, &Value{Kind: B, Bin: a}), appendKeyValue(nil, &Value{Kind: S, Str: string(b)})
		if bytes.Compare(x, y) != bytes.Compare(a, b) {
			t.Fatalf("keys of %x and %x: %x %x", a, b, x, y)
		}
		if bytes.HasPrefix(a, b) != bytes.HasPrefix(x, appendText(nil, b)) {
			t.Fatalf("prefix %x of %x", b, a)
		}
		if !bytes.Equal(x, y) && (bytes.HasPrefix(x, y) || bytes.HasPrefix(y, x)) {
			t.Fatalf("key %x is a prefix of another", x)
		}
		v, rest, err := readKeyValue(B, append(x, 9))
		if err != nil || !bytes.Equal(v.Bin, a) || len(rest) != 1 {
			t.Fatalf("%x reads as %x, %v", a, v.Bin, err)
		}
	}
}

func TestItemSize(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want int
	}{
		{String("zwei ü"), 7}, {Binary([]byte("abc")), 3}, {Bool(true), 1}, {Null(), 1},
		{number(t, "0"), 1}, {number(t, "1"), 2}, {number(t, "35.2"), 3}, {number(t, "-35.2"), 4}, {number(t, "1e100"), 2}, {number(t, "0.00012"), 2}, {number(t, "100"), 2}, {number(t, "1010"), 3}, {number(t, "1.5"), 3}, {number(t, "3.14159"), 5}, {number(t, "100.5"), 4}, {number(t, "12345678901234567890123456789012345678"), 20},
		{List(), 3}, {List(Null(), Null()), 7}, {Map(Item{"ab": Null()}), 7}, {Value{Kind: SS, Set: []string{"a", "bc"}}, 3},
	} {
		got, err := checkValue(&c.v, maxDepth)
		if err != nil || got != c.want {
			t.Errorf("%v: %d, %v, want %d", c.v, got, err, c.want)
		}
	}
}

func TestItemLimits(t *testing.T) {
	deep := func(n int) Item {
		v := Null()
		for range n {
			v = List(v)
		}
		return Item{"v": v}
	}
	for _, c := range []struct {
		item Item
		want string
	}{
		{deep(31), ""}, {deep(32), "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"},
		{Item{"v": String(strings.Repeat("x", 400<<10-1))}, ""}, {Item{"v": String(strings.Repeat("x", 400<<10))}, "Item size has exceeded the maximum allowed size"},
		{Item{"v": {Kind: N, Str: "1.0"}}, "The parameter cannot be converted to a numeric value: 1.0"}, {Item{"v": {}}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"},
	} {
		_, err := checkItem(c.item)
		if got := message(err); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// message returns the message of an *Error, "" of nil.
func message(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	if err != nil {
		return "not an Error: " + err.Error()
	}
	return ""
}

func FuzzDecodeItem(f *testing.F) {
	for _, t := range []*Table{airTable, numTable} {
		item := everyKind(f)
		if t == numTable {
			item["id"] = Binary([]byte{0, 1})
		}
		key, err := t.appendKey(nil, item, inItem)
		if err != nil {
			f.Fatal(err)
		}
		data, _ := t.appendItem(nil, item, nil)
		f.Add(key, data)
	}
	f.Fuzz(func(t *testing.T, key, data []byte) {
		for _, tab := range []*Table{airTable, numTable} {
			item, err := tab.decode(key, data)
			row, rowErr := tab.decodeRow(nil, tab.keyOrder(), key, data)
			if (err == nil) != (rowErr == nil) {
				t.Fatalf("%x: as item %v, as row %v", data, err, rowErr)
			}
			if err != nil {
				continue
			}
			if listed := itemOf(row); !reflect.DeepEqual(listed, item) {
				t.Fatalf("%x is the item %v and the row %v", data, item, listed)
			}
			again, _ := tab.appendItem(nil, item, nil)
			back := Item{}
			if err := decodeItem(back, again); err != nil {
				t.Fatalf("%x decodes to %v, which encodes to %x: %v", data, item, again, err)
			}
			for name, v := range back {
				if w := item[name]; !equal(&v, &w) {
					t.Fatalf("%v becomes %v", w, v)
				}
			}
		}
	})
}

// TestFormat holds the examples of FORMAT.md.
func TestFormat(t *testing.T) {
	v := number(t, "35.2")
	if got := appendKeyValue(nil, &v); !bytes.Equal(got, []byte{0x03, 0x83, 0x24, 0x15, 0x00}) {
		t.Errorf("35.2 is % x", got)
	}
	v = number(t, "-35.2")
	if got := appendKeyValue(nil, &v); !bytes.Equal(got, []byte{0x01, 0x7c, 0xdb, 0xea, 0xff}) {
		t.Errorf("-35.2 is % x", got)
	}
	key, err := airTable.appendKey(nil, Item{"id": String("1"), "time": String("a\x00")}, inItem)
	if want := "i\x00\x00\x00\x07\xa6\xa81\x00\x01a\x00\xff\x00\x01"; err != nil || string(key) != want {
		t.Errorf("key %x, %v, want %x", key, err, want)
	}
	data, _ := airTable.appendItem(nil, Item{"id": String("1"), "time": String("t"), "b": Bool(true), "a": List(v)}, nil)
	if want := "\x01\x02\x01a\x06\x01\x02\x05-35.2\x01b\x04\x01"; string(data) != want {
		t.Errorf("item %x, want %x", data, want)
	}
}
