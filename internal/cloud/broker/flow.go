package broker

import "sync"

// flow counts what one connection has published and the store has not
// finished. The reader waits when it is too much, so that a client cannot fill
// the memory faster than the disk takes it.
type flow struct {
	mu      sync.Mutex
	changed *sync.Cond // of mu
	bursts  int        // guarded by mu
	bytes   int        // guarded by mu
	unacked int        // publishes that are about to be acknowledged; guarded by mu
}

// The most that one connection can have under way.
const (
	flowBursts = 64
	flowBytes  = 1 << 20
)

func (f *flow) init() { f.changed = sync.NewCond(&f.mu) }

// begin counts u and says whether nothing else is under way.
func (f *flow) begin(u *burst) (alone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	alone = f.bursts == 0
	f.bursts++
	f.bytes += u.bytes
	f.unacked += u.counted
	return alone
}

// answer is called before the answers to u's publishes can reach the client:
// from then on it may send as many again.
func (f *flow) answer(u *burst) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unacked -= u.counted
}

func (f *flow) finish(u *burst) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bursts--
	f.bytes -= u.bytes
	f.changed.Signal()
}

// beginStep counts a commit that is no burst; finishStep is its end.
func (f *flow) beginStep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bursts++
}

func (f *flow) finishStep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bursts--
	f.changed.Signal()
}

// admit waits until the connection may publish more.
func (f *flow) admit() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.bursts >= flowBursts || f.bytes >= flowBytes {
		f.changed.Wait()
	}
}

// idle waits until everything is finished.
func (f *flow) idle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.bursts > 0 {
		f.changed.Wait()
	}
}

func (f *flow) unacknowledged() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unacked
}
