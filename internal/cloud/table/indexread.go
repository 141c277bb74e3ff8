package table

import (
	"slices"
	"strings"

	"mote/internal/cloud/store"
)

// source is what a Query or Scan reads: the items of a table, or the entries
// of one of its indexes.
type source struct {
	t     *Table // the items, or the entries
	index *Index // nil: none
	base  *Table // of a local index: where the rest of the items is fetched; nil: it is not needed
}

// source returns what the request reads.
func (t *Table) source(r *Reading, e expressions) (source, error) {
	if r.Index == "" {
		return source{t: t}, nil
	}
	x := t.IndexNamed(r.Index)
	switch {
	case x == nil:
		return source{}, invalid("The table does not have the specified index: %s", r.Index)
	case x.Global && r.Consistent:
		return source{}, invalid("Consistent reads are not supported on global secondary indexes")
	case x.Status == IndexCreating:
		return source{}, invalid("Cannot read from backfilling global secondary index: %s", x.Name)
	case x.Status == IndexDeleting:
		return source{}, invalid("Cannot read from deleting global secondary index: %s", x.Name)
	}
	s := source{t: x.entries, index: x}
	if x.Global {
		return s, x.checkWanted(r, e)
	}
	if r.AllAttributes && x.Projection != ProjectAll || len(x.lacks(e.wanted(r))) > 0 {
		s.base = t
	}
	return s, nil
}

// checkWanted refuses what a global index can not give.
func (x *Index) checkWanted(r *Reading, e expressions) error {
	if r.AllAttributes && x.Projection != ProjectAll {
		return invalidParam("Select type ALL_ATTRIBUTES is not supported for global secondary index %s because its projection type is not ALL", x.Name)
	}
	if e.want == nil {
		return nil
	}
	if lacks := x.lacks(e.want.paths); len(lacks) > 0 {
		return invalidParam("Global secondary index %s does not project [%s]", x.Name, clip(strings.Join(lacks, ", "), 1024))
	}
	return nil
}

// wanted are the paths that the filter and the projection look at. PartiQL's
// filter makes do with what the index holds.
func (e *expressions) wanted(r *Reading) (paths [][]step) {
	if !r.PartiQL {
		paths = e.filter.paths()
	}
	if e.want != nil {
		paths = slices.Concat(paths, e.want.paths)
	}
	return paths
}

// lacks returns the attributes in paths that the index does not hold, each once.
func (x *Index) lacks(paths [][]step) (names []string) {
	for _, steps := range paths {
		if name := steps[0].name; !x.Projects(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// fetch returns the whole item of an entry, from the state that the entry was
// read from.
func (s *source) fetch(from store.Reader, entry Item) (Item, int, error) {
	key, err := s.base.appendKey(nil, entry, inKey)
	if err != nil {
		return nil, 0, err
	}
	data, found, err := from.Get(key)
	if err != nil {
		return nil, 0, err
	}
	if !found {
		return nil, 0, errDamaged // entry and item are written in one commit
	}
	item, err := s.base.decode(key, data)
	if err != nil {
		return nil, 0, err
	}
	size, _ := checkMap(item, maxDepth)
	return item, size, nil
}

// charge counts the read units of a page, and those of what a local index took
// from the table.
func (p *Page) charge(from source, units, fetches float64) {
	p.Units = units + fetches
	if x := from.index; x != nil {
		p.Index = &IndexUnits{x.Name, x.Global, units}
	}
}
