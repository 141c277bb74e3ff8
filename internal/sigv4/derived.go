package sigv4

import (
	"maps"
	"sync/atomic"
)

// derivation is what a signing key is made of.
type derivation struct{ secret, day, region, service string }

// derived are the signing keys of the callers that came last.
var derived keyCache

// maxDerived bounds a keyCache: a caller may sign for any region.
const maxDerived = 64

// keyCache remembers signing keys, each of which takes four HMACs to derive.
// Only keys under which something was signed get in, so that strangers cannot
// fill it. The zero value is ready to use.
type keyCache struct {
	keys atomic.Pointer[map[derivation][]byte] // replaced, never changed
}

func (k *keyCache) key(of derivation) []byte {
	if have := k.keys.Load(); have != nil {
		if key, ok := (*have)[of]; ok {
			return key
		}
	}
	return signingKey(of.secret, of.day, of.region, of.service)
}

// keep remembers a key. Of several that come at once one may get lost, which
// costs its next caller the derivation.
func (k *keyCache) keep(of derivation, key []byte) {
	have := k.keys.Load()
	next := map[derivation][]byte{}
	if have != nil {
		if _, ok := (*have)[of]; ok {
			return
		}
		if len(*have) < maxDerived {
			next = maps.Clone(*have)
		}
	}
	next[of] = key
	k.keys.Store(&next)
}
