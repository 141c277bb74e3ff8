package reading

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestJSON(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 15, 30, 123e6, time.UTC)
	r := Reading{Time: at, ID: "1", Rate: "7", Fields: []Field{
		Value("dust", "35.2", false), Value("temp", "21.5", false), Value("humid", "40", false),
	}}
	const want = `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40}`
	if got := string(r.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const seed = `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":"35.2","temp":"21.5","humid":"40"}`
	if got := string(r.AppendTextJSON(nil)); got != seed {
		t.Errorf("got  %s\nwant %s", got, seed)
	}
	var back Reading
	if err := json.Unmarshal([]byte(want), &back); err != nil {
		t.Fatal(err)
	}
	if got := string(back.AppendJSON(nil)); got != want {
		t.Errorf("round trip: got %s", got)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]string{
		"35.2": "35.2", "-4": "-4", "+1.50": "1.50", "007": "7", ".5": "0.5", "5.": "5", "0": "0", "1e3": "1e3", "1E-5": "1E-5", "-0.0": "-0.0",
		"1e125": "1e125", "9.9e-130": "9.9e-130", "0.00e5": "0.00e5", "000.1e126": "0.1e126",
		"1" + strings.Repeat("0", 60): "1" + strings.Repeat("0", 60), "12345678901234567890123456789012345678": "12345678901234567890123456789012345678",
		"1e126": "", "1e400": "", "1e-131": "", "0.1e-130": "", "1e99999999999999999999": "", "0e99999999999": "", "123456789012345678901234567890123456789": "",
		"": "", "-": "", ".": "", "1e": "", "1e+-2": "", "nan": "", "0x10": "", "1 ": "", "1,5": "", "Infinity": "",
	} {
		got, ok := number(in)
		if got != want || ok != (want != "") {
			t.Errorf("number(%q) = %q, %v; want %q", in, got, ok, want)
		}
		if ok && !json.Valid([]byte(got)) {
			t.Errorf("number(%q) = %q is not JSON", in, got)
		}
	}
}

func TestClockGivesEachReadingItsOwnTime(t *testing.T) {
	var c Clock
	now := time.Date(2026, 1, 1, 0, 0, 0, 500e6, time.UTC)
	seen := map[time.Time]bool{}
	stamp := func(at time.Time) time.Time {
		got := c.Stamp("1", at)
		if seen[got] {
			t.Fatalf("time %v given out twice", got)
		}
		seen[got] = true
		return got
	}
	if got := TimeText(stamp(now)); got != "2026-01-01T00:00:00.500Z" {
		t.Errorf("first: %s", got)
	}
	if got := TimeText(stamp(now)); got != "2026-01-01T00:00:00.501001Z" {
		t.Errorf("second in the same millisecond: %s", got)
	}
	for range 2500 {
		stamp(now)
	}
	for i := range 100 { // the clock is set back over times already given out
		stamp(now.Add(-time.Second).Add(time.Duration(i) * time.Millisecond))
	}
	stamp(now.Add(time.Second))
}

func TestTextsOfTimesHaveTheOrderOfReadings(t *testing.T) {
	var c Clock
	now, last := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ""
	for _, burst := range []int{1, 2, 3, 1, 1, 2000, 1, 1, 1, 1, 1, 500, 1, 1, 999, 1} {
		for range burst {
			stamp := c.Stamp("1", now)
			if text := TimeText(stamp); text <= last {
				t.Fatalf("%s comes after %s but sorts before it", text, last)
			} else {
				last = text
			}
			if ahead := stamp.Sub(now); ahead > 6*time.Millisecond {
				t.Fatalf("stamped %v ahead", ahead)
			}
		}
		now = now.Add(700 * time.Microsecond)
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"x":"a\"b"}`))
	f.Add([]byte(`{"id":1,"time":"2026-11-22T10:15:30Z","o":{"a":[null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Reading
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if out := r.AppendTextJSON(nil); !json.Valid(out) {
			t.Fatalf("%q became invalid JSON %q", data, out)
		}
	})
}
