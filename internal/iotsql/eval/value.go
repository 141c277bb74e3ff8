// Package eval gives IoT SQL its meaning: it compiles a statement once into
// closures and runs it over one message (AWS IoT developer guide, "AWS IoT SQL
// reference"). What it does not offer is refused when a statement is
// compiled, by name and place. At run time nothing fails: what has no value is
// Undefined.
//
// Numbers keep their digits from the payload to the result, and arithmetic is
// decimal and exact to 34 digits. A message is parsed at most once, however
// many statements look at it. Everything a message or a statement can make
// grow is bounded.
package eval

// Kind is the type of a Value.
type Kind uint8

// The types of IoT SQL (AWS IoT SQL reference, "Data types").
const (
	Undefined Kind = iota
	Null
	Bool
	Int
	Decimal
	String
	Array
	Object
)

// Value is one value; the zero Value is Undefined. A Value is never changed
// once it is made, so values share their parts.
type Value struct {
	kind  Kind
	small bool  // a number: it is coef × 10^exp
	exp   int32 // of a small number; 0 for Int
	coef  int64 // of a small number; 1 for true
	text  string
	ref   *node
}

// An Array or Object of a message is not opened until something looks into it:
// ref is then the lazy node of its document and coef the number of its token.
// Use Elems, Members, Get and Len, which open it, and never ref.
//
// A number is small, or has a text, or both: text is then how the payload
// wrote it.

// node holds the parts of an Array or an Object.
type node struct {
	elems   []Value
	members []Member
	index   map[string]int32 // of members by name, when there are many
	ours    bool             // of a result that is still being made: it may be changed
	doc     *document        // of Values that are not opened: their document; nil otherwise
}

// Member is one member of an Object.
type Member struct {
	Name  string
	Value Value
}

var (
	null  = Value{kind: Null}
	yes   = Value{kind: Bool, coef: 1}
	no    = Value{kind: Bool}
	undef = Value{}
)

// Kind returns the type of v.
func (v Value) Kind() Kind { return v.kind }

// Bool returns the truth of a Bool.
func (v Value) Bool() bool { return v.kind == Bool && v.coef != 0 }

// Text returns the text of a String, or the digits of a number as JSON.
func (v Value) Text() string {
	if v.text == "" && v.isNumber() {
		return string(v.appendNumber(nil))
	}
	return v.text
}

// Elems returns the elements of an Array. They must not be changed.
func (v Value) Elems() []Value {
	if v.kind != Array {
		return nil
	}
	return v.open().elems
}

// Members returns the members of an Object, in order. They must not be changed.
func (v Value) Members() []Member {
	if v.kind != Object {
		return nil
	}
	return v.open().members
}

// Len returns how many elements or members v has; of a message that names a
// member twice it may count both.
func (v Value) Len() int {
	if d, at := v.unopened(); d != nil {
		return d.tokens[at].count()
	}
	switch v.kind {
	case Array:
		return len(v.ref.elems)
	case Object:
		return len(v.ref.members)
	}
	return 0
}

// Get returns the member called name of an Object, Undefined when v has none.
func (v Value) Get(name string) Value {
	if v.kind != Object {
		return undef
	}
	if d, at := v.unopened(); d != nil {
		return d.get(at, name)
	}
	return v.ref.get(name)
}

func (n *node) get(name string) Value {
	if i := n.find(name); i >= 0 {
		return n.members[i].Value
	}
	return undef
}

func (v Value) isNumber() bool { return v.kind == Int || v.kind == Decimal }

func boolean(b bool) Value {
	if b {
		return yes
	}
	return no
}

func text(s string) Value { return Value{kind: String, text: s} }

func integer(i int64) Value { return Value{kind: Int, small: true, coef: i} }

// array makes an Array; Undefined elements are left out as the
// undefined members of an Object are.
func array(elems []Value) Value {
	kept := elems[:0]
	for _, e := range elems {
		if e.kind != Undefined {
			kept = append(kept, e)
		}
	}
	return Value{kind: Array, ref: &node{elems: kept}}
}

// manyMembers is from how many members on a map finds them faster than a walk.
const manyMembers = 16

func (n *node) find(name string) int {
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return int(i)
		}
		return -1
	}
	return find(n.members, name)
}

func find(members []Member, name string) int {
	for i := range members {
		if members[i].Name == name {
			return i
		}
	}
	return -1
}

// set adds a member or replaces the one of that name, in its place.
func (n *node) set(name string, v Value) {
	if i := n.find(name); i >= 0 {
		n.members[i].Value = v
		return
	}
	n.members = append(n.members, Member{name, v})
	switch {
	case n.index != nil:
		n.index[name] = int32(len(n.members) - 1)
	case len(n.members) > manyMembers:
		n.makeIndex()
	}
}

func (n *node) makeIndex() {
	if n.index != nil {
		return
	}
	n.index = make(map[string]int32, 2*len(n.members))
	for i := range n.members {
		n.index[n.members[i].Name] = int32(i)
	}
}

// equal is = of two defined values (AWS IoT SQL reference, "= operator"):
// values of different types differ, Int and Decimal are one type here.
func equal(a, b Value) bool {
	if a.isNumber() && b.isNumber() {
		return compare(a, b) == 0
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case Bool:
		return a.coef == b.coef
	case String:
		return a.text == b.text
	case Array:
		return equalElems(a.Elems(), b.Elems())
	case Object:
		return equalMembers(a.open(), b.open())
	}
	return true // Null
}

func equalElems(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func equalMembers(a, b *node) bool {
	if len(a.members) != len(b.members) {
		return false
	}
	for _, m := range a.members {
		i := b.find(m.Name)
		if i < 0 || !equal(m.Value, b.members[i].Value) {
			return false
		}
	}
	return true
}
