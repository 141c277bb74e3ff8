package mqtt

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want, aws     bool
	}{
		// the examples of sections 4.7.1.2, 4.7.1.3 and 4.7.2
		{"sport/tennis/player1/#", "sport/tennis/player1", true, false},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true, true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true, true},
		{"sport/#", "sport", true, false},
		{"#", "a/b", true, true},
		{"sport/tennis/+", "sport/tennis/player1", true, true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false, false},
		{"sport/+", "sport", false, false},
		{"sport/+", "sport/", true, true},
		{"+/+", "/finance", true, true},
		{"/+", "/finance", true, true},
		{"+", "/finance", false, false},
		{"#", "$SYS/a", false, false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false, false},
		{"$SYS/#", "$SYS/", true, true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true, true},
		// more
		{"sport/#", "sport/", true, true},
		{"a/b", "a/b", true, true},
		{"a/b", "a/B", false, false},
		{"a/b", "a/b/c", false, false},
		{"a/b/c", "a/b", false, false},
		{"a/+/c", "a/b/c", true, true},
		{"a/+/c", "a//c", true, true},
		{"a/+/#", "a/b", true, false},
		{"a/+/#", "a", false, false},
		{"a/#", "ab", false, false},
		{"a/#", "b", false, false},
		{"a/$b/+", "a/$b/c", true, true},
		{"a/+", "a/$b", true, true},
		{"/", "/", true, true},
		{"/", "a", false, false},
		{"/#", "a", false, false},
		{"/#", "/", true, true},
		{"", "a", false, false},
		{"a", "", false, false},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.filter, c.topic, got)
		}
		if got := MatchAWS(c.filter, c.topic); got != c.aws {
			t.Errorf("MatchAWS(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		filter, plain string
		want, aws     bool
	}{
		{"$a/+/b", "$a/x/b", true, true},
		{"$a/x/b", "$a/+/b", true, true},
		{"$a/+/b", "$a/+/b", true, true},
		{"$a/x/#", "$a/+/b", true, true},
		{"$a/x/b/#", "$a/+/b", true, false},
		{"$a/x/b/c", "$a/+/b", false, false},
		{"$a/x", "$a/+/b", false, false},
		{"$a/x/c", "$a/+/b", false, false},
		{"#", "$a/+", false, false},
		{"+/x", "$a/+", false, false},
		{"#", "a/+", true, true},
	} {
		if got := Overlap(c.filter, c.plain); got != c.want {
			t.Errorf("Overlap(%q, %q) = %v", c.filter, c.plain, got)
		}
		if got := OverlapAWS(c.filter, c.plain); got != c.aws {
			t.Errorf("OverlapAWS(%q, %q) = %v", c.filter, c.plain, got)
		}
	}
	if Match("a/b", "a/+") {
		t.Error("a topic name has no wildcards")
	}
}

func TestValidTopic(t *testing.T) {
	for topic, want := range map[string]bool{
		"a": true, "/": true, "sensors/1/air": true, "$aws/x": true, "a b": true, "ä/ö": true, strings.Repeat("x", maxText): true,
		"": false, "a/+": false, "a/#": false, "a\x00": false, "\xc3": false, "\xed\xa0\x80": false, strings.Repeat("x", maxText+1): false,
		"12345678\x00": false, "1234567\x00": false, "1234567+": false, "12345678#9": false, "äöüäöü#": false,
	} {
		if err := ValidTopic(topic); (err == nil) != want {
			t.Errorf("%.40q: %v", topic, err)
		}
		if got := plainTopic([]byte(topic)); got && !want && len(topic) <= maxText {
			t.Errorf("plainTopic(%.40q) = %v", topic, got)
		}
	}
	for c := range 256 {
		for _, at := range []int{0, 3, 7, 8, 12} {
			b := []byte("sensors/1/air")
			b[at] = byte(c)
			want := c > 0 && c < 0x80 && c != '+' && c != '#'
			if plainTopic(b) != want || plainTopic(b[at:]) != want {
				t.Errorf("plainTopic with byte 0x%02x at %d is not %v", c, at, want)
			}
		}
	}
}

func TestValidFilter(t *testing.T) {
	for filter, want := range map[string]bool{
		"a": true, "#": true, "+": true, "+/#": true, "a/+/b/#": true, "/": true, "//": true, "$SYS/#": true, "$share/g/a": true, "$share/g/#": true, "$share/g//": true, "$shared/a": true,
		"": false, "a#": false, "#/a": false, "a/#/b": false, "+a": false, "a+/b": false, "a/b+": false, "##": false, "a\x00": false, "\xff": false,
		"$share": true, "$share/": false, "$share/g": false, "$share/g/": false, "$share//a": false, "$share/+/a": false, "$share/g#/a": false, "$share/g/a#": false,
		strings.Repeat("x", maxText+1): false,
	} {
		if err := ValidFilter(filter); (err == nil) != want {
			t.Errorf("%.40q: %v", filter, err)
		}
	}
}

func FuzzTopics(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$share/g/#", "$SYS/a")
	f.Add("#", "")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if ValidFilter(filter) == nil {
			var err error
			if filter, err = checkShare(filter); err != nil {
				t.Fatalf("a valid filter is not a valid shared one: %v", err)
			}
			if err := ValidFilter(filter); err != nil && !strings.HasPrefix(filter, sharePrefix) {
				t.Fatalf("the filter inside is not valid: %v", err)
			}
		}
		if ValidTopic(topic) == nil && ValidFilter(topic) == nil && !Match(topic, topic) {
			t.Fatalf("%q does not match itself", topic)
		}
		if MatchAWS(filter, topic) && !Match(filter, topic) {
			t.Fatalf("AWS matches %q with %q, the standard does not", filter, topic)
		}
	})
}
