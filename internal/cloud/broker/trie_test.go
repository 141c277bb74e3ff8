package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mote/internal/mqtt"
)

// The trie and the matching of single filters must say the same.
func TestTrieAgreesWithMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet string, most int) string {
		levels := make([]string, 1+r.IntN(most))
		for i := range levels {
			levels[i] = string(alphabet[r.IntN(len(alphabet))])
			if levels[i] == "_" {
				levels[i] = ""
			}
		}
		return strings.Join(levels, "/")
	}
	var tr trie
	sessions := []*session{{clientID: "a"}, {clientID: "b"}, {clientID: "c"}}
	subs := map[*session]map[string]byte{}
	for _, s := range sessions {
		subs[s] = map[string]byte{}
	}
	for range 3000 {
		s, filter := sessions[r.IntN(3)], word("ab_$++#", 4)
		if mqtt.ValidFilter(filter) != nil {
			continue
		}
		if r.IntN(3) == 0 {
			tr.remove(s, filter)
			delete(subs[s], filter)
		} else {
			qos := byte(r.IntN(2))
			tr.add(s, filter, subscription{qos: qos})
			subs[s][filter] = qos
		}
		topic := word("ab_$", 5)
		if topic == "" {
			continue
		}
		var want []string
		for s, filters := range subs {
			qos := -1
			for f, q := range filters {
				if mqtt.MatchAWS(f, topic) {
					qos = max(qos, int(q))
				}
			}
			if qos >= 0 {
				want = append(want, fmt.Sprint(s.clientID, qos))
			}
		}
		var got []string
		list, _ := tr.match(topic)
		for _, g := range list {
			got = append(got, fmt.Sprint(g.s.clientID, g.qos))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("topic %q: got %v, want %v, subscriptions %v", topic, got, want, subs)
		}
	}
	for s, filters := range subs {
		for f := range filters {
			tr.remove(s, f)
		}
	}
	if tr.size != 0 || !tr.root.empty() {
		t.Errorf("%d subscriptions left", tr.size)
	}
}

func TestTrieVersionGrows(t *testing.T) {
	var tr trie
	s := &session{}
	tr.add(s, "a", subscription{})
	_, v := tr.match("a")
	tr.remove(s, "b")
	if _, same := tr.match("a"); same != v {
		t.Error("nothing changed, but the version did")
	}
	tr.remove(s, "a")
	if _, next := tr.match("a"); next == v {
		t.Error("the version stayed")
	}
}

func TestManyTargetsComeOnce(t *testing.T) {
	var tr trie
	for range 100 {
		s := &session{}
		tr.add(s, "a/b", subscription{})
		tr.add(s, "a/+", subscription{qos: 1, noLocal: true})
		tr.add(s, "#", subscription{})
	}
	list, _ := tr.match("a/b")
	if len(list) != 100 {
		t.Errorf("%d targets", len(list))
	}
	for _, g := range list {
		if g.qos != 1 || g.noLocal {
			t.Fatalf("got %+v", g.subscription)
		}
	}
}
