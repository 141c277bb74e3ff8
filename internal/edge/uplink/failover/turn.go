package failover

import (
	"context"
	"sync"
	"time"

	"mote/internal/edge/uplink"
)

// turn is the queue as one uplink sees it while it carries. It takes one record
// ahead, so that it knows that something waits also when the uplink is too busy
// with connecting to ask for it.
type turn struct {
	q      uplink.Queue
	ctx    context.Context // ends with the turn
	cancel context.CancelFunc

	mu      sync.Mutex
	pump    *pump     // guarded by mu; nil before the first use
	waiting bool      // guarded by mu; a record is taken and not handed out
	handed  uint64    // guarded by mu; the last sequence handed out
	acked   uint64    // guarded by mu
	moved   time.Time // guarded by mu; when something got through last, or the first record came after a rest
	sample  copied    // guarded by mu; a record handed out, not yet acknowledged
	done    []byte    // guarded by mu; a copy of a record that was delivered
	failed  error     // guarded by mu; of the queue
}

type copied struct {
	seq    uint64
	record []byte
}

// pump takes records from the queue and offers one at a time.
type pump struct {
	ready  chan copied
	cancel context.CancelFunc
	ended  chan struct{}
}

func newTurn(ctx context.Context, q uplink.Queue) *turn {
	t := &turn{q: q, moved: time.Now()}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// pumping returns the pump, and starts it when there is none.
func (t *turn) pumping() *pump {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pump == nil {
		ctx, cancel := context.WithCancel(t.ctx)
		t.pump = &pump{ready: make(chan copied), cancel: cancel, ended: make(chan struct{})}
		go t.run(ctx, t.pump)
	}
	return t.pump
}

func (t *turn) run(ctx context.Context, p *pump) {
	defer close(p.ended)
	for {
		seq, record, err := t.q.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.mu.Lock()
				t.failed = err
				t.mu.Unlock()
			}
			return
		}
		t.came()
		select {
		case p.ready <- copied{seq, record}:
		case <-ctx.Done():
			return
		}
	}
}

// came notes that a record waits.
func (t *turn) came() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handed <= t.acked {
		t.moved = time.Now()
	}
	t.waiting = true
}

// Next implements uplink.Queue.
func (t *turn) Next(ctx context.Context) (uint64, []byte, error) {
	p := t.pumping()
	select {
	case c := <-p.ready:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting, t.handed = false, c.seq
		if t.sample.record == nil {
			t.sample = copied{c.seq, append([]byte(nil), c.record...)}
		}
		return c.seq, c.record, nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	case <-p.ended:
		if err := t.failure(); err != nil {
			return 0, nil, err
		}
		return 0, nil, context.Canceled
	}
}

// Ack implements uplink.Queue.
func (t *turn) Ack(seq uint64) {
	t.q.Ack(seq)
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq <= t.acked {
		return
	}
	t.acked, t.moved = seq, time.Now()
	if t.sample.record != nil && t.sample.seq <= seq {
		t.done, t.sample = t.sample.record, copied{}
	}
}

// Rewind implements uplink.Queue.
func (t *turn) Rewind() {
	t.stop()
	t.q.Rewind()
	t.pumping()
}

// stop ends the pump. What it took is taken again after a Rewind.
func (t *turn) stop() {
	t.mu.Lock()
	p := t.pump
	t.mu.Unlock()
	if p == nil {
		return
	}
	p.cancel()
	<-p.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pump, t.waiting, t.handed, t.sample = nil, false, t.acked, copied{}
}

// progressed notes that something got through, though not in order.
func (t *turn) progressed(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moved = now
}

// stuck is how long records wait without any getting through.
func (t *turn) stuck(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.waiting && t.handed <= t.acked {
		return 0
	}
	return now.Sub(t.moved)
}

// delivered is a copy of a record that was delivered in this turn, or nil.
func (t *turn) delivered() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done
}

// failure is the queue's error, or nil.
func (t *turn) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// sample is a queue of one record, to try an uplink with.
type sample struct {
	record []byte
	acked  chan struct{} // closed at the acknowledgement

	mu    sync.Mutex
	taken bool // guarded by mu
	done  bool // guarded by mu
}

func newSample(record []byte) *sample { return &sample{record: record, acked: make(chan struct{})} }

// Next implements uplink.Queue.
func (s *sample) Next(ctx context.Context) (uint64, []byte, error) {
	s.mu.Lock()
	if !s.taken {
		s.taken = true
		s.mu.Unlock()
		return 1, append([]byte(nil), s.record...), nil
	}
	s.mu.Unlock()
	<-ctx.Done()
	return 0, nil, ctx.Err()
}

// Ack implements uplink.Queue.
func (s *sample) Ack(uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.done = true
		close(s.acked)
	}
}

// Rewind implements uplink.Queue.
func (s *sample) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = s.done
}

func (s *sample) isAcked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}
