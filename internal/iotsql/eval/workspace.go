package eval

import "sync"

// workspace is the memory that statements need while they run over a message.
// It is kept for other messages once the message is released.
type workspace struct {
	doc    document
	scopes []scope  // of the nested SELECTs that are running, the innermost last
	vars   []Value  // of the SET clause of varsOf
	varsOf *Program // nil: of none

	values  []Value  // chunks that are handed out piece by piece
	members []Member // and are clear behind their length
	nodes   []node
}

// Sizes of the chunks, and how large the parts of a workspace may be that is
// kept: a huge message must not keep its memory.
const (
	valueChunk  = 64
	memberChunk = 64
	nodeChunk   = 24
	keptTokens  = 4 << 10
)

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// space returns the workspace of the message.
func (m *Message) space() *workspace {
	if m.work == nil {
		m.work = workspaces.Get().(*workspace)
	}
	return m.work
}

// Release gives back the memory that running statements over the message took.
// No Value and no Result of the message may be used after that; texts stay
// good. The message can be used again. A message that is never released costs
// more, and nothing else.
func (m *Message) Release() {
	w := m.work
	m.state, m.work = notParsed, nil
	if w == nil || !w.doc.forget() {
		return
	}
	if cap(w.scopes) > 0 {
		clear(w.scopes[:cap(w.scopes)])
		w.scopes = w.scopes[:0]
	}
	clear(w.vars)
	clear(w.values)
	clear(w.members)
	clear(w.nodes)
	w.vars, w.varsOf, w.values, w.members, w.nodes = w.vars[:0], nil, w.values[:0], w.members[:0], w.nodes[:0]
	workspaces.Put(w)
}

// forget drops what a document refers to; it returns false when the document is
// too large to be kept.
func (d *document) forget() bool {
	d.src, d.byName, d.lastNode = "", nil, nil
	return len(d.tokens) <= keptTokens
}

// room returns n values, Undefined, that are good until the message is released.
func (w *workspace) room(n int) []Value {
	if n > valueChunk/2 {
		return make([]Value, n)
	}
	if len(w.values)+n > cap(w.values) {
		w.values = make([]Value, 0, valueChunk)
	}
	at := len(w.values)
	w.values = w.values[:at+n]
	return w.values[at : at+n : at+n]
}

// object returns an empty object with room for n members, good until the
// message is released.
func (w *workspace) object(n int) *node {
	if len(w.nodes) == cap(w.nodes) {
		w.nodes = make([]node, 0, nodeChunk)
	}
	w.nodes = w.nodes[:len(w.nodes)+1]
	out := &w.nodes[len(w.nodes)-1]
	if n > memberChunk/2 {
		out.members = make([]Member, 0, n)
		return out
	}
	if len(w.members)+n > cap(w.members) {
		w.members = make([]Member, 0, memberChunk)
	}
	at := len(w.members)
	w.members = w.members[:at+n]
	out.members = w.members[at : at : at+n]
	return out
}

// array makes an Array, good until the message is released.
func (w *workspace) array(elems []Value) Value {
	n := w.object(0)
	n.elems = elems
	return Value{kind: Array, ref: n}
}
