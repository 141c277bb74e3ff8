package outbox

import (
	"fmt"
	"time"
)

// Entry is one action that is to be performed. Whoever adds it fills the
// exported fields up to Added; ID and Attempt are the outbox's.
type Entry struct {
	Kind string // which deliverer: "http", "kafka", "lambda", "s3"
	Lane string // the destination; with Kind and Rule it is the lane in whose order entries are performed
	Rule string // name of the rule

	Data    []byte // the deliverer's: what to do
	Context []byte // handed back when it fails: what the rule's error action needs

	HasErrorAction bool      // the rule has one: see the package's retries
	Keep           bool      // tried until it is done or refused for good: see the package's retries
	Batch          *Batching // nil: delivered by itself
	Added          time.Time // milliseconds; zero: now

	// ID is unique and stays the same over attempts and restarts: 32 hexadecimal
	// digits, set by Add. Receivers tell a repeated delivery by it.
	ID string
	// Attempt is 1 at the first delivery since the start of the process.
	Attempt int

	seq  uint64 // order within the lane
	key  []byte
	size int // of key and value, bytes
}

// Batching lets entries of one lane be delivered together: those that follow
// each other with the same Lane and the same limits. The first limit that is
// reached closes a batch. The defaults and bounds are those of AWS (AWS IoT API,
// BatchConfig), whose callers check them; the outbox takes any size.
type Batching struct {
	MaxOpen  time.Duration // for which an entry waits for others, whole milliseconds; 0: 20 ms; negative: only takes what is there
	MaxSize  int           // entries; 0: 10
	MaxBytes int           // sum of Weight; 0: 5120; one entry may be larger
	Weight   int           // of this entry; 0: len(Data)
}

// Limits of one entry, in bytes.
const (
	maxKind  = 32
	maxRule  = 256
	maxLane  = 8 << 10
	maxEntry = 4 << 20 // Data and Context
)

// Bounds of a batch that hold whatever an entry says.
const (
	maxBatchSize = 1000
	maxBatchOpen = time.Minute
)

func (e *Entry) check() error {
	switch {
	case e.Kind == "" || len(e.Kind) > maxKind:
		return fmt.Errorf("outbox entry: kind %.40q: want 1 to %d bytes", e.Kind, maxKind)
	case len(e.Rule) > maxRule:
		return fmt.Errorf("outbox entry: rule %.40q…: want at most %d bytes", e.Rule, maxRule)
	case len(e.Lane) > maxLane:
		return fmt.Errorf("outbox entry: the destination has %d bytes: want at most %d", len(e.Lane), maxLane)
	case len(e.Data)+len(e.Context) > maxEntry:
		return fmt.Errorf("outbox entry: the action has %d bytes: want at most %d", len(e.Data)+len(e.Context), maxEntry)
	}
	return nil
}

// normal returns b with its defaults and bounds, for the entry's data.
func (b Batching) normal(data []byte) Batching {
	if b.MaxOpen == 0 {
		b.MaxOpen = 20 * time.Millisecond
	}
	b.MaxOpen = min(max(b.MaxOpen, 0), maxBatchOpen).Truncate(time.Millisecond)
	if b.MaxSize <= 0 {
		b.MaxSize = 10
	}
	b.MaxSize = min(b.MaxSize, maxBatchSize)
	if b.MaxBytes <= 0 {
		b.MaxBytes = 5120
	}
	b.MaxBytes = min(b.MaxBytes, maxEntry)
	if b.Weight <= 0 {
		b.Weight = len(data)
	}
	b.Weight = min(b.Weight, maxEntry)
	return b
}

// joins says whether o may be in one batch with e, as far as both say.
func (e *Entry) joins(o *Entry) bool {
	return e.Lane == o.Lane && e.Batch.MaxOpen == o.Batch.MaxOpen && e.Batch.MaxSize == o.Batch.MaxSize && e.Batch.MaxBytes == o.Batch.MaxBytes
}
