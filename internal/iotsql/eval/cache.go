package eval

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"mote/internal/iotsql"
)

// maxCached is how many texts a cache holds.
const maxCached = 64

// cache keeps what was made of texts that come with messages: patterns and
// formats. It holds at most maxCached of them and then starts anew.
type cache[T any] struct {
	mu sync.Mutex
	of map[string]T // guarded by mu
}

func (c *cache[T]) get(key string) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.of[key]
	return v, ok
}

func (c *cache[T]) put(key string, v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= maxCached {
		c.of = map[string]T{}
	}
	c.of[key] = v
}

// compileCost is what a byte of a pattern takes of the budget to compile.
const compileCost = 256

// patterned keeps the compiled patterns of one call: what is written in the
// statement, and what comes with messages.
type patterned[T any] struct {
	seen    cache[T]
	compile func(src string) (T, error)
}

// prepare compiles a pattern that is written in the statement. It refuses one
// that uses what is not offered, by name.
func (p *patterned[T]) prepare(c *compiler, x iotsql.Expr) error {
	lit, ok := x.(*iotsql.Literal)
	if !ok || lit.Kind != iotsql.LitString {
		return nil
	}
	pattern, err := p.compile(lit.Text)
	if foreign := (*foreignError)(nil); errors.As(err, &foreign) {
		return iotsql.Errorf(c.src, lit.Pos, "%v", foreign)
	}
	p.seen.put(lit.Text, pattern)
	return nil
}

// of returns the compiled pattern, the zero T when it is none.
func (p *patterned[T]) of(m *Message, src string) (pattern T) {
	if pattern, ok := p.seen.get(src); ok {
		return pattern
	}
	if !m.spend(len(src) * compileCost) {
		return pattern
	}
	src = strings.Clone(src) // it shares the payload, which must not be kept
	pattern, _ = p.compile(src)
	p.seen.put(src, pattern)
	return pattern
}

// foreignError names what AWS's patterns have and those here lack.
type foreignError struct{ in, what, instead string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("%s uses %s, which is not offered: %s", e.in, e.what, e.instead)
}
