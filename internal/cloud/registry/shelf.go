package registry

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
)

// shelf is a map whose keys can be walked in order.
type shelf[T any] struct {
	items map[string]T
	keys  []string // sorted
}

func newShelf[T any]() shelf[T] { return shelf[T]{items: map[string]T{}} }

func (s *shelf[T]) get(key string) (T, bool) {
	v, ok := s.items[key]
	return v, ok
}

// find is get, with a refusal that says what is missing.
func (s *shelf[T]) find(what, key string) (T, error) {
	v, ok := s.items[key]
	if !ok {
		return v, errorf(NotFound, "%s %s does not exist", what, short(key))
	}
	return v, nil
}

// copies returns what is on the shelf under the keys.
func copies[T any](s *shelf[*T], keys []string) []T {
	out := make([]T, len(keys))
	for i, k := range keys {
		out[i] = *s.items[k]
	}
	return out
}

func (s *shelf[T]) put(key string, v T) {
	if _, ok := s.items[key]; !ok {
		s.keys = insert(s.keys, key)
	}
	s.items[key] = v
}

func (s *shelf[T]) drop(key string) {
	delete(s.items, key)
	s.keys = remove(s.keys, key)
}

// all returns the values by their keys.
func (s *shelf[T]) all() []T {
	out := make([]T, len(s.keys))
	for i, key := range s.keys {
		out[i] = s.items[key]
	}
	return out
}

// insert puts key into a sorted list that does not have it twice.
func insert(list []string, key string) []string {
	i, found := slices.BinarySearch(list, key)
	if found {
		return list
	}
	return slices.Insert(list, i, key)
}

func remove(list []string, key string) []string {
	if i, found := slices.BinarySearch(list, key); found {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// relation is a set of pairs that can be read from both sides, in order.
type relation struct{ byLeft, byRight map[string][]string }

func newRelation() relation {
	return relation{map[string][]string{}, map[string][]string{}}
}

func (r *relation) add(left, right string) {
	r.byLeft[left] = insert(r.byLeft[left], right)
	r.byRight[right] = insert(r.byRight[right], left)
}

func (r *relation) drop(left, right string) {
	dropFrom(r.byLeft, left, right)
	dropFrom(r.byRight, right, left)
}

func dropFrom(m map[string][]string, key, value string) {
	if m[key] = remove(m[key], value); len(m[key]) == 0 {
		delete(m, key)
	}
}

// dropLeft removes all pairs with that left side.
func (r *relation) dropLeft(left string) {
	for _, right := range slices.Clone(r.byLeft[left]) {
		r.drop(left, right)
	}
}

// dropRight removes all pairs with that right side.
func (r *relation) dropRight(right string) {
	for _, left := range slices.Clone(r.byRight[right]) {
		r.drop(left, right)
	}
}

func (r *relation) has(left, right string) bool {
	_, found := slices.BinarySearch(r.byRight[right], left) // the shorter list as a rule
	return found
}

// left returns the left sides that belong to right; not to be changed.
func (r *relation) left(right string) []string { return r.byRight[right] }

// right returns the right sides that belong to left; not to be changed.
func (r *relation) right(left string) []string { return r.byLeft[left] }

// maxPage is the greatest number of entries on a page unless the operation has
// its own.
const maxPage = 250

// Page says which part of a list is wanted.
type Page struct {
	Limit      int    // entries; 0 means Default
	Default    int    // entries when no Limit is asked for; 0 means Max
	Max        int    // the greatest Limit; 0 means 250
	Token      string // "" or what came with the page before
	Descending bool   // only where a list is ordered by creation
}

// tokenVersion is the first byte of what a token holds before the last key of
// the page before.
const tokenVersion = '1'

// Cut returns the part of the sorted keys that p asks for, of those that keep
// accepts (nil: all), and the token of the next part, "" at the end. A token
// stays good when entries come and go.
func Cut(keys []string, p Page, keep func(string) bool) ([]string, string, error) {
	if p.Max == 0 {
		p.Max = maxPage
	}
	if p.Limit == 0 {
		p.Limit = cmp.Or(p.Default, p.Max)
	}
	if p.Limit < 1 || p.Limit > p.Max {
		return nil, "", errorf(InvalidRequest, "the page size %d is not from 1 to %d", p.Limit, p.Max)
	}
	from, err := start(keys, p)
	if err != nil {
		return nil, "", err
	}
	step := 1
	if p.Descending {
		step = -1
	}
	var out []string
	for i := from; i >= 0 && i < len(keys); i += step {
		if keep != nil && !keep(keys[i]) {
			continue
		}
		if len(out) == p.Limit {
			last := string(tokenVersion) + out[len(out)-1]
			return out, base64.RawURLEncoding.EncodeToString([]byte(last)), nil
		}
		out = append(out, keys[i])
	}
	return out, "", nil
}

// start is the index of the first entry of the page.
func start(keys []string, p Page) (int, error) {
	if p.Token == "" {
		if p.Descending {
			return len(keys) - 1, nil
		}
		return 0, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err != nil || len(data) == 0 || data[0] != tokenVersion {
		return 0, errorf(InvalidRequest, "the paging token %q is not one that a list operation returned", short(p.Token))
	}
	i, found := slices.BinarySearch(keys, string(data[1:]))
	switch {
	case p.Descending:
		return i - 1, nil
	case found:
		return i + 1, nil
	}
	return i, nil
}

// short bounds what a client can put into a message.
func short(s string) string {
	const limit = 200
	if len(s) > limit {
		return fmt.Sprintf("%.*s…", limit, s)
	}
	return s
}
