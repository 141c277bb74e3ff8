package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const sectorBytes = 512

// memFS is a file system in memory whose disk can fail and whose power can be
// cut. What was written but not synced is, after a crash, sector by sector the
// old bytes, the new ones, any state between, or torn inside the sector; a
// failed sync leaves bytes that no later sync makes durable. Directory changes
// since the last SyncDir survive up to a random one.
type memFS struct {
	mu     sync.Mutex
	rnd    *rand.Rand
	disk   map[string]*memFile // by name, as processes see it
	synced map[string]*memFile // as it is surely after a crash
	dirLog []map[string]*memFile
	epoch  int // grows at a crash; older handles are dead
	locked bool

	// fail, when set, is asked before every operation that changes something,
	// and before reads.
	fail func(op, name string) error
	// badFrom to badTo cannot be read in any file, when badTo is set.
	badFrom, badTo int64
	// shortWrites makes failing writes write a part first.
	shortWrites bool
	// noAllocate is a file system that cannot reserve blocks.
	noAllocate bool

	syncs    atomic.Int64
	gated    atomic.Int64 // syncs that wait at the gate
	gateLock sync.Mutex
}

// memFile is one inode.
type memFile struct {
	data    []byte         // as processes see it
	durable []byte         // surely on the device
	dirty   map[int][]byte // sector → the states it had since the last sync, joined; the last is current
	doomed  map[int]bool   // sectors that a failed sync marked clean
}

func newMemFS(seed uint64) *memFS {
	return &memFS{rnd: rand.New(rand.NewPCG(seed, 7)), disk: map[string]*memFile{}, synced: map[string]*memFile{}}
}

func (m *memFS) gate(shut bool) {
	if shut {
		m.gateLock.Lock()
	} else {
		m.gateLock.Unlock()
	}
}

func (m *memFS) waitGate() {
	m.gateLock.Lock()
	defer m.gateLock.Unlock()
}

func (m *memFS) check(op, name string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op, filepath.Base(name))
}

func (m *memFS) setBad(from, to int64) {
	m.mu.Lock()
	m.badFrom, m.badTo = from, to
	m.mu.Unlock()
}

func (m *memFS) setFail(fail func(op, name string) error) {
	m.mu.Lock()
	m.fail = fail
	m.mu.Unlock()
}

// crash cuts the power.
func (m *memFS) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.locked = false
	names := m.synced
	if n := m.rnd.IntN(len(m.dirLog) + 1); n > 0 {
		names = m.dirLog[n-1]
	}
	m.disk, m.dirLog = maps.Clone(names), nil
	m.synced = maps.Clone(m.disk)
	for _, f := range m.disk {
		f.powerCut(m.rnd)
	}
}

func (f *memFile) powerCut(rnd *rand.Rand) {
	sectors := slices.Sorted(maps.Keys(f.dirty))
	for s := range f.doomed {
		if !slices.Contains(sectors, s) {
			sectors = append(sectors, s)
		}
	}
	slices.Sort(sectors)
	for _, s := range sectors {
		states := f.dirty[s]
		if f.doomed[s] {
			states = append(states, f.sector(f.data, s)...)
		}
		f.tear(s, states, rnd)
	}
	f.data = slices.Clone(f.durable)
	f.dirty, f.doomed = map[int][]byte{}, map[int]bool{}
}

// tear leaves in sector s its old bytes, one of states, or a mixture.
func (f *memFile) tear(s int, states []byte, rnd *rand.Rand) {
	pick := rnd.IntN(len(states)/sectorBytes + 1)
	if pick == 0 {
		return
	}
	state := states[(pick-1)*sectorBytes : pick*sectorBytes]
	n := sectorBytes
	if rnd.IntN(3) == 0 {
		n = rnd.IntN(sectorBytes)
	}
	for len(f.durable) < (s+1)*sectorBytes {
		f.durable = append(f.durable, 0)
	}
	copy(f.durable[s*sectorBytes:], state[:n])
}

func (f *memFile) sector(data []byte, s int) []byte {
	out := make([]byte, sectorBytes)
	if s*sectorBytes < len(data) {
		copy(out, data[s*sectorBytes:])
	}
	return out
}

func (m *memFS) MkdirAll(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.check("mkdir", "")
}

func (m *memFS) ReadDir(string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.disk {
		names = append(names, filepath.Base(name))
	}
	slices.Sort(names)
	return names, nil
}

func (m *memFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("create", name); err != nil {
		return nil, err
	}
	if m.disk[name] != nil {
		return nil, fs.ErrExist
	}
	m.disk[name] = &memFile{dirty: map[int][]byte{}, doomed: map[int]bool{}}
	m.logDir()
	return &memHandle{m, m.disk[name], name, m.epoch, true}, nil
}

func (m *memFS) Open(name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("open", name); err != nil {
		return nil, err
	}
	if m.disk[name] == nil {
		return nil, fs.ErrNotExist
	}
	return &memHandle{m, m.disk[name], name, m.epoch, write}, nil
}

// logDir notes a state of the directory that a crash may leave. The caller
// holds mu.
func (m *memFS) logDir() { m.dirLog = append(m.dirLog, maps.Clone(m.disk)) }

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("rename", from); err != nil {
		return err
	}
	if m.disk[from] == nil {
		return fs.ErrNotExist
	}
	m.disk[to] = m.disk[from]
	delete(m.disk, from)
	m.logDir()
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("remove", name); err != nil {
		return err
	}
	if m.disk[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.disk, name)
	m.logDir()
	return nil
}

func (m *memFS) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("syncdir", ""); err != nil {
		return err
	}
	m.synced, m.dirLog = maps.Clone(m.disk), nil
	return nil
}

type memLock struct {
	m     *memFS
	epoch int
}

func (m *memFS) Lock(name string) (Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	m.locked = true
	return memLock{m, m.epoch}, nil
}

func (l memLock) Held() error { return nil }

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.epoch == l.m.epoch {
		l.m.locked = false
	}
	return nil
}

type memHandle struct {
	m     *memFS
	f     *memFile
	name  string
	epoch int
	write bool
}

var errPowerCut = errors.New("the process died in a power cut")

func (h *memHandle) Uncache() {}

func (h *memHandle) begin(op string) error {
	if h.epoch != h.m.epoch {
		return errPowerCut
	}
	return h.m.check(op, h.name)
}

func (h *memHandle) ReadAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.begin("read"); err != nil {
		return 0, err
	}
	if end := off + int64(len(b)); off < h.m.badTo && end > h.m.badFrom {
		n := max(0, int(h.m.badFrom-off))
		return copy(b[:n], h.f.data[off:]), syscall.EIO
	}
	return bytes.NewReader(h.f.data).ReadAt(b, off)
}

func (h *memHandle) WriteAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if !h.write {
		return 0, syscall.EBADF
	}
	if err := h.begin("write"); err != nil {
		n := 0
		if h.m.shortWrites && !errors.Is(err, errPowerCut) {
			n = h.m.rnd.IntN(len(b) + 1)
			h.f.writeAt(b[:n], int(off))
		}
		return n, err
	}
	h.f.writeAt(b, int(off))
	return len(b), nil
}

func (f *memFile) writeAt(b []byte, off int) {
	if len(b) == 0 {
		return
	}
	if grow := off + len(b) - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	copy(f.data[off:], b)
	for s := off / sectorBytes; s <= (off+len(b)-1)/sectorBytes; s++ {
		f.dirty[s] = append(f.dirty[s], f.sector(f.data, s)...)
	}
}

func (h *memHandle) Allocate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.begin("write"); err != nil {
		return err
	}
	if h.m.noAllocate {
		return errors.ErrUnsupported
	}
	h.f.data = append(h.f.data, make([]byte, int(size)-len(h.f.data))...)
	return nil
}

func (h *memHandle) Datasync() error {
	h.m.syncs.Add(1)
	h.m.gated.Add(1)
	h.m.waitGate()
	h.m.gated.Add(-1)
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.begin("sync"); err != nil {
		if !errors.Is(err, errPowerCut) {
			h.f.failSync(h.m.rnd)
		}
		return err
	}
	h.f.sync()
	return nil
}

func (f *memFile) sync() {
	for s := range f.dirty {
		f.persist(s)
	}
	f.dirty = map[int][]byte{}
	if grow := len(f.data) - len(f.durable); grow > 0 {
		f.durable = append(f.durable, make([]byte, grow)...)
	}
}

func (f *memFile) persist(s int) {
	for len(f.durable) < min((s+1)*sectorBytes, len(f.data)) {
		f.durable = append(f.durable, 0)
	}
	copy(f.durable[s*sectorBytes:min((s+1)*sectorBytes, len(f.data))], f.data[s*sectorBytes:])
	delete(f.doomed, s)
}

// failSync does what Linux does: some pages reach the device, and all are
// marked clean.
func (f *memFile) failSync(rnd *rand.Rand) {
	for _, s := range slices.Sorted(maps.Keys(f.dirty)) {
		if rnd.IntN(2) == 0 {
			f.persist(s)
		} else {
			f.doomed[s] = true
		}
	}
	f.dirty = map[int][]byte{}
}

func (h *memHandle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.f.data)), nil
}

func (h *memHandle) Close() error { return nil }

// segmentFiles returns the names of the segment files.
func (m *memFS) segmentFiles() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.disk {
		if strings.HasSuffix(name, segSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
