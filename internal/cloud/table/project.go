package table

import (
	"maps"
	"slices"
)

// projection is a checked ProjectionExpression as a tree: what of a document
// is wanted.
type projection struct {
	whole bool // everything below
	names map[string]*projection
	items map[int]*projection
}

// parseProjection parses and checks a ProjectionExpression.
func parseProjection(src string, s *scope) (*projection, error) {
	paths, p, err := parsePaths("ProjectionExpression", src)
	if err != nil {
		return nil, err
	}
	c := &checker{parser: p, scope: s}
	for _, steps := range paths {
		c.resolvePath(steps)
	}
	root := &projection{}
	if err := c.result(); err != nil {
		return nil, err
	}
	for i, steps := range paths {
		if !root.add(steps) {
			return nil, p.pathConflict(paths[:i], steps)
		}
	}
	return root, nil
}

// add puts a path into the tree; false when it meets another one.
func (pr *projection) add(steps []step) bool {
	for _, s := range steps {
		if pr.whole || s.list && pr.names != nil || !s.list && pr.items != nil {
			return false
		}
		pr = pr.child(s)
	}
	if pr.whole || pr.names != nil || pr.items != nil {
		return false
	}
	pr.whole = true
	return true
}

func (pr *projection) child(s step) *projection {
	if s.list {
		if pr.items == nil {
			pr.items = map[int]*projection{}
		}
		if pr.items[s.index] == nil {
			pr.items[s.index] = &projection{}
		}
		return pr.items[s.index]
	}
	if pr.names == nil {
		pr.names = map[string]*projection{}
	}
	if pr.names[s.name] == nil {
		pr.names[s.name] = &projection{}
	}
	return pr.names[s.name]
}

// pathConflict is the refusal of a path that meets one of the others.
func (p *parser) pathConflict(others [][]step, steps []step) error {
	for _, other := range others {
		n := 0
		for n < len(other) && n < len(steps) && other[n] == steps[n] {
			n++
		}
		switch {
		case n == len(other) || n == len(steps):
			return p.errorf("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", showPath(other), showPath(steps))
		case other[n].list != steps[n].list:
			return p.errorf("Two document paths conflict with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", showPath(other), showPath(steps))
		}
	}
	return p.syntaxError() // not reached: add refused a path for one of the two reasons
}

// item returns what the projection wants of an item; nil wants everything.
func (pr *projection) item(item Item) Item {
	if pr == nil {
		return item
	}
	out := Item{}
	for name, below := range pr.names {
		if v, ok := item[name]; ok {
			if v, ok = below.value(v); ok {
				out[name] = v
			}
		}
	}
	return out
}

func (pr *projection) value(v Value) (Value, bool) {
	switch {
	case pr.whole:
		return v, true
	case pr.names != nil && v.Kind == M:
		m := pr.item(v.Map)
		return Value{Kind: M, Map: m}, len(m) > 0
	case pr.items != nil && v.Kind == L:
		list := pr.list(v.List)
		return Value{Kind: L, List: list}, len(list) > 0
	}
	return Value{}, false
}

// list keeps the wanted elements in their order, without gaps.
func (pr *projection) list(list []Value) []Value {
	var out []Value
	for _, i := range slices.Sorted(maps.Keys(pr.items)) {
		if i >= len(list) {
			break
		}
		if v, ok := pr.items[i].value(list[i]); ok {
			out = append(out, v)
		}
	}
	return out
}
