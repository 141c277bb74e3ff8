package cloud

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mote/internal/cloud/crowd"
)

// room is how many connections each listener serves at a time.
type room struct{ mqtt, https, http int }

// keptFiles are the file descriptors that connections never get: the store
// keeps 256 files open, and needs new ones to go on at all; the rest is for
// the spool, the boards and the calls that a process makes of itself.
const keptFiles = 512

// roomFor shares out the file descriptors that a process may have, so that
// strangers who open connections cannot stop the store from opening files.
func roomFor(files uint64) room {
	free := int(min(max(files, keptFiles+128)-keptFiles, 1<<20))
	return room{mqtt: min(free/2, 20000), https: min(free/4, 20000), http: min(free/8, 1024)}
}

// fileLimit is how many file descriptors this process may have.
func fileLimit() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024 // the usual least
	}
	return l.Cur
}

// bounded is a listener with at most a number of connections at a time, and
// three quarters of them from one address; more are closed at once.
type bounded struct {
	net.Listener
	name      string
	places    chan struct{} // a token for each open connection
	addresses crowd.Addresses
	log       *slog.Logger
	told      atomic.Int64 // Unix seconds of the last log line about it
}

// tellEvery is how often the log says that connections are turned away.
const tellEvery = 10 // seconds

func newBounded(l net.Listener, name string, most int, log *slog.Logger) *bounded {
	return &bounded{Listener: l, name: name, places: make(chan struct{}, most), addresses: crowd.Addresses{Most: crowd.Share(most)}, log: log}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := crowd.IP(c)
		if !b.addresses.Enter(ip) {
			_ = c.Close()
			b.tell("too many connections from one address, some are turned away: see what opens them there", "most", b.addresses.Most, "source_ip", ip)
			continue
		}
		select {
		case b.places <- struct{}{}:
			return &place{Conn: c, leave: sync.OnceFunc(func() { <-b.places; b.addresses.Leave(ip) })}, nil
		default:
			_ = c.Close()
			b.addresses.Leave(ip)
			b.tell("too many connections, some are turned away: see who opens them, or raise the limit of open files (ulimit -n)", "most", cap(b.places))
		}
	}
}

// tell logs that connections are turned away, not for each of them.
func (b *bounded) tell(why string, attrs ...any) {
	now, last := time.Now().Unix(), b.told.Load()
	if now-last >= tellEvery && b.told.CompareAndSwap(last, now) {
		b.log.With("listener", b.name).Warn(why, attrs...)
	}
}

// place is a connection that gives its place back when it is closed.
type place struct {
	net.Conn
	leave func()
}

// CloseWrite ends what is sent, so that the last of it can be read.
func (p *place) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (p *place) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
