package test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// site is a cloud and a gateway in processes of their own, with what lies
// between them under the test's control.
type site struct {
	t         *testing.T
	dir, data string
	listeners []string
	mqtt, web string // addresses of the cloud's MQTT and HTTP listeners
	cloud     *host
	gateway   *process
}

var (
	preparing sync.Mutex
	prepared  string // guarded by preparing; the data directory that every site begins with
)

// prepare makes, once, a data directory with thing, certificates, table, rules
// and routes in it.
func prepare(t *testing.T) string {
	t.Helper()
	preparing.Lock()
	defer preparing.Unlock()
	if prepared != "" {
		return prepared
	}
	base, err := os.ReadFile("../cmd/mote/up.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(binary), "prepared")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "mote.toml")
	onlyAPIs := regexp.MustCompile(`(?s)\[gateway\].*?\n(\[\[policy\]\])`).ReplaceAll(base, []byte("$1"))
	// What is stored says when it came.
	text := strings.Replace(string(onlyAPIs), "SELECT * FROM 'sensors", "SELECT *, timestamp() AS stored FROM 'sensors", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := startHost(t, filepath.Join(dir, "data"), "up", "--config", config)
	h.interrupt()
	prepared = h.data
	return prepared
}

// newSite makes a data directory, data or a new one, and starts nothing.
func newSite(t *testing.T, data string) *site {
	t.Helper()
	from := prepare(t)
	s := &site{t: t, dir: t.TempDir(), data: data, mqtt: freeAddr(t), web: freeAddr(t)}
	if s.data == "" {
		s.data = filepath.Join(s.dir, "data")
	}
	if err := os.CopyFS(s.data, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	makePrivate(t, s.data)
	s.listeners = []string{"--mqtt", s.mqtt, "--https", "off", "--http", s.web}
	return s
}

// makePrivate gives copied files the modes that mote wrote them with.
func makePrivate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) startCloud() {
	s.t.Helper()
	s.cloud = startHostOn(s.t, s.data, "cloud", s.listeners...)
}

// iotUplink and restUplink are the configuration of an uplink to addr.
func (s *site) iotUplink(addr string) string {
	return fmt.Sprintf("[uplink.iot]\nendpoint = %q\ncert = %q\nkey = %q\nca = %q\n", addr,
		filepath.Join(s.data, "things/gateway/cert.pem"), filepath.Join(s.data, "things/gateway/key.pem"), filepath.Join(s.data, "ca.pem"))
}

func (s *site) restUplink(addr string) string {
	return fmt.Sprintf("[uplink.rest]\nurl = %q\nauth = \"api-key\"\napi_key_file = %q\n", "http://"+addr+"/prod/dust", filepath.Join(s.data, "api-key"))
}

// configure writes the gateway's configuration; spool is the inside of its table.
func (s *site) configure(spool, source, uplink string) {
	s.t.Helper()
	text := fmt.Sprintf("[gateway]\nname = \"gateway\"\nspool = { %s }\n[[source]]\ntcp = %q\n%s", spool, source, uplink)
	if err := os.WriteFile(filepath.Join(s.dir, "mote.toml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) startGateway() {
	s.gateway = start(s.t, "gateway", "--config", filepath.Join(s.dir, "mote.toml"))
}

// numbers returns the values of dust of one board in the order of time.
func (h *host) numbers(id string) (list []int) {
	h.t.Helper()
	for _, row := range h.history(id) {
		n, err := strconv.Atoi(text(row["dust"]))
		if err != nil {
			h.t.Fatalf("board %s: %v", id, err)
		}
		list = append(list, n)
	}
	return list
}

// wantAll waits until the frames 0 to n-1 of board t are in the table, and
// checks that each is there once and in the order of time.
func (s *site) wantAll(n int) {
	s.t.Helper()
	var got []int
	waitFor(s.t, fmt.Sprintf("table with %d frames", n), 60*time.Second, func() error {
		if got = s.cloud.numbers("t"); len(got) < n {
			return fmt.Errorf("%d rows", len(got))
		}
		return nil
	})
	for i, number := range got {
		if number != i {
			s.t.Fatalf("row %d of %d in the order of time is frame %d, want %d", i, len(got), number, i)
		}
	}
	if len(got) != n {
		s.t.Errorf("%d rows of %d frames", len(got), n)
	}
}

// sent is how many frames the board has written.
func (b *board) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// flaky is a TCP proxy that fails in every way that a network can.
type flaky struct {
	listener net.Listener
	target   string
	calm     atomic.Bool // no more trouble
	cuts     atomic.Int64
	serving  sync.WaitGroup
}

func startFlaky(t *testing.T, target string) *flaky {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{listener: l, target: target}
	f.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serving.Go(func() { f.serve(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); f.serving.Wait() })
	return f
}

// link is one connection through the proxy.
type link struct {
	client, server *net.TCPConn
	mute           atomic.Bool // what the server says is swallowed: its acknowledgements are lost
	stall          atomic.Bool
}

func (f *flaky) serve(client *net.TCPConn) {
	defer client.Close()
	conn, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	l := &link{client: client, server: conn.(*net.TCPConn)}
	defer l.server.Close()
	ended := make(chan struct{}, 2)
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(l.server, l.client, nil); ended <- struct{}{} })
	pumps.Go(func() { l.pump(l.client, l.server, &l.mute); ended <- struct{}{} })
	for !f.calm.Load() {
		select {
		case <-ended:
		case <-time.After(time.Duration(50+rand.IntN(400)) * time.Millisecond):
			if f.calm.Load() || f.trouble(l) {
				continue
			}
		}
		break
	}
	pumps.Wait()
}

// trouble does one bad thing; it reports whether the connection is still good.
func (f *flaky) trouble(l *link) bool {
	f.cuts.Add(1)
	pause := time.Duration(50+rand.IntN(250)) * time.Millisecond
	switch rand.IntN(5) {
	case 0:
		l.stall.Store(true)
		time.Sleep(pause)
		l.stall.Store(false)
		return true
	case 1:
		_ = l.server.CloseWrite() // the cloud sees the end, the gateway does not
		time.Sleep(pause)
	case 2:
		_ = l.client.CloseWrite() // the gateway sees it
		time.Sleep(pause)
	case 3:
		l.mute.Store(true)
		time.Sleep(pause)
	}
	l.reset()
	return false
}

func (l *link) reset() {
	_ = l.client.SetLinger(0)
	_ = l.server.SetLinger(0)
	_ = l.client.Close()
	_ = l.server.Close()
}

func (l *link) pump(to, from *net.TCPConn, mute *atomic.Bool) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		for l.stall.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if n > 0 && (mute == nil || !mute.Load()) {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = to.CloseWrite()
			} else {
				l.reset()
			}
			return
		}
	}
}

func TestACutNetworkLosesAndDoublesNothing(t *testing.T) {
	for _, road := range []string{"iot", "rest"} {
		t.Run(road, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "")
			s.startCloud()
			b := startBoard(t, 2*time.Millisecond)
			var net *flaky
			if road == "iot" {
				net = startFlaky(t, s.mqtt)
				s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(net.listener.Addr().String()))
			} else {
				net = startFlaky(t, s.web)
				s.configure(`dir = "spool"`, b.listener.Addr().String(), s.restUplink(net.listener.Addr().String()))
			}
			s.startGateway()
			time.Sleep(3 * time.Second)
			waitFor(t, "trouble in the network", 10*time.Second, func() error { return countAtLeast(net.cuts.Load(), 4) })
			b.stop()
			net.calm.Store(true)
			s.wantAll(b.sent())
			t.Logf("%d frames through %d troubles", b.sent(), net.cuts.Load())
			wantStop(t, s.gateway)
		})
	}
}

// memory is the resident size of a process in bytes.
func memory(t *testing.T, p *process) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(data)
	if m == nil {
		t.Fatalf("no VmRSS in %s", data)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb << 10
}

func TestAFrozenCloudNeitherLosesNorReordersNorFillsMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.startCloud()
	b := startBoard(t, 100*time.Microsecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	waitFor(t, "first frames", 20*time.Second, func() error {
		if n := len(s.cloud.numbers("t")); n < 500 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	for range 2 {
		before, sent := memory(t, s.gateway), b.sent()
		_ = s.cloud.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond)
		waitFor(t, "frames that are taken while the cloud is frozen", 20*time.Second, func() error { // as fast as the disk syncs
			if more := b.sent() - sent; more < 500 {
				return fmt.Errorf("%d frames", more)
			}
			return nil
		})
		after := memory(t, s.gateway)
		_ = s.cloud.cmd.Process.Signal(syscall.SIGCONT)
		if after-before > 16<<20 {
			t.Errorf("the gateway grew from %d to %d bytes while the cloud was frozen", before, after)
		}
		time.Sleep(300 * time.Millisecond)
	}
	b.stop()
	s.wantAll(b.sent())
}

// startWideBoard starts a board that sends long frames as fast as it can, so
// that few of them fill the spool.
func startWideBoard(t *testing.T) *board {
	t.Helper()
	b := startBoard(t, 0)
	b.says("{t:%d:" + strings.Repeat("x", 230) + ":40:1}")
	return b
}

func TestAFullSpoolThatBlocksStopsTheBoardAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := startWideBoard(t)
	s.configure(`dir = "spool", max = "4MiB", full = "block"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	last := -1
	waitFor(t, "board that is not read any more", 30*time.Second, func() error {
		now := b.written.Load()
		time.Sleep(700 * time.Millisecond)
		if last = int(now); now != b.written.Load() || last == 0 {
			return fmt.Errorf("%d frames", last)
		}
		return nil
	})
	waitFor(t, "word about it in the log", 10*time.Second, func() error {
		if !strings.Contains(s.gateway.out.String(), "spool takes nothing") {
			return errors.New("nothing")
		}
		return nil
	})
	s.startCloud()
	waitFor(t, "board that is read again", 20*time.Second, func() error {
		if n := b.written.Load(); int(n) <= last+100 {
			return fmt.Errorf("%d frames", n)
		}
		return nil
	})
	b.stop()
	s.wantAll(b.sent())
}

// unaccounted is the first of total frames that has no row and was not said to
// be dropped; -1 when there is none. What was on its way when it was dropped may
// have arrived all the same. The first frame, 0, is record 1.
func unaccounted(rows []int, drops [][]string, total int) int {
	accounted := map[int]bool{}
	for _, n := range rows {
		accounted[n] = true
	}
	for _, m := range drops {
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		for seq := from; seq <= to; seq++ {
			accounted[seq-1] = true
		}
	}
	for n := range total {
		if !accounted[n] {
			return n
		}
	}
	return -1
}

func TestAFullSpoolThatDropsSaysWhat(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := startWideBoard(t)
	s.configure(`dir = "spool", max = "4MiB", full = "drop-oldest"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	dropped := regexp.MustCompile(`spool is full: dropped the oldest records".* from=(\d+) to=(\d+)`)
	waitFor(t, "third drop", 30*time.Second, func() error {
		if n := len(dropped.FindAllString(s.gateway.out.String(), -1)); n < 3 {
			return fmt.Errorf("%d drops", n)
		}
		return nil
	})
	b.stop()
	time.Sleep(300 * time.Millisecond) // the gateway reads what the socket still holds
	s.startCloud()
	var got []int
	waitFor(t, "all frames that were not dropped", 40*time.Second, func() error { // the newest come first
		got = s.cloud.numbers("t")
		if n := unaccounted(got, dropped.FindAllStringSubmatch(s.gateway.out.String(), -1), b.sent()); n >= 0 {
			return fmt.Errorf("frame %d of %d is missing without a word", n, b.sent())
		}
		return nil
	})
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Fatalf("frame %d comes after frame %d", got[i], got[i-1])
		}
	}
}

func TestTwoGatewaysOnOneSpoolAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := startBoard(t, 10*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	s.gateway.says("line is open") // after its spool
	second := start(t, "gateway", "--config", filepath.Join(s.dir, "mote.toml"))
	select {
	case <-second.done:
	case <-time.After(10 * patience * time.Second):
		t.Fatal("the second gateway runs")
	}
	if out := second.out.String(); second.err == nil || !strings.Contains(out, "in use by another process") || !strings.Contains(out, "stop the other gateway") {
		t.Errorf("the second gateway ended with %v and said %q", second.err, out)
	}
	s.gateway.interrupt()
}
