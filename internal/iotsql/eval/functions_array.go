package eval

// maxTransformed is how large the result of transform may be, in bytes of JSON
// (AWS IoT SQL reference, "transform").
const maxTransformed = 128 << 10

// transform("enrichArray", object, array) gives each object of the array the
// members of the object that it does not have.
func transform(c *compiler, m *Message, a []Value) Value {
	if a[0].kind != String || a[0].text != "enrichArray" || a[1].kind != Object || a[2].kind != Array {
		return undef
	}
	elems := a[2].Elems()
	out := make([]Value, len(elems))
	for i, e := range elems {
		if e.kind != Object || !m.spend(rowCost*(1+len(e.Members())+len(a[1].Members()))/4) {
			return undef
		}
		out[i] = enrich(e, a[1].Members())
	}
	v := array(out)
	if v.size(c.reduce, maxTransformed) > maxTransformed {
		return undef
	}
	return v
}

// enrich appends the members to those of an Object, whose own win.
func enrich(of Value, members []Member) Value {
	n := &node{members: make([]Member, 0, len(of.Members())+len(members))}
	for _, m := range of.Members() {
		n.set(m.Name, m.Value)
	}
	for _, m := range members {
		if n.find(m.Name) < 0 {
			n.set(m.Name, m.Value)
		}
	}
	return Value{kind: Object, ref: n}
}

// exists says whether a nested SELECT found something.
func exists(v Value) Value {
	if v.kind == Array {
		return boolean(len(v.Elems()) > 0)
	}
	return boolean(v.kind != Undefined)
}
