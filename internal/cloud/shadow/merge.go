package shadow

import (
	"math/big"
	"strconv"
	"strings"
)

// merged returns old with the changes of an update, or nil when nothing is
// left: objects merge member by member, null removes, everything else
// replaces; what becomes an empty object is removed (AWS IoT developer guide,
// "Device Shadow service documents"). Both are objects; old may be nil.
func merged(old, change *node) *node {
	out := &node{kind: object}
	add := func(name string, value *node) {
		if value != nil {
			out.members = append(out.members, member{name, value})
		}
	}
	if old != nil {
		find := change.lookup()
		for _, m := range old.members {
			if i := find(m.name); i >= 0 {
				add(m.name, changed(m.value, change.members[i].value))
			} else {
				add(m.name, m.value)
			}
		}
	}
	find := old.lookup()
	for _, m := range change.members {
		if find(m.name) < 0 {
			add(m.name, changed(nil, m.value))
		}
	}
	if len(out.members) == 0 {
		return nil
	}
	return out
}

// changed returns what a member becomes; nil means that it goes.
func changed(old, change *node) *node {
	switch {
	case change.kind == null:
		return nil
	case change.kind != object:
		return change
	case old == nil || old.kind != object:
		return merged(nil, change)
	}
	return merged(old, change)
}

// difference returns what of desired is missing in reported or differs from
// it, or nil: of objects the members that differ, everything else whole. Both
// are objects or nil.
func difference(desired, reported *node) *node {
	if desired == nil {
		return nil
	}
	out := &node{kind: object}
	find := reported.lookup()
	for _, m := range desired.members {
		want, have := m.value, (*node)(nil)
		if i := find(m.name); i >= 0 {
			have = reported.members[i].value
		}
		if have != nil && have.kind == object && want.kind == object {
			want = difference(want, have)
		} else if have != nil && equal(want, have) {
			want = nil
		}
		if want != nil {
			out.members = append(out.members, member{m.name, want})
		}
	}
	if len(out.members) == 0 {
		return nil
	}
	return out
}

// equal compares values: numbers by what they mean, objects without the order
// of their members.
func equal(a, b *node) bool {
	if a.kind != b.kind || len(a.members) != len(b.members) || len(a.items) != len(b.items) {
		return false
	}
	find := b.lookup()
	for _, m := range a.members {
		i := find(m.name)
		if i < 0 || !equal(m.value, b.members[i].value) {
			return false
		}
	}
	for i := range a.items {
		if !equal(a.items[i], b.items[i]) {
			return false
		}
	}
	return a.text == b.text || a.kind == number && sameNumber(a.text, b.text)
}

// sameNumber compares two JSON numbers exactly: by their digits without zeros
// around them and the power of ten of the last one.
func sameNumber(a, b string) bool {
	an, ad, ae := significant(a)
	bn, bd, be := significant(b)
	return ad == bd && (ad == "" || an == bn && ae.Cmp(be) == 0)
}

func significant(s string) (negative bool, digits string, exponent *big.Int) {
	s, negative = strings.CutPrefix(s, "-")
	exponent = new(big.Int)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.ParseInt(s[i+1:], 10, 64); err == nil {
			exponent.SetInt64(e)
		} else {
			exponent.SetString(strings.TrimPrefix(s[i+1:], "+"), 10)
		}
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	exponent.Sub(exponent, big.NewInt(int64(len(fraction))))
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(short))))
	return negative, short, exponent
}
