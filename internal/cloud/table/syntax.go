package table

import "sync"

// syntax is one parsed expression. It is shared by the requests that have the
// same text, and never changed.
type syntax struct {
	condition *node    // of all kinds but those below
	paths     [][]step // ProjectionExpression
	actions   []action // UpdateExpression
	repeated  string   // UpdateExpression: a section that is there twice
	redundant bool     // ((x)) was seen
}

// Applications send few distinct expressions: each is parsed once, as long as
// it fits into the cache.
const (
	maxCachedText = 1 << 10   // bytes of one text
	maxCache      = 256 << 10 // bytes of all texts
)

type syntaxKey struct{ kind, text string }

// syntaxCache keeps parsed expressions by their kind and text.
type syntaxCache struct {
	mu      sync.RWMutex
	entries map[syntaxKey]*syntax // guarded by mu
	bytes   int                   // guarded by mu; of all texts
}

var syntaxes = syntaxCache{entries: map[syntaxKey]*syntax{}}

// parse returns the syntax of a text, from the cache or else by parser.
func (c *syntaxCache) parse(kind, text string, parser func(kind, text string) (*syntax, error)) (*syntax, error) {
	key := syntaxKey{kind, text}
	c.mu.RLock()
	s := c.entries[key]
	c.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := parser(kind, text)
	if err == nil && len(text) <= maxCachedText {
		c.keep(key, s)
	}
	return s, err
}

// keep puts s into the cache; any others make room for it.
func (c *syntaxCache) keep(key syntaxKey, s *syntax) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil {
		return
	}
	c.entries[key] = s
	c.bytes += len(key.text)
	for other := range c.entries {
		if c.bytes <= maxCache {
			return
		}
		if other != key {
			delete(c.entries, other)
			c.bytes -= len(other.text)
		}
	}
}
