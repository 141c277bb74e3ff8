// Package uplinktest gives the tests of uplinks a queue in memory. Only tests
// import it.
package uplinktest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"mote/internal/watch"
)

// Queue is an uplink.Queue in memory. The zero Queue is empty.
type Queue struct {
	mu      sync.Mutex
	records []record      // guarded by mu
	next    int           // guarded by mu; index in records of what Next returns
	acked   uint64        // guarded by mu
	changed chan struct{} // guarded by mu; closed at the next change, when not nil
}

type record struct {
	seq  uint64
	data []byte
}

// Append puts a record into the queue. Sequence numbers have gaps.
func (q *Queue) Append(data string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	seq := uint64(1)
	if n := len(q.records); n > 0 {
		seq = q.records[n-1].seq + 1 + uint64(n%3/2)
	}
	q.records = append(q.records, record{seq, []byte(data)})
	q.change()
}

// AppendReadings puts n readings of each board into the queue, by turns, with
// the field n counting from 0.
func (q *Queue) AppendReadings(n int, boards ...string) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range n {
		for _, id := range boards {
			q.Append(fmt.Sprintf(`{"time":"%s","id":"%s","n":%d}`, at.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05.000Z"), id, i))
		}
	}
}

func (q *Queue) change() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// wait returns a channel that is closed at the next change; mu is held.
func (q *Queue) wait() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// Next implements uplink.Queue.
func (q *Queue) Next(ctx context.Context) (uint64, []byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		q.mu.Lock()
		if q.next < len(q.records) {
			r := q.records[q.next]
			q.next++
			q.mu.Unlock()
			return r.seq, append([]byte(nil), r.data...), nil
		}
		changed := q.wait()
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}

// Ack implements uplink.Queue.
func (q *Queue) Ack(seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acked = max(q.acked, seq)
	q.change()
}

// Rewind implements uplink.Queue.
func (q *Queue) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = q.index()
	q.change()
}

// index is how many records are acknowledged; mu is held.
func (q *Queue) index() int {
	n := 0
	for n < len(q.records) && q.records[n].seq <= q.acked {
		n++
	}
	return n
}

// Acked is how many records are acknowledged.
func (q *Queue) Acked() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.index()
}

// WaitEmpty waits, at most for [watch.Patience], until every record is acknowledged.
func (q *Queue) WaitEmpty(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
	defer cancel()
	if err := q.Empty(ctx); err != nil {
		t.Fatal(err)
	}
}

// Empty waits until every record is acknowledged.
func (q *Queue) Empty(ctx context.Context) error {
	for {
		q.mu.Lock()
		n, changed := q.index(), q.wait()
		all := len(q.records)
		q.mu.Unlock()
		if n == all {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d records acknowledged: %w", n, all, ctx.Err())
		}
	}
}
