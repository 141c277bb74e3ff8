package eval

import "sync/atomic"

// manyNames is from how many members on a map finds one faster than a walk.
const manyNames = 32

// at makes the value of a token. An Array or Object stays unopened: it is the
// document and the number of its token.
func (d *document) at(i uint32) Value {
	t := &d.tokens[i]
	switch t.kind() {
	case Bool:
		return boolean(t.has(isTrue))
	case Int, Decimal:
		return d.numberAt(t)
	case String:
		return text(d.str1(t))
	case Array, Object:
		return Value{kind: t.kind(), coef: int64(i), ref: &d.lazy}
	}
	return null
}

// numberAt is the value of the token of a number.
func (d *document) numberAt(t *token) Value {
	s := d.src[t.start:t.end]
	if t.has(isSmall) {
		return Value{kind: t.kind(), small: true, exp: -int32(t.count()), coef: int64(t.data), text: s}
	}
	return number(s)
}

// put sets dst, which is Undefined, to what at gives, for the kinds that most
// members have; false says that it is another.
func (d *document) put(at uint32, dst *Value) bool {
	t := &d.tokens[at]
	switch {
	case t.info&(isSmall|mayBeWhole) == isSmall:
		dst.small, dst.exp, dst.coef = true, -int32(t.count()), int64(t.data)
	case t.kind() != String || t.has(isEscaped):
		return false
	}
	dst.kind, dst.text = t.kind(), d.src[t.start:t.end]
	return true
}

// str1 is the text of a String or a name.
func (d *document) str1(t *token) string {
	s := d.src[t.start:t.end]
	if !t.has(isEscaped) {
		return s
	}
	return unescaped(s)
}

// unopened returns where v is in its document; nil when it is in none.
func (v Value) unopened() (*document, uint32) {
	if v.ref == nil || v.ref.doc == nil {
		return nil, 0
	}
	return v.ref.doc, uint32(v.coef)
}

// open returns the parts of an Array or Object.
func (v Value) open() *node {
	if d, at := v.unopened(); d != nil {
		return d.open(at)
	}
	return v.ref
}

func (d *document) open(at uint32) *node {
	if d.lastNode != nil && d.lastAt == at {
		return d.lastNode
	}
	d.lastAt, d.lastNode = at, d.openNew(at)
	return d.lastNode
}

func (d *document) openNew(at uint32) *node {
	t := &d.tokens[at]
	if t.kind() == Array {
		n := d.newArray(t.count())
		for i := at + 1; i < t.next; i = d.tokens[i].next {
			n.elems = append(n.elems, d.at(i))
		}
		return n
	}
	n := d.newObject(t.count())
	distinct := d.distinct(at)
	if distinct && t.count() > manyMembers {
		defer n.makeIndex()
	}
	for i := at + 1; i < t.next; i = d.tokens[i+1].next {
		if name := d.str1(&d.tokens[i]); distinct {
			n.members = append(n.members, Member{name, d.at(i + 1)})
		} else {
			n.set(name, d.at(i+1))
		}
	}
	return n
}

func (d *document) newArray(elems int) *node {
	if d.work == nil {
		return &node{elems: make([]Value, 0, elems)}
	}
	n := d.work.object(0)
	n.elems = d.work.room(elems)[:0]
	return n
}

func (d *document) newObject(members int) *node {
	if d.work == nil {
		return objectNode(members)
	}
	return d.work.object(members)
}

// distinct says whether all names of an object surely differ.
func (d *document) distinct(at uint32) bool {
	t := &d.tokens[at]
	return t.has(isDistinct) || t.count() == 0 || t.count() > manyNames && len(d.names(at)) == t.count()
}

// find returns the token of the value of a member, 0 when there is none. Of two
// with one name the last one counts.
func (d *document) find(obj uint32, name string) uint32 {
	t := &d.tokens[obj]
	if t.count() > manyNames {
		return d.names(obj)[name]
	}
	return d.findBefore(obj, t.next, name)
}

// findBefore is find among the members before the token end.
func (d *document) findBefore(obj, end uint32, name string) uint32 {
	info, print := nameInfo(len(name)), printOf(name)
	found, tokens := uint32(0), d.tokens
	for i := obj + 1; i < end; i = tokens[i+1].next {
		t := &tokens[i]
		switch {
		case t.info == info && t.data == print:
			if d.src[t.start:t.end] == name {
				found = i + 1
			}
		case t.info&isEscaped != 0:
			if d.str1(t) == name {
				found = i + 1
			}
		}
	}
	return found
}

// names returns the tokens of the values of an object with many members.
func (d *document) names(obj uint32) map[string]uint32 {
	if names := d.byName[obj]; names != nil {
		return names
	}
	t := &d.tokens[obj]
	names := make(map[string]uint32, t.count())
	for i := obj + 1; i < t.next; i = d.tokens[i+1].next {
		names[d.str1(&d.tokens[i])] = i + 1
	}
	if d.byName == nil {
		d.byName = map[uint32]map[string]uint32{}
	}
	d.byName[obj] = names
	return names
}

// path is a chain of members that a place in a statement looks for.
type path []step

// step is one name of a path. Messages are much alike: hint is where it was in
// the last object, counted from the object.
type step struct {
	name string
	info uint32 // of the token of such a name, and its data
	data uint64
	hint atomic.Uint32
}

func newPath(names []string) path {
	p := make(path, len(names))
	for i, name := range names {
		p[i].name, p[i].info, p[i].data = name, nameInfo(len(name)), printOf(name)
	}
	return p
}

// step returns the token of the value of a member of what is at obj; 0 when it
// is no object, or has no such member.
func (d *document) step(obj uint32, s *step) uint32 {
	t := &d.tokens[obj]
	if i := obj + s.hint.Load(); t.info&(kindBits|isDistinct) == uint32(Object)|isDistinct && i+1 < t.next && d.isName(i, obj, s) {
		return i + 1
	}
	return d.search(obj, s)
}

// search is step where the hint is wrong.
func (d *document) search(obj uint32, s *step) uint32 {
	t := &d.tokens[obj]
	switch {
	case t.kind() != Object:
		return 0
	case !t.has(isDistinct) || t.count() > manyNames:
		return d.find(obj, s.name)
	}
	for i := obj + 1; i < t.next; i = d.tokens[i+1].next {
		if d.isName(i, obj, s) {
			s.hint.Store(i - obj)
			return i + 1
		}
	}
	return 0
}

// isName says whether token i is the name of a step in the object at obj, in
// which no name is escaped.
func (d *document) isName(i, obj uint32, s *step) bool {
	t := &d.tokens[i]
	return t.info == s.info && t.data == s.data && t.next == obj && (len(s.name) <= 8 || d.src[t.start:t.end] == s.name)
}

// get returns the member called name of the object at at.
func (d *document) get(at uint32, name string) Value {
	if d.tokens[at].kind() != Object {
		return undef
	}
	if i := d.find(at, name); i != 0 {
		return d.at(i)
	}
	return undef
}

func getAll(v Value, names []string) Value {
	for _, n := range names {
		v = v.Get(n)
	}
	return v
}

// tree makes the value of a token and of all below it, apart from the document.
func (d *document) tree(at uint32) Value {
	v := d.at(at)
	switch v.kind {
	case Array:
		n := d.openNew(at)
		for i := range n.elems {
			n.elems[i] = n.elems[i].tree()
		}
		return Value{kind: Array, ref: n}
	case Object:
		n := d.openNew(at)
		for i := range n.members {
			n.members[i].Value = n.members[i].Value.tree()
		}
		return Value{kind: Object, ref: n}
	}
	return v
}

func (v Value) tree() Value {
	if d, at := v.unopened(); d != nil {
		return d.tree(at)
	}
	return v
}

// append appends the value of a token as appendJSON does.
func (d *document) append(dst []byte, at uint32, reduce bool, limit int) []byte {
	t := &d.tokens[at]
	switch t.kind() {
	case String:
		if t.has(isEscaped) {
			return appendString(dst, d.str1(t))
		}
		return append(dst, d.src[t.start-1:t.end+1]...)
	case Array, Object:
		if len(dst) > limit {
			return dst
		}
		if t.has(isPlain) && d.allDistinct(at) {
			return append(dst, d.src[t.start:t.end]...)
		}
		if t.kind() == Array {
			return d.appendArray(dst, at, reduce, limit)
		}
		return d.appendObject(dst, at, reduce, limit)
	}
	if reduce && t.has(mayBeWhole) && t.kind() == Decimal {
		v := d.at(at).reduce()
		return v.appendNumber(dst)
	}
	return append(dst, d.src[t.start:t.end]...)
}

// allDistinct says whether no object at or below at has a name twice.
func (d *document) allDistinct(at uint32) bool {
	for i, end := at, d.tokens[at].next; i < end; i++ {
		if d.tokens[i].kind() == Object && !d.distinct(i) {
			return false
		}
	}
	return true
}

func (d *document) appendArray(dst []byte, at uint32, reduce bool, limit int) []byte {
	dst = append(dst, '[')
	for i, end := at+1, d.tokens[at].next; i < end; i = d.tokens[i].next {
		if i > at+1 {
			dst = append(dst, ',')
		}
		if dst = d.append(dst, i, reduce, limit); len(dst) > limit {
			return dst
		}
	}
	return append(dst, ']')
}

func (d *document) appendObject(dst []byte, at uint32, reduce bool, limit int) []byte {
	if !d.distinct(at) {
		opened := Value{kind: Object, ref: d.open(at)}
		return opened.appendJSON(dst, reduce, limit)
	}
	dst = append(dst, '{')
	for i, end := at+1, d.tokens[at].next; i < end; i = d.tokens[i+1].next {
		if i > at+1 {
			dst = append(dst, ',')
		}
		t := &d.tokens[i]
		dst = append(dst, d.src[t.start-1:t.end+1]...)
		dst = append(dst, ':')
		if dst = d.append(dst, i+1, reduce, limit); len(dst) > limit {
			return dst
		}
	}
	return append(dst, '}')
}
