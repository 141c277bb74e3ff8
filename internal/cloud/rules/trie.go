package rules

import (
	"slices"
	"strings"
)

// trie finds the rules whose filter matches a topic in time that grows with
// the levels of the topic and the rules found, not with all rules. It follows
// mqtt.MatchAWS: a/# does not match a, and a wildcard in the first level does
// not match a topic that begins with $. A trie does not change once it is built.
type trie struct {
	level map[string]*trie
	plus  *trie       // the level +
	here  []*compiled // whose filter ends here
	below []*compiled // whose filter ends here with #
}

func (t *trie) add(filter string, c *compiled) {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			t.below = append(t.below, c)
			return
		}
		t = t.child(level)
		if !more {
			t.here = append(t.here, c)
			return
		}
		filter = rest
	}
}

func (t *trie) child(level string) *trie {
	if level == "+" {
		if t.plus == nil {
			t.plus = &trie{}
		}
		return t.plus
	}
	c := t.level[level]
	if c == nil {
		if t.level == nil {
			t.level = map[string]*trie{}
		}
		c = &trie{}
		t.level[level] = c
	}
	return c
}

// match appends the rules whose filter matches the topic to dst, in the order
// of their names.
func (t *trie) match(dst []*compiled, topic string) []*compiled {
	if strings.HasPrefix(topic, "$") {
		level, rest, more := strings.Cut(topic, "/")
		dst = t.level[level].descend(dst, rest, more)
	} else {
		dst = t.walk(dst, topic)
	}
	if len(dst) > 1 {
		slices.SortFunc(dst, func(a, b *compiled) int { return a.order - b.order })
	}
	return dst
}

// walk matches the levels that are left of a topic, at least one.
func (t *trie) walk(dst []*compiled, topic string) []*compiled {
	dst = append(dst, t.below...)
	level, rest, more := strings.Cut(topic, "/")
	if len(t.level) > 0 {
		dst = t.level[level].descend(dst, rest, more)
	}
	return t.plus.descend(dst, rest, more)
}

// descend goes on after a level that matched.
func (t *trie) descend(dst []*compiled, rest string, more bool) []*compiled {
	switch {
	case t == nil:
		return dst
	case more:
		return t.walk(dst, rest)
	}
	return append(dst, t.here...)
}
