package spool

import "slices"

// seqs is a range of sequences, both ends included.
type seqs struct{ from, to uint64 }

// maxRanges is how many ranges behind its prefix a reader may have
// acknowledged; manyReaders share the header's room and get fewer.
const (
	maxRanges     = 8
	manyReaders   = 20
	maxRangesMany = 3
)

// rangesOf is maxRanges for each of so many readers.
func rangesOf(readers int) int {
	if readers > manyReaders {
		return maxRangesMany
	}
	return maxRanges
}

// progress is what a reader has acknowledged: everything up to and including
// acked, and the ranges behind that, in order, with gaps between them.
type progress struct {
	acked  uint64
	ranges []seqs
}

// add acknowledges the sequences of one range.
func (p *progress) add(r seqs) {
	if r.to < r.from || r.to <= p.acked {
		return
	}
	i := 0
	for i < len(p.ranges) && p.ranges[i].to+1 < r.from {
		i++
	}
	j := i
	for j < len(p.ranges) && p.ranges[j].from <= r.to+1 {
		r.from, r.to = min(r.from, p.ranges[j].from), max(r.to, p.ranges[j].to)
		j++
	}
	p.ranges = slices.Replace(p.ranges, i, j, r)
	p.advance(p.acked)
}

// advance acknowledges everything up to and including seq.
func (p *progress) advance(seq uint64) {
	p.acked = max(p.acked, seq)
	n := 0
	for n < len(p.ranges) && p.ranges[n].from <= p.acked+1 {
		p.acked = max(p.acked, p.ranges[n].to)
		n++
	}
	p.ranges = slices.Delete(p.ranges, 0, n)
}

// open returns the first sequence from seq on that is not acknowledged, and
// where the next acknowledged range begins, noCap when there is none.
func (p *progress) open(seq uint64) (first, until uint64) {
	first = max(seq, p.acked+1)
	for _, r := range p.ranges {
		if first < r.from {
			return first, r.from
		}
		first = max(first, r.to+1)
	}
	return first, noCap
}

// missing counts the sequences from from up to, not including, to that are not
// acknowledged.
func (p *progress) missing(from, to uint64) uint64 {
	from = max(from, p.acked+1)
	if from >= to {
		return 0
	}
	n := to - from
	for _, r := range p.ranges {
		if a, b := max(r.from, from), min(r.to+1, to); a < b {
			n -= b - a
		}
	}
	return n
}

// last is the highest acknowledged sequence.
func (p *progress) last() uint64 {
	if n := len(p.ranges); n > 0 {
		return p.ranges[n-1].to
	}
	return p.acked
}
