package table

import (
	"maps"
	"math/big"
	"slices"
	"strconv"
)

// Refusals of updates that the item does not allow.
var (
	errNoAttribute = invalid("The provided expression refers to an attribute that does not exist in the item")
	errUpdatePath  = invalid("The document path provided in the update expression is invalid for update")
	errOperandType = invalid("An operand in the update expression has an incorrect data type")
	errLegacyType  = invalid("Type mismatch for attribute to update")
)

// edit is what an update does to one place of a document: to what is below it,
// or to the place itself.
type edit struct {
	names map[string]*edit
	items map[int]*edit // by the indexes of the old list

	leaf  bool
	value *Value // of a leaf; nil: the place goes
}

// run makes the new image of an item from its old one; nil is no item. key
// holds the key attributes. Every action sees the old image; a list's indexes
// are those of the old list. What only removes makes no item.
func (u *update) run(old, key Item) (Item, error) {
	base := old
	if base == nil {
		base = key
	}
	values, err := u.setValues(base)
	if err != nil {
		return nil, err
	}
	root := &edit{}
	writes := len(u.actions) == 0
	for i := range u.actions {
		a := &u.actions[i]
		adds := a.section == sectionSet || a.section == sectionAdd
		writes = writes || adds
		if old == nil && !adds {
			continue // DynamoDB looks at no path then
		}
		if err := u.edit(root, a, base, values[i]); err != nil {
			return nil, err
		}
	}
	if old == nil && !writes {
		return nil, nil
	}
	return root.item(base), nil
}

// setValues computes the right sides of SET, nil for other actions.
func (u *update) setValues(base Item) ([]*Value, error) {
	values := make([]*Value, len(u.actions))
	for i, a := range u.actions {
		if a.section != sectionSet {
			continue
		}
		v, err := a.value.compute(base)
		if err != nil {
			return nil, err
		}
		values[i] = &v
	}
	return values, nil
}

// edit adds to root what one action does.
func (u *update) edit(root *edit, a *action, base Item, value *Value) error {
	last := len(a.path) - 1
	if last > 0 {
		parent, ok := lookup(base, a.path[:last])
		if list := a.path[last].list; !ok || list && parent.Kind != L || !list && parent.Kind != M {
			return errUpdatePath
		}
	}
	old, found := lookup(base, a.path)
	switch a.section {
	case sectionAdd:
		v, err := u.add(old, found, &a.value.value)
		if err != nil {
			return err
		}
		value = &v
	case sectionDelete:
		if !found {
			return nil
		}
		if old.Kind != a.value.value.Kind {
			return u.mismatch()
		}
		value = without(old, a.value.value.Set)
	}
	e := root
	for _, s := range a.path {
		e = e.child(s)
	}
	e.leaf, e.value = true, value
	return nil
}

func (u *update) mismatch() error {
	if u.legacy {
		return errLegacyType
	}
	return errOperandType
}

// add is the action ADD: a number to a number, elements to a set, and in
// AttributeUpdates elements to a list.
func (u *update) add(old Value, found bool, v *Value) (Value, error) {
	switch {
	case !found:
		return *v, nil
	case old.Kind != v.Kind:
		return old, u.mismatch()
	case v.Kind == N:
		return sum(old.Str, v.Str, false)
	case v.Kind == L:
		return List(slices.Concat(old.List, v.List)...), nil
	}
	return union(old, v.Set), nil
}

// union is a set with more elements.
func union(old Value, more []string) Value {
	have := make(map[string]bool, len(old.Set))
	for _, e := range old.Set {
		have[e] = true
	}
	set := slices.Clone(old.Set)
	for _, e := range more {
		if !have[e] {
			set = append(set, e)
		}
	}
	return Value{Kind: old.Kind, Set: set}
}

// without is a set with fewer elements, nil when none is left.
func without(old Value, less []string) *Value {
	drop := make(map[string]bool, len(less))
	for _, e := range less {
		drop[e] = true
	}
	set := slices.DeleteFunc(slices.Clone(old.Set), func(e string) bool { return drop[e] })
	if len(set) == 0 {
		return nil
	}
	return &Value{Kind: old.Kind, Set: set}
}

func (e *edit) child(s step) *edit {
	if s.list {
		if e.items == nil {
			e.items = map[int]*edit{}
		}
		if e.items[s.index] == nil {
			e.items[s.index] = &edit{}
		}
		return e.items[s.index]
	}
	if e.names == nil {
		e.names = map[string]*edit{}
	}
	if e.names[s.name] == nil {
		e.names[s.name] = &edit{}
	}
	return e.names[s.name]
}

// item returns an edited copy, which shares with old what was not edited.
func (e *edit) item(old Item) Item {
	m := maps.Clone(old)
	if m == nil {
		m = Item{}
	}
	for name, below := range e.names {
		switch {
		case !below.leaf:
			m[name] = below.nested(m[name])
		case below.value == nil:
			delete(m, name)
		default:
			m[name] = *below.value
		}
	}
	return m
}

func (e *edit) nested(old Value) Value {
	if old.Kind == M {
		return Map(e.item(old.Map))
	}
	return Value{Kind: L, List: e.list(old.List)}
}

// list returns an edited copy; what is set beyond its end is appended in the
// order of the indexes.
func (e *edit) list(old []Value) []Value {
	list := make([]Value, 0, len(old)+len(e.items))
	for i, v := range old {
		below := e.items[i]
		switch {
		case below == nil:
			list = append(list, v)
		case !below.leaf:
			list = append(list, below.nested(v))
		case below.value != nil:
			list = append(list, *below.value)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(e.items)) {
		if below := e.items[i]; i >= len(old) && below.value != nil {
			list = append(list, *below.value)
		}
	}
	return list
}

// compute returns the value of the right side of a SET.
func (n *node) compute(base Item) (Value, error) {
	switch {
	case n.kind == nodeValue:
		return n.value, nil
	case n.kind == nodePath:
		v, ok := lookup(base, n.steps)
		if !ok {
			return v, errNoAttribute
		}
		return v, nil
	case n.op == "if_not_exists":
		if v, ok := lookup(base, n.args[0].steps); ok {
			return v, nil
		}
		return n.args[1].compute(base)
	}
	return n.combine(base)
}

// combine computes list_append, + and -.
func (n *node) combine(base Item) (Value, error) {
	want := N
	if n.op == "list_append" {
		want = L
	}
	var v [2]Value
	for i := range v {
		var err error
		if v[i], err = n.args[i].compute(base); err != nil {
			return v[i], err
		}
		if v[i].Kind != want {
			return v[i], errOperandType
		}
	}
	if want == L {
		return List(slices.Concat(v[0].List, v[1].List)...), nil
	}
	return sum(v[0].Str, v[1].Str, n.op == "-")
}

// errOverflow is DynamoDB's text for a sum that is too large, and for one that
// needs more than 38 digits: it does not round.
var errOverflow = invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")

// sum adds or subtracts two canonical numbers exactly.
func sum(a, b string, minus bool) (Value, error) {
	x, errX := parseDecimal(a)
	y, errY := parseDecimal(b)
	if errX != nil || errY != nil {
		return Value{}, errOperandType
	}
	exp := min(x.exponent(), y.exponent())
	total, other := x.scaled(exp), y.scaled(exp)
	if minus {
		total.Sub(total, other)
	} else {
		total.Add(total, other)
	}
	v, err := Number(total.String() + "e" + strconv.Itoa(exp))
	if err != nil {
		return v, errOverflow
	}
	return v, nil
}

// exponent is the power of ten of the last digit.
func (d *decimal) exponent() int { return d.point - d.n }

// scaled is the number in units of ten to the power exp, which is not above
// its exponent.
func (d *decimal) scaled(exp int) *big.Int {
	n := new(big.Int)
	for _, digit := range d.digits[:d.n] {
		n.Add(n.Mul(n, big.NewInt(10)), big.NewInt(int64(digit)))
	}
	if d.neg {
		n.Neg(n)
	}
	return n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.exponent()-exp)), nil))
}
