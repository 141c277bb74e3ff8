package registry

import "maps"

// Limits of tags (AWS IoT API, "Tag").
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// Tags returns the tags of a resource, for example "policy/a".
func (r *Registry) Tags(resource string) map[string]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.tags[resource])
}

// SetTags adds tags to a resource and takes others from it, by key. That the
// resource exists is for the caller to know.
func (r *Registry) SetTags(resource string, add map[string]string, drop []string) error {
	if len(add) == 0 && len(drop) == 0 {
		return nil
	}
	return r.change(func(t *tx) error {
		all := maps.Clone(r.tags[resource])
		if all == nil {
			all = map[string]string{}
		}
		for _, k := range drop {
			delete(all, k)
		}
		maps.Copy(all, add)
		return r.putTags(t, resource, all)
	})
}

// DropTags forgets all tags of a resource.
func (r *Registry) DropTags(resource string) error {
	return r.change(func(t *tx) error {
		if len(r.tags[resource]) == 0 {
			return nil
		}
		return r.putTags(t, resource, nil)
	})
}

func (r *Registry) putTags(t *tx, resource string, tags map[string]string) error {
	if err := CheckTags(tags); err != nil {
		return err
	}
	if len(tags) == 0 {
		t.delete(kindTags, resource)
		t.then(func() { delete(r.tags, resource) })
		return nil
	}
	t.then(func() { r.tags[resource] = tags })
	return t.set(kindTags, resource, tags)
}

// newTags gives a new resource its tags, if any.
func (r *Registry) newTags(t *tx, resource string, tags map[string]string) error {
	if len(tags) == 0 {
		return nil
	}
	return r.putTags(t, resource, tags)
}

// noTags forgets the tags of a resource that is deleted.
func (r *Registry) noTags(t *tx, resource string) {
	t.delete(kindTags, resource)
	t.then(func() { delete(r.tags, resource) })
}

// CheckTags refuses tags that SetTags would refuse.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return errorf(InvalidRequest, "a resource can have %d tags, not %d", maxTags, len(tags))
	}
	for k, v := range tags {
		if err := checkTag(k, v); err != nil {
			return err
		}
	}
	return nil
}

func checkTag(k, v string) error {
	switch {
	case k == "" || len([]rune(k)) > maxTagKey:
		return errorf(InvalidRequest, "the tag key %q is not valid: it must have 1 to %d characters", short(k), maxTagKey)
	case len(k) >= 4 && k[:4] == "aws:":
		return errorf(InvalidRequest, "the tag key %q is not valid: keys that begin with aws: are reserved", short(k))
	case len([]rune(v)) > maxTagValue:
		return errorf(InvalidRequest, "the value of tag %q has more than %d characters", short(k), maxTagValue)
	}
	return nil
}
