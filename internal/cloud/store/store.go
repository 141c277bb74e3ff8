// Package store is the one place of the cloud that touches the disk: a single
// Pebble database that holds everything the cloud keeps, so that one [Batch]
// and one fsync cover all effects of a message.
//
// Durable path: [Store.CommitAsync] appends the batch to Pebble's write-ahead
// log and applies it to the memtable at once (readers see it), and returns
// without waiting for the disk. Pebble's log writer runs one fdatasync for all
// batches that were appended while the previous one ran; a single goroutine
// waits for the batches in the order in which they were committed and calls
// each one's done function after its fdatasync returned. An acknowledgement
// that is sent from done is therefore never sent before the data is on disk,
// and acks come in commit order.
//
// A write of the log that fails leaves unknown what is on disk, and writes after
// it cannot be told from it: the store then stops the process (see
// [Options].Fatal), and the next start recovers what was acknowledged.
//
// Values read through Get are copies; values read through an iterator are
// valid until its next move. What the keys and values mean belongs to the
// owner of each key space (see [Space]).
package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Space is the first byte of every key: it says who owns the key.
type Space byte

// The key spaces. A new owner takes a new letter, and a name in space.go;
// letters are never reused.
const (
	SpaceMeta     Space = 'a' // store: format version
	SpaceRegistry Space = 'r' // registry: account, things, certificates, policies, rules, keys
	SpaceRoute    Space = 'g' // rest: APIs, resources, stages, API keys, usage plans
	SpaceRule     Space = 'u' // rules: topic rules
	SpaceTable    Space = 't' // table: catalogue
	SpaceItem     Space = 'i' // table: items
	SpaceSession  Space = 's' // broker: persistent sessions and their subscriptions
	SpaceQueue    Space = 'q' // broker: queued and in-flight messages of persistent sessions
	SpaceRetained Space = 'm' // broker: retained messages
	SpaceOutbox   Space = 'o' // outbox: actions that are still to be performed
	SpaceDest     Space = 'd' // destination: HTTP destinations of rules
	SpaceShadow   Space = 'w' // shadow: device shadow documents
	SpaceIndex    Space = 'x' // table: entries of secondary indexes
	SpaceStream   Space = 'e' // table: records of streams
	SpaceToken    Space = 'k' // table: tokens of transactions
	SpaceBackup   Space = 'b' // table: backups of tables
	SpaceJobs     Space = 'j' // jobs: jobs, their executions, queues and timers
)

// formatVersion is written once into a new store and checked at every open.
const formatVersion = "mote-store-1"

var formatKey = []byte{byte(SpaceMeta), 'v'}

// Errors that callers act on.
var (
	// ErrFull refuses a write because the disk is below its reserve. Nothing of
	// the batch was written; reads go on, and writes resume by themselves when
	// space is back. A batch that only removes keys, and notes that it does (see
	// [Batch.Note]), may take half of the reserve.
	ErrFull = errors.New("data disk is full")
	// ErrClosed refuses a write after Close.
	ErrClosed = errors.New("store is closed")
	// ErrInUse is returned by Open when another process has the store open.
	ErrInUse = errors.New("data directory is in use by another process")
)

// Options configure a store. The zero value is ready to use.
type Options struct {
	Log      *slog.Logger // default: discard
	MinFree  uint64       // bytes that must stay free on the disk; default Reserve
	MemTable uint64       // bytes; default 16 MiB
	Cache    int64        // bytes of block cache; default 8 MiB
	// Fatal is called when Pebble cannot go on (a write or fsync of its log
	// failed, a file is damaged). It must not return, and locks are held while
	// it runs. The default logs and ends the process with status 1: everything
	// acknowledged is on disk, and the next start recovers.
	Fatal func(error)

	fs vfs.FS // for tests; default: the operating system's
}

// Store is an open database. Its methods are safe for concurrent use.
type Store struct {
	db    *pebble.DB
	cache *pebble.Cache
	log   *slog.Logger

	pending chan *Batch // committed, waiting for their fdatasync, in commit order
	waiter  sync.WaitGroup

	commitMu sync.RWMutex // held for reading around each commit, so that Close waits for them
	closed   bool         // guarded by commitMu

	// orderMu makes the order of pending the order of the log.
	orderMu sync.Mutex

	reserve *reserve
	pacer   *pacer
	fatal   func(error)
}

// Open opens the store in dir and creates it when it is not there. It returns
// ErrInUse when another process has it open.
func Open(dir string, o Options) (*Store, error) {
	o.setDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := roomToOpen(dir, 2*o.MemTable); err != nil {
		return nil, err
	}
	if err := checkManifest(dir); err != nil {
		return nil, fmt.Errorf("%w: %s", err, damageAdvice)
	}
	s := &Store{log: o.Log, pending: make(chan *Batch, 4096), cache: pebble.NewCache(o.Cache), pacer: newPacer(o.fs, o.Log), fatal: o.Fatal}
	opts := &pebble.Options{
		FS:                 s.pacer,
		EventListener:      &pebble.EventListener{BackgroundError: s.pacer.failed},
		Cache:              s.cache,
		MemTableSize:       o.MemTable,
		MaxOpenFiles:       256,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLog{o.Log, o.Fatal},
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		s.cache.Unref()
		if isHeld(err) {
			return nil, inUse(dir)
		}
		if err = explain(dir, err); errors.As(err, new(*DamageError)) {
			err = fmt.Errorf("%w: %s", err, damageAdvice)
		}
		return nil, err
	}
	s.db = db
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.reserve = newReserve(dir, o.MinFree, o.Log)
	s.waiter.Go(s.waitForSyncs)
	return s, nil
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	o.MinFree = cmp.Or(o.MinFree, Reserve)
	o.MemTable = cmp.Or(o.MemTable, 16<<20)
	o.Cache = cmp.Or(o.Cache, 8<<20)
	if o.Fatal == nil {
		log := o.Log
		o.Fatal = func(err error) { stop(log, err) }
	}
}

// stop ends the process: nothing can be acknowledged any more.
func stop(log *slog.Logger, err error) {
	text := err.Error() // as one line: Pebble's errors print their stacks
	if pebble.IsCorruptionError(err) {
		log.Error("a file of the store is damaged, stopping: "+damageAdvice, "err", text)
	} else {
		log.Error("the store cannot go on, stopping; everything acknowledged is on disk: mend the disk, or free some space on it, and start again", "err", text)
	}
	os.Exit(1)
}

func (s *Store) checkFormat() error {
	v, found, err := s.Get(formatKey)
	switch {
	case err != nil:
		return err
	case !found:
		return s.db.Set(formatKey, []byte(formatVersion), pebble.Sync)
	case string(v) != formatVersion:
		return fmt.Errorf("the store has format %q, this mote reads %q: use the mote that wrote it", v, formatVersion)
	}
	return nil
}

// Close waits for all commits, calls their done functions and closes the
// database. Commits that come later get ErrClosed.
func (s *Store) Close() error {
	s.commitMu.Lock()
	if s.closed {
		s.commitMu.Unlock()
		return nil
	}
	s.closed = true
	s.commitMu.Unlock()
	close(s.pending)
	s.waiter.Wait()
	s.reserve.stop()
	s.pacer.stop()
	err := s.db.Close()
	s.cache.Unref()
	return err
}

// Batch collects writes that become visible and durable together. It is used
// by one goroutine at a time and belongs to the store once it is committed.
type Batch struct {
	b       *pebble.Batch
	db      *pebble.DB
	own     map[string][]byte // what the batch leaves at its keys, nil: removed; made by the first Get
	guard   func(*Batch) error
	before  []func() error
	applied []func()
	done    func(error)
	err     error // of applying
	visible bool  // it was applied
	sets    bool  // it writes keys, and not only notes
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{b: s.db.NewBatch(), db: s.db} }

// Set writes key; both slices are copied.
func (b *Batch) Set(key, value []byte) {
	b.sets = true
	b.Note(key, value)
}

// Note writes key as Set does, and leaves the batch the right to the reserve of
// a full disk: what it writes goes with a removal (the record of a stream, the
// state of what is left), or says how work ended that the disk has cut off. It
// must be bounded by what made the space, or small and rare.
func (b *Batch) Note(key, value []byte) {
	b.must(b.b.Set(key, value, nil))
	if b.own != nil {
		b.own[string(key)] = append([]byte{}, value...)
	}
}

// Delete removes key; a missing key is no error.
func (b *Batch) Delete(key []byte) {
	b.must(b.b.Delete(key, nil))
	if b.own != nil {
		b.own[string(key)] = nil
	}
}

// DeleteRange removes all keys from start up to but not including end. Get
// does not see it.
func (b *Batch) DeleteRange(start, end []byte) { b.must(b.b.DeleteRange(start, end, nil)) }

// Get returns a copy of the value that key has in the newest state with the
// Sets and Deletes of the batch before this call, and whether there is one.
func (b *Batch) Get(key []byte) (value []byte, found bool, err error) {
	if !b.Empty() {
		if b.own == nil {
			if err := b.index(); err != nil {
				return nil, false, err
			}
		}
		if value, ok := b.own[string(key)]; ok {
			return append([]byte{}, value...), value != nil, nil
		}
	}
	return get(b.db, key)
}

// index makes own of the writes that the batch already holds.
func (b *Batch) index() error {
	b.own = map[string][]byte{}
	return b.Writes(func(key, value []byte) {
		if value != nil {
			value = append([]byte{}, value...)
		}
		b.own[string(key)] = value
	})
}

// must records what only a misuse of the batch can cause, for the commit to return.
func (b *Batch) must(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

// Empty says whether the batch holds no writes.
func (b *Batch) Empty() bool { return b.b.Empty() }

// Count is the number of writes in the batch.
func (b *Batch) Count() int { return int(b.b.Count()) }

// BeforeApply registers f to be called when the batch is committed, just
// before it is applied and while no other batch is: what f reads from the store
// stays true until the batch is visible. It is how a read-modify-write is
// isolated from the blind writes of others without a lock held by anyone. f may
// add writes to the batch; an error refuses the batch and goes to done. Every
// commit waits for f, so f does no more than a few reads.
func (b *Batch) BeforeApply(f func() error) { b.before = append(b.before, f) }

// Guard sets f to be called first when the batch is committed, as those of
// [Batch.BeforeApply] are, but without making the batch wait: it is how the
// owner of a blind write learns at its commit that the write must not be blind
// any more. Only the first f of a batch counts; it costs next to nothing.
func (b *Batch) Guard(f func(*Batch) error) {
	if b.guard == nil {
		b.guard = f
	}
}

// Writes calls f for each Set and Delete in the batch so far, in their order; a
// nil value is a Delete. The slices are valid for the call, in which f must not
// write to the batch.
func (b *Batch) Writes(f func(key, value []byte)) error {
	for r := b.b.Reader(); ; {
		kind, key, value, ok, err := r.Next()
		switch {
		case !ok || err != nil:
			return err
		case kind == pebble.InternalKeyKindSet && value == nil:
			f(key, []byte{})
		case kind == pebble.InternalKeyKindSet:
			f(key, value)
		case kind == pebble.InternalKeyKindDelete:
			f(key, nil)
		}
	}
}

// Deferred says whether something of the batch waits for its commit (see
// [Batch.BeforeApply]): a write that must come after it has to wait too.
func (b *Batch) Deferred() bool { return len(b.before) > 0 }

// OnApplied registers f to be called when the batch is visible to readers, or
// was refused, before the disk is waited for. Locks that guard a
// read-modify-write are released there.
func (b *Batch) OnApplied(f func()) { b.applied = append(b.applied, f) }

// Applied says whether the batch is visible to readers: a function of OnApplied
// learns from it that the batch was not refused or given up.
func (b *Batch) Applied() bool { return b.visible }

// Discard gives up a batch that will not be committed.
func (b *Batch) Discard() { b.runApplied(); _ = b.b.Close() }

func (b *Batch) runApplied() {
	for _, f := range b.applied {
		f()
	}
	b.applied = nil
}

// Commit applies the batch and waits until it is on disk.
func (s *Store) Commit(b *Batch) error {
	errc := make(chan error, 1)
	s.CommitAsync(b, func(err error) { errc <- err })
	return <-errc
}

// CommitAsync applies the batch and returns; done is called once, from another
// goroutine, when the batch is on disk or has failed. Calls of done come in
// commit order and must not block: everything behind them waits. When the
// disk is full, done gets ErrFull and nothing was written.
func (s *Store) CommitAsync(b *Batch, done func(error)) {
	b.done = done
	s.commitMu.RLock()
	defer s.commitMu.RUnlock()
	if s.closed {
		b.Discard()
		go done(ErrClosed) // the waiter is gone, so there is no order left to keep
		return
	}
	s.orderMu.Lock()
	if b.guard != nil && b.err == nil {
		b.err = b.guard(b)
	}
	for _, f := range b.before {
		if b.err == nil {
			b.err = f()
		}
	}
	if b.err == nil && !b.Empty() {
		b.err = s.reserve.check(b.b.Len(), !b.sets)
	}
	if b.err == nil && !b.Empty() {
		s.apply(b)
	}
	b.visible = b.err == nil
	b.runApplied()
	s.pending <- b
	s.orderMu.Unlock()
}

// apply appends b to the log. Pebble panics when its log cannot go on: were
// that recovered further up, as HTTP servers do, the locks held here would stay
// locked for good.
func (s *Store) apply(b *Batch) {
	defer func() {
		if r := recover(); r != nil {
			s.fatal(fmt.Errorf("append to the log: %v", r))
		}
	}()
	b.err = s.db.ApplyNoSyncWait(b.b, pebble.Sync)
}

// waitForSyncs is the goroutine that calls done for every commit, in order.
func (s *Store) waitForSyncs() {
	for b := range s.pending {
		err := b.err
		if err == nil && !b.Empty() {
			if err = b.b.SyncWait(); err != nil { // readers see what is not on disk: there is no way on
				s.fatal(fmt.Errorf("write the log: %w", err))
			}
		}
		b.done(err)
		_ = b.b.Close()
	}
}

// Reader reads one consistent state, or the newest one.
type Reader interface {
	// Get returns a copy of the value of key, and whether there is one.
	Get(key []byte) (value []byte, found bool, err error)
	// Iterator walks the keys from lower up to but not including upper. The
	// caller closes it.
	Iterator(lower, upper []byte) (*pebble.Iterator, error)
}

// Get implements Reader on the newest state.
func (s *Store) Get(key []byte) ([]byte, bool, error) { return get(s.db, key) }

// Iterator implements Reader on the state at the time of the call.
func (s *Store) Iterator(lower, upper []byte) (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

// DiskUsage returns about how many bytes of the disk the keys from lower up to
// upper take with their values; what is only in the log yet is not counted.
func (s *Store) DiskUsage(lower, upper []byte) (uint64, error) {
	return s.db.EstimateDiskUsage(lower, upper)
}

// Snapshot returns a Reader of the state at this moment. The caller closes it.
func (s *Store) Snapshot() *Snapshot { return &Snapshot{s.db.NewSnapshot()} }

// Snapshot is one consistent state of the store.
type Snapshot struct{ snap *pebble.Snapshot }

// Get implements Reader.
func (s *Snapshot) Get(key []byte) ([]byte, bool, error) { return get(s.snap, key) }

// Iterator implements Reader.
func (s *Snapshot) Iterator(lower, upper []byte) (*pebble.Iterator, error) {
	return s.snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

// Close releases the snapshot.
func (s *Snapshot) Close() error { return s.snap.Close() }

func get(r pebble.Reader, key []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	out := append([]byte{}, v...)
	return out, true, closer.Close()
}

// PrefixEnd returns the upper bound of the keys that begin with prefix, or nil
// when there is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// pebbleLog hands Pebble's messages to slog: its routine ones as debug lines.
type pebbleLog struct {
	log   *slog.Logger
	fatal func(error)
}

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("pebble", "msg", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "msg", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) { l.fatal(fmt.Errorf(format, args...)) }
