package spool

import (
	"context"
	"errors"
	"sync"
)

const (
	liveAfter  = 256 // records that must wait before there are two lanes
	liveRecent = 64  // of them, so many of the newest begin the live lane
	liveShare  = 4   // at least one of so many records is of the backlog
)

// Live delivers what waits for a reader in two lanes, so that new records are
// not stuck behind a long backlog: while more than a few hundred wait, the
// newest and the oldest take turns, the newest up to three of four. Each lane
// is in the order of Append. When the backlog has reached the place where the
// live lane began, there is one lane again.
//
// It numbers records in the order in which it hands them out, so that
// acknowledging everything up to one of its numbers acknowledges what was
// handed out up to then. After a crash, records that were acknowledged may come
// again, as with any [Reader].
type Live struct {
	r    *Reader // the backlog, and the place in the spool
	tail *Reader // the newest; it has no place of its own

	mu    sync.Mutex // guards the fields below; taken before the spool's
	on    bool       // there are two lanes
	from  uint64     // the first sequence of the live lane
	turn  int        // counts records while there are two lanes
	last  uint64     // the number of the last record handed out
	line  []run      // handed out and not acknowledged
	epoch uint64     // counts Rewinds
}

// run is records that were handed out one after the other from one lane.
type run struct {
	number uint64 // of the first
	seq    uint64 // of the first
	n      uint64
	from   uint64 // where the live lane begins, 0 for the backlog
}

// Live returns the two-lane queue of the reader, whose Next, Batch, Poll, Ack and
// Rewind must not be used beside it. There is one for each reader.
func (r *Reader) Live() *Live {
	if r.refused != nil {
		return &Live{r: r}
	}
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.tail == nil {
		r.tail = &Reader{s: s, name: r.name, bound: noCap, wake: r.wake}
	}
	return &Live{r: r, tail: r.tail}
}

// Next waits for the next record and numbers it.
func (l *Live) Next(ctx context.Context) (number uint64, record []byte, err error) {
	if l.r.refused != nil {
		return 0, nil, l.r.refused
	}
	for {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		rec, at, err := l.poll()
		switch {
		case errors.Is(err, ErrClosed):
			return 0, nil, err
		case rec.Seq != 0:
			if number, ok := l.hand(rec.Seq, at); ok {
				return number, rec.Data, nil
			}
			continue
		}
		if err := l.r.wait(ctx, err); err != nil {
			return 0, nil, err
		}
	}
}

// moment is how the lanes were when a record was looked for.
type moment struct {
	epoch uint64
	from  uint64 // where the live lane begins, for a record of it
}

// poll returns a record that is ready, sequence 0 when there is none.
func (l *Live) poll() (Record, moment, error) {
	first, second, at := l.lanes()
	rec, err := one(first)
	if rec.Seq == 0 && second != nil && !errors.Is(err, ErrClosed) {
		var err2 error
		first = second
		rec, err2 = one(second)
		err = errors.Join(err, err2)
	}
	if first != l.tail {
		at.from = 0
	}
	return rec, at, err
}

func one(r *Reader) (Record, error) {
	var room [1]Record
	got, err := r.Poll(room[:0], 1)
	if len(got) == 0 {
		return Record{}, err
	}
	return got[0], nil
}

// lanes returns whose turn it is, and who is asked when that has nothing; nil
// when there is one lane.
func (l *Live) lanes() (first, second *Reader, at moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrange()
	at = moment{epoch: l.epoch, from: l.from}
	switch {
	case !l.on:
		return l.r, nil, at
	case l.turn%liveShare == 0:
		return l.r, l.tail, at
	}
	return l.tail, l.r, at
}

// arrange opens the live lane when much waits, and joins the lanes when the
// backlog was handed out. l.mu is held.
func (l *Live) arrange() {
	s := l.r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	r, tail := l.r, l.tail
	switch {
	case l.on:
		if first, _ := r.open(r.cursor); first >= r.bound {
			r.cursor, r.bound, l.on = max(first, tail.cursor), noCap, false
		}
	case r.missing(r.cursor, s.next) > liveAfter:
		l.on, l.turn = true, 1
		l.from = r.liveStart(s.next)
		r.bound, tail.cursor = l.from, l.from
	}
}

// liveStart returns where the live lane begins: where the last one ended when
// it was not left far behind, or when no more gaps can be remembered;
// otherwise with the newest records. s.mu is held.
func (r *Reader) liveStart(next uint64) uint64 {
	n := len(r.ranges)
	if n > 0 && (n >= rangesOf(len(r.s.readers)) || r.last()+liveAfter >= next) {
		return max(r.last()+1, r.cursor)
	}
	return max(next-liveRecent, r.last()+1, r.cursor)
}

// hand numbers a record that was found at that moment; ok is false when Rewind
// has made it one of those to come.
func (l *Live) hand(seq uint64, at moment) (number uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != at.epoch {
		return 0, false
	}
	l.last++
	l.turn++
	if n := len(l.line); n > 0 {
		if end := &l.line[n-1]; end.from == at.from && end.seq+end.n == seq {
			end.n++
			return l.last, true
		}
	}
	l.line = append(l.line, run{number: l.last, seq: seq, n: 1, from: at.from})
	return l.last, true
}

// Ack says that everything handed out up to and including number is delivered.
func (l *Live) Ack(number uint64) {
	if l.r.refused != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	done := 0
	for ; done < len(l.line) && l.line[done].number <= number && !s.closed; done++ {
		part := &l.line[done]
		n := min(part.n, number-part.number+1)
		end := part.seq + n - 1
		if part.from == 0 {
			l.r.advance(end)
		} else {
			l.r.add(seqs{part.from, end})
		}
		if n < part.n {
			part.number, part.seq, part.n = part.number+n, part.seq+n, part.n-n
			l.settled(done)
			return
		}
	}
	if done > 0 {
		l.settled(done)
	}
}

// settled takes the first runs out of the line, which are acknowledged. Both
// locks are held.
func (l *Live) settled(runs int) {
	l.line = l.line[:copy(l.line, l.line[runs:])]
	l.r.acknowledged()
}

// Rewind makes everything that was handed out and not acknowledged come again.
// The live lane goes on where it was, or with the newest when it was left far
// behind.
func (l *Live) Rewind() {
	if l.r.refused != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.line, l.on = l.line[:0], false
	s := l.r.s
	s.mu.Lock()
	l.r.cursor, l.r.bound = l.r.acked+1, noCap
	s.mu.Unlock()
	l.r.notify()
}
