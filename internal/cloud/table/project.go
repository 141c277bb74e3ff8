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
	paths [][]step // of the root: what it was made of
}

// parseProjection parses and checks a ProjectionExpression.
func parseProjection(src string, s *scope) (*projection, error) {
	const kind = "ProjectionExpression"
	parsed, err := syntaxes.parse(kind, src, parsePaths)
	if err != nil {
		return nil, err
	}
	c := &checker{kind: kind, scope: s}
	paths := make([][]step, len(parsed.paths))
	for i, steps := range parsed.paths {
		paths[i] = slices.Clone(steps)
		c.resolvePath(paths[i])
	}
	c.checkPaths(paths)
	if err := c.result(); err != nil {
		return nil, err
	}
	return projectionTo(paths), nil
}

// projectionTo makes the tree of paths that do not meet.
func projectionTo(paths [][]step) *projection {
	root := &projection{paths: paths}
	for _, steps := range paths {
		pr := root
		for _, s := range steps {
			pr = pr.child(s)
		}
		pr.whole = true
	}
	return root
}

// CheckAttributes refuses a name that is twice in AttributesToGet.
func CheckAttributes(names []string) error {
	seen := map[string]bool{}
	for _, name := range names {
		if err := checkAttributeName(name); err != nil {
			return err
		}
		if seen[name] {
			return invalidParam("Duplicate value in attribute name: %s", clip(name, 255))
		}
		seen[name] = true
	}
	return nil
}

// projectionOn is the projection on attributes by their names.
func projectionOn(names []string) (*projection, error) {
	if err := CheckAttributes(names); err != nil {
		return nil, err
	}
	paths := make([][]step, len(names))
	for i, name := range names {
		paths[i] = []step{{name: name}}
	}
	return projectionTo(paths), nil
}

// checkScalar refuses paths into keys of the table.
func (pr *projection) checkScalar(t *Table) error {
	if pr == nil {
		return nil
	}
	return t.checkScalar(pr.paths...)
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
