package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"mote/internal/edge/frame"
	"mote/internal/edge/spool"
	"mote/internal/reading"
)

const seedPattern = "{id:dust:temp:humid:rate}"

func format(t testing.TB, pattern string) *frame.Format {
	t.Helper()
	f, err := frame.Compile(pattern, frame.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// memory is a spool without a disk, which can be full, slow or broken.
type memory struct {
	mu      sync.Mutex
	records [][]byte
	calls   []int           // records of each Append
	errs    []error         // answers of the next calls
	gate    <-chan struct{} // when set, Append waits until it is closed
	acked   map[string]uint64
}

func (m *memory) Append(ctx context.Context, records ...[]byte) (uint64, error) {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errs) > 0 {
		err := m.errs[0]
		m.errs = m.errs[1:]
		return 0, err
	}
	m.calls = append(m.calls, len(records))
	for _, r := range records {
		m.records = append(m.records, bytes.Clone(r))
	}
	return uint64(len(m.records)), nil
}

func (m *memory) Stats() spool.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := spool.Stats{Appended: uint64(len(m.records))}
	for name, acked := range m.acked {
		s.Readers = append(s.Readers, spool.ReaderStats{Name: name, Acked: acked, Waiting: uint64(len(m.records)) - acked})
	}
	return s
}

func (m *memory) ack(name string, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked[name] = seq
}

// set changes the spool's behaviour.
func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *memory) readings(t testing.TB) []reading.Reading {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]reading.Reading, len(m.records))
	for i, r := range m.records {
		if err := json.Unmarshal(r, &out[i]); err != nil {
			t.Fatalf("%q: %v", r, err)
		}
	}
	return out
}

func (m *memory) appends() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// pipes is a source whose connections are pipes: the test holds the boards'
// ends.
type pipes struct {
	name  string
	ends  chan net.Conn
	mu    sync.Mutex
	errs  []error // answers of the next dials
	dials int
}

func newPipes(name string) *pipes { return &pipes{name: name, ends: make(chan net.Conn, 100)} }

func (p *pipes) Name() string { return p.name }

func (p *pipes) Dial(context.Context) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials++
	if len(p.errs) > 0 {
		err := p.errs[0]
		if len(p.errs) > 1 {
			p.errs = p.errs[1:]
		}
		return nil, err
	}
	here, there := net.Pipe()
	p.ends <- there
	return here, nil
}

// start runs a gateway; stop ends it and waits.
func start(t testing.TB, o Options) (g *Gateway, stop func() error) {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return g, stop
}

var errAbsent = errors.New("the board does not answer")
