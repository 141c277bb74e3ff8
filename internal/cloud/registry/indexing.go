package registry

import "encoding/json"

// Indexing says what fleet queries find (AWS IoT API,
// "UpdateIndexingConfiguration"). The empty one is of an account where nobody
// turned it on.
type Indexing struct {
	Things       string   `json:"things,omitempty"` // "REGISTRY", "REGISTRY_AND_SHADOW" or ""
	Connectivity bool     `json:"connectivity,omitempty"`
	Shadows      []string `json:"shadows,omitempty"`      // named shadows that are found, too
	ThingFields  []Field  `json:"thing_fields,omitempty"` // kept and told: values have types of their own here
	Groups       bool     `json:"groups,omitempty"`       // thing groups are found
	GroupFields  []Field  `json:"group_fields,omitempty"` // as ThingFields
}

// Field is a field of the index, with its type.
type Field struct {
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

func (r *Registry) loadIndexing(_ string, data []byte) error {
	return json.Unmarshal(data, &r.indexing)
}

// Indexing returns what fleet queries find; its lists are not to be changed.
func (r *Registry) Indexing() Indexing {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.indexing
}

// UpdateIndexing changes what fleet queries find: f changes a copy.
func (r *Registry) UpdateIndexing(f func(*Indexing) error) error {
	return r.change(func(t *tx) error {
		next := r.indexing
		if err := f(&next); err != nil {
			return err
		}
		t.then(func() { r.indexing = next })
		return t.set(kindIndexing, "", next)
	})
}

// AllThings returns all things by name; they are not to be changed.
func (r *Registry) AllThings() []*Thing {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.things.all()
}

// AllGroups returns all thing groups by name; they are not to be changed.
func (r *Registry) AllGroups() []*ThingGroup {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.groups.all()
}
