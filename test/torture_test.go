package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// board is a real TCP peer that sends numbered frames as fast as asked, each
// number once, over as many connections as the gateway makes.
type board struct {
	listener net.Listener
	pause    time.Duration // between frames
	written  atomic.Int64  // frames, also while one is being written
	serving  sync.WaitGroup

	mu      sync.Mutex
	next    int      // guarded by mu; the number of the next frame
	spans   [][2]int // guarded by mu; per connection the numbers [from, to) that were written
	stopped bool     // guarded by mu
	format  string   // guarded by mu; of a frame, for its number
}

func startBoard(t *testing.T, pause time.Duration) *board {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &board{listener: l, pause: pause, format: "{t:%d:21.5:40:1}"}
	b.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() { b.stop(); l.Close(); b.serving.Wait() })
	return b
}

func (b *board) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

// serve writes frames until the connection or the board ends. It keeps the
// connection open afterwards, as a board does.
func (b *board) serve(conn net.Conn) {
	defer conn.Close()
	b.mu.Lock()
	span := len(b.spans)
	b.spans = append(b.spans, [2]int{b.next, b.next})
	b.mu.Unlock()
	for b.send(conn, span) {
		time.Sleep(b.pause)
	}
	_, _ = conn.Read(make([]byte, 1)) // until the gateway goes
}

// says gives the frames another form, before a gateway reads them.
func (b *board) says(format string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.format = format
}

func (b *board) send(conn net.Conn, span int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || span != len(b.spans)-1 { // a newer connection has taken over
		return false
	}
	if _, err := fmt.Fprintf(conn, b.format, b.next); err != nil {
		return false
	}
	b.next++
	b.written.Store(int64(b.next))
	b.spans[span][1] = b.next
	return true
}

// freeAddr finds an address to listen on that stays free over restarts: its
// port is below those that the kernel gives to outgoing connections, which
// would otherwise take it, or even connect to themselves, while nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
}

// plant is a cloud and a gateway in processes of their own.
type plant struct {
	t           *testing.T
	data, dir   string
	listeners   []string
	cloud       *host
	gateway     *process
	handed      map[int]bool // numbers seen in the spool after a kill
	gatewayConf string
}

func startPlant(t *testing.T, b *board) *plant {
	t.Helper()
	dir := t.TempDir()
	p := &plant{t: t, dir: dir, data: filepath.Join(dir, "data"), handed: map[int]bool{}}
	h := startHost(t, p.data, "up") // makes thing, certificate, table and rule
	h.interrupt()
	mqtt := freeAddr(t)
	p.listeners = []string{"--mqtt", mqtt, "--https", "off", "--http", freeAddr(t)}
	p.gatewayConf = filepath.Join(dir, "mote.toml")
	conf := fmt.Sprintf(`
[gateway]
name = "gateway"
spool = { dir = "spool" }
[[source]]
tcp = %q
[uplink.iot]
endpoint = %q
cert = "data/things/gateway/cert.pem"
key = "data/things/gateway/key.pem"
ca = "data/ca.pem"
`, b.listener.Addr(), mqtt)
	if err := os.WriteFile(p.gatewayConf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	p.startCloud()
	p.startGateway()
	return p
}

func (p *plant) startCloud() { p.cloud = startHostOn(p.t, p.data, "cloud", p.listeners...) }

func (p *plant) startGateway() { p.gateway = start(p.t, "gateway", "--config", p.gatewayConf) }

// readSpool notes every number that the dead gateway's spool holds.
func (p *plant) readSpool() {
	p.t.Helper()
	out := p.cloud.mustRun(binary, "spool", "dump", filepath.Join(p.dir, "spool"), "--output", "json")
	for scan := bufio.NewScanner(strings.NewReader(out)); scan.Scan(); {
		var line struct {
			Record struct{ Dust json.Number }
		}
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			p.t.Fatalf("%v in %s", err, scan.Text())
		}
		if n, err := line.Record.Dust.Int64(); err == nil {
			p.handed[int(n)] = true
		}
	}
}

// stored counts the rows of every number.
func (p *plant) stored() map[int]int {
	counts := map[int]int{}
	for _, row := range p.cloud.rows("air") {
		if n, err := strconv.Atoi(text(row["dust"])); err == nil && text(row["id"]) == "t" {
			counts[n]++
		}
	}
	return counts
}

// TestTortureKillsLoseNothing kills gateway and cloud at random moments under
// load. Afterwards every frame that was handed to the spool is in the table
// exactly once: all numbers seen in a dead gateway's spool, and of every
// connection an unbroken run from its first frame on.
func TestTortureKillsLoseNothing(t *testing.T) {
	b := startBoard(t, 2*time.Millisecond)
	p := startPlant(t, b)
	for range *torture {
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		p.gateway.kill()
		p.readSpool()
		p.startGateway()
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		p.cloud.kill()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		p.startCloud()
	}
	before := b.sent()
	waitFor(t, "frames for the last gateway", 30*time.Second, func() error { return atLeast(b.sent(), before+200) })
	b.stop()
	p.checkAll(b)
}

func (p *plant) checkAll(b *board) {
	b.mu.Lock()
	spans := b.spans
	last := spans[len(spans)-1][1] - 1
	b.mu.Unlock()
	var stored map[int]int
	// The newest may come first, and what was sent at once comes in any order.
	waitFor(p.t, "last frames and those of dead spools in the table", 60*time.Second, func() error {
		stored = p.stored()
		for n := range p.handed {
			if stored[n] == 0 {
				return fmt.Errorf("frame %d of a dead gateway's spool is missing, %d rows are there", n, len(stored))
			}
		}
		for n := spans[len(spans)-1][0]; n <= last; n++ {
			if stored[n] == 0 {
				return fmt.Errorf("frame %d is missing, %d rows are there", n, len(stored))
			}
		}
		return nil
	})
	for n, count := range stored {
		if count != 1 {
			p.t.Errorf("frame %d has %d rows", n, count)
		}
	}
	for _, span := range spans {
		missing := -1
		for n := span[0]; n < span[1]; n++ {
			if stored[n] == 0 && missing < 0 {
				missing = n
			}
			if stored[n] != 0 && missing >= 0 {
				p.t.Errorf("connection %v: frame %d is stored, frame %d before it is not", span, n, missing)
				break
			}
		}
	}
	p.t.Logf("%d kills of each, %d connections, %d frames stored, %d seen in dead spools", *torture, len(spans), len(stored), len(p.handed))
}
