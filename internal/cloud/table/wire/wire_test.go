package wire

import (
	"bytes"
	"strings"
	"testing"
)

var items = []string{
	`{}`,
	`{"id":{"S":"1"},"n":{"N":"-1.5"}}`,
	`{"b":{"B":"AAE="},"t":{"BOOL":true},"x":{"NULL":true}}`,
	`{"l":{"L":[{"S":""},{"M":{"a":{"N":"0"}}}]},"s":{"SS":["a","b\n"]}}`,
	`{"bs":{"BS":["AA==","AQ=="]},"ns":{"NS":["1","2"]}}`,
	`{"é \"quoted\"":{"S":"\u2028"}}`,
}

func TestItemsComeBack(t *testing.T) {
	for _, text := range items {
		item, err := ParseItem([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := string(AppendItem(nil, item)); got != text {
			t.Errorf("%s came back as %s", text, got)
		}
	}
}

func TestNumbersBecomeCanonical(t *testing.T) {
	item, err := ParseItem([]byte(`{"a":{"N":"1.50"},"b":{"NS":["1e2"]}}`))
	if got := string(AppendItem(nil, item)); err != nil || got != `{"a":{"N":"1.5"},"b":{"NS":["100"]}}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestWhatIsNoItem(t *testing.T) {
	deep := strings.Repeat(`{"M":{"a":`, 33) + `{"S":"x"}` + strings.Repeat(`}}`, 33)
	for text, want := range map[string]string{
		`[]`:                    "cannot be read",
		`{"a":{}}`:              "no type",
		`{"a":{"N":"x"}}`:       "numeric",
		`{"a":{"NS":["x"]}}`:    "numeric",
		`{"a":{"L":[{}]}}`:      "no type",
		`{"a":{"B":"?"}}`:       "cannot be read",
		`{"a":` + deep + `}`:    "nested",
		`{"a":{"M":{"b":{}}}}`:  `"b"`,
		`{"a":{"S":"x"}} {"a":`: "cannot be read",
	} {
		if _, err := ParseItem([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseItem(f *testing.F) {
	for _, text := range items {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		item, err := ParseItem(data)
		if err != nil {
			return
		}
		out := AppendItem(nil, item)
		again, err := ParseItem(out)
		if err != nil || !bytes.Equal(AppendItem(nil, again), out) {
			t.Errorf("%s came back as %s, %v", data, out, err)
		}
	})
}
