package table

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// holds evaluates a checked condition over an item; a missing item is empty
// (DynamoDB developer guide, "Comparison operator and function reference").
func (n *node) holds(item Item) bool {
	switch n.kind {
	case nodeAnd:
		return !slices.ContainsFunc(n.args, func(arg *node) bool { return !arg.holds(item) })
	case nodeOr:
		return slices.ContainsFunc(n.args, func(arg *node) bool { return arg.holds(item) })
	case nodeNot:
		return !n.args[0].holds(item)
	case nodeFunc:
		return n.funcHolds(item)
	}
	left, ok := n.args[0].eval(item)
	switch n.kind {
	case nodeBetween:
		low, okLow := n.args[1].eval(item)
		high, okHigh := n.args[2].eval(item)
		return ok && okLow && okHigh && ordered(&low, &left, "<=") && ordered(&left, &high, "<=")
	case nodeIn:
		return ok && slices.ContainsFunc(n.args[1:], func(arg *node) bool {
			right, found := arg.eval(item)
			return found && equal(&left, &right)
		})
	}
	right, okRight := n.args[1].eval(item)
	switch both := ok && okRight; n.op {
	case "=":
		return both && equal(&left, &right)
	case "<>":
		return !both || !equal(&left, &right)
	default:
		return both && ordered(&left, &right, n.op)
	}
}

func (n *node) funcHolds(item Item) bool {
	first, ok := n.args[0].eval(item)
	switch n.op {
	case "attribute_exists":
		return ok
	case "attribute_not_exists":
		return !ok
	}
	second, found := n.args[1].eval(item)
	if !ok || !found {
		return false
	}
	switch n.op {
	case "attribute_type":
		return first.Kind.String() == second.Str
	case "begins_with":
		return beginsWith(&first, &second)
	default: // contains: checkFunc let nothing else through
		return contains(&first, &second)
	}
}

// eval returns the value of an operand, or false when there is none.
func (n *node) eval(item Item) (Value, bool) {
	switch n.kind {
	case nodeValue:
		return n.value, true
	case nodePath:
		return lookup(item, n.steps)
	default: // size: checkFunc let nothing else through
		v, ok := n.args[0].eval(item)
		if !ok {
			return v, false
		}
		return size(&v)
	}
}

// lookup follows a path through an item.
func lookup(item Item, steps []step) (Value, bool) {
	v, ok := item[steps[0].name]
	for _, s := range steps[1:] {
		switch {
		case !ok:
			return v, false
		case s.list && v.Kind == L && s.index < len(v.List):
			v = v.List[s.index]
		case !s.list && v.Kind == M:
			v, ok = v.Map[s.name]
		default:
			return v, false
		}
	}
	return v, ok
}

// size is the function of that name: bytes of a text or binary, elements of
// the others. A number, truth value or null has none.
func size(v *Value) (Value, bool) {
	n := 0
	switch v.Kind {
	case S:
		n = len(v.Str)
	case B:
		n = len(v.Bin)
	case L:
		n = len(v.List)
	case M:
		n = len(v.Map)
	case SS, NS, BS:
		n = len(v.Set)
	default:
		return Value{}, false
	}
	return Value{Kind: N, Str: strconv.Itoa(n)}, true
}

// equal compares two values of any kind; different kinds are not equal.
func equal(a, b *Value) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case S, N: // numbers are in canonical form
		return a.Str == b.Str
	case B:
		return bytes.Equal(a.Bin, b.Bin)
	case BOOL:
		return a.Bool == b.Bool
	case L:
		return slices.EqualFunc(a.List, b.List, func(x, y Value) bool { return equal(&x, &y) })
	case M:
		return maps.EqualFunc(a.Map, b.Map, func(x, y Value) bool { return equal(&x, &y) })
	case SS, NS, BS:
		return slices.Equal(slices.Sorted(slices.Values(a.Set)), slices.Sorted(slices.Values(b.Set)))
	}
	return true // NULL
}

// ordered says whether a stands to b as op says; only two texts, numbers or
// binaries have an order.
func ordered(a, b *Value, op string) bool {
	if a.Kind != b.Kind || a.Kind > B {
		return false
	}
	c := cmp.Compare(compareKeyValues(a, b), 0)
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func beginsWith(v, prefix *Value) bool {
	switch {
	case v.Kind != prefix.Kind:
		return false
	case v.Kind == S:
		return strings.HasPrefix(v.Str, prefix.Str)
	}
	return v.Kind == B && bytes.HasPrefix(v.Bin, prefix.Bin)
}

func contains(v, part *Value) bool {
	switch {
	case v.Kind == S && part.Kind == S:
		return strings.Contains(v.Str, part.Str)
	case v.Kind == B && part.Kind == B:
		return bytes.Contains(v.Bin, part.Bin)
	case v.Kind == L:
		return slices.ContainsFunc(v.List, func(x Value) bool { return equal(&x, part) })
	case v.Kind == SS && part.Kind == S, v.Kind == NS && part.Kind == N:
		return slices.Contains(v.Set, part.Str)
	case v.Kind == BS && part.Kind == B:
		return slices.Contains(v.Set, string(part.Bin))
	}
	return false
}
