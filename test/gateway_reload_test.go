package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tcpBoard sends a frame each 50 ms to whoever connects, and counts them.
type tcpBoard struct {
	addr     string
	accepted atomic.Int64
	open     atomic.Int64
}

func newTCPBoard(t *testing.T, id string) *tcpBoard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &tcpBoard{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.accepted.Add(1)
			b.open.Add(1)
			go b.speak(conn, id)
		}
	}()
	return b
}

func (b *tcpBoard) speak(conn net.Conn, id string) {
	defer b.open.Add(-1)
	defer conn.Close()
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(conn, "{%s:%d:20:40:0.05}", id, i); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// watched is a gateway with health and metrics.
type watched struct {
	*process
	conf, url string
}

// watchedGateway starts a gateway whose configuration is [gateway] and text.
func watchedGateway(t *testing.T, text string) *watched {
	t.Helper()
	w := &watched{conf: filepath.Join(t.TempDir(), "mote.toml")}
	addr := freeAddr(t)
	w.url = "http://" + addr
	w.write(t, text)
	w.process = start(t, "gateway", "--config", w.conf)
	waitFor(t, "answer of "+w.url, 10*time.Second, func() error {
		_, _, err := w.get("/healthz")
		return err
	})
	return w
}

func (w *watched) write(t *testing.T, text string) {
	t.Helper()
	text = fmt.Sprintf("[gateway]\nname = \"roof\"\nlisten = %q\n", strings.TrimPrefix(w.url, "http://")) + text
	next := w.conf + ".new" // as editors do it
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, w.conf); err != nil {
		t.Fatal(err)
	}
}

func (w *watched) get(path string) (int, []byte, error) {
	resp, err := http.Get(w.url + path)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// health is what the tests read of /healthz.
type health struct {
	OK       bool
	Problems []string
	Boards   []struct {
		ID  string
		Age float64
	}
	Sources []struct{ Name, State string }
	Uplinks []struct {
		Name                        string
		Connected                   bool
		Delivered, Waiting, Retries uint64
		Drain                       *float64
	}
	Spool struct {
		Written uint64 `json:"written_bytes_24h"`
	}
}

func (w *watched) health() (h health, err error) {
	_, body, err := w.get("/healthz")
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(body, &h)
}

// sink is an HTTP server that takes readings.
func sink(t *testing.T) (url string, taken *atomic.Int64) {
	t.Helper()
	taken = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { taken.Add(1) }))
	t.Cleanup(s.Close)
	return s.URL + "/prod/dust", taken
}

func source(b *tcpBoard) string { return fmt.Sprintf("[[source]]\ntcp = %q\n", b.addr) }

func rest(url string) string { return fmt.Sprintf("[uplink.rest]\nurl = %q\n", url) }

func TestAChangedConfigurationTouchesOnlyWhatChanged(t *testing.T) {
	stays, comes := newTCPBoard(t, "stays"), newTCPBoard(t, "comes")
	url, taken := sink(t)
	other, otherTaken := sink(t)
	g := watchedGateway(t, source(stays)+rest(url))
	waitFor(t, "readings", 10*time.Second, func() error { return countAtLeast(taken.Load(), 5) })

	g.write(t, source(stays)+source(comes)+rest(url)) // followed by itself
	waitFor(t, "second board", 20*time.Second, func() error { return countAtLeast(comes.accepted.Load(), 1) })

	g.write(t, source(stays)+source(comes)+rest(other))
	g.signal(t, syscall.SIGHUP) // at once
	waitFor(t, "readings at the other server", 10*time.Second, func() error { return countAtLeast(otherTaken.Load(), 5) })
	before := taken.Load()

	g.write(t, source(stays)+"[[source]]\ntcpp = \"x\"\n"+rest(url))
	g.signal(t, syscall.SIGHUP)
	waitFor(t, "refusal", 10*time.Second, func() error {
		for _, want := range []string{"configuration is refused", `mote.toml:7: unknown key`, `did you mean`} {
			if !strings.Contains(g.out.String(), want) {
				return fmt.Errorf("no %q", want)
			}
		}
		return nil
	})
	g.write(t, source(stays)+rest(other)+"[gateway.spool]\nmax = \"64MiB\"\n")
	g.signal(t, syscall.SIGHUP)
	waitFor(t, "end of the second board's line", 10*time.Second, func() error { return countAtMost(comes.open.Load(), 0) })
	waitFor(t, "word about what needs a restart", 10*time.Second, func() error {
		if !strings.Contains(g.out.String(), "needs a restart of the gateway") || !strings.Contains(g.out.String(), "settings=gateway.spool") {
			return errors.New("none")
		}
		return nil
	})
	if n := stays.accepted.Load(); n != 1 || stays.open.Load() != 1 {
		t.Errorf("the line that stayed was opened %d times, %d open", n, stays.open.Load())
	}
	if n := taken.Load(); n != before {
		t.Errorf("the server before got %d more readings", n-before)
	}
	waitFor(t, "health of what stayed", 10*time.Second, func() error {
		h, err := g.health()
		if err == nil && (len(h.Sources) != 1 || len(h.Boards) != 1 || h.Boards[0].ID != "stays") {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	wantStop(t, g.process)
}

func countAtLeast(n, least int64) error {
	if n < least {
		return fmt.Errorf("%d, want %d", n, least)
	}
	return nil
}

func countAtMost(n, most int64) error {
	if n > most {
		return fmt.Errorf("%d, want at most %d", n, most)
	}
	return nil
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestHealthMetricsAndThePageOfAGateway(t *testing.T) {
	board := newTCPBoard(t, "1")
	url, _ := sink(t)
	g := watchedGateway(t, source(board)+"name = \"<i>roof</i>\"\n"+rest(url))
	waitFor(t, "health", 10*time.Second, func() error {
		h, err := g.health()
		if err == nil && (!h.OK || len(h.Boards) != 1 || len(h.Uplinks) != 1 || !h.Uplinks[0].Connected || h.Uplinks[0].Delivered < 1 || h.Spool.Written < 4096) {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	for path, want := range map[string]string{
		"/metrics": `mote_source_up{source="<i>roof</i>"} 1`,
		"/":        "<td>&lt;i&gt;roof&lt;/i&gt;</td>",
	} {
		if code, body, err := g.get(path); err != nil || code != 200 || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %d %v, without %q:\n%s", path, code, err, want, body)
		}
	}
	req, err := http.NewRequest("GET", g.url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "attacker.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("another host name is answered with %d", resp.StatusCode)
	}
}

func TestTheLogOfANormalDayIsQuiet(t *testing.T) {
	board := newTCPBoard(t, "1")
	url, taken := sink(t)
	g := watchedGateway(t, source(board)+rest(url))
	waitFor(t, "readings", 10*time.Second, func() error { return countAtLeast(taken.Load(), 5) })
	before := len(g.out.String())
	seen := taken.Load()
	waitFor(t, "many readings", 20*time.Second, func() error { return countAtLeast(taken.Load(), seen+100) })
	if more := g.out.String()[before:]; more != "" {
		t.Errorf("100 readings are worth this to the log:\n%s", more)
	}
	if n := bytes.Count([]byte(g.out.String()), []byte("\n")); n > 5 {
		t.Errorf("the start takes %d lines", n)
	}
}

// TestReadingsWaitThroughAnotherConfiguration: with another directory they stay,
// and that is told; an uplink of another kind then delivers each of them once.
func TestReadingsWaitThroughAnotherConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := startBoard(t, time.Millisecond)
	addr, old := b.listener.Addr().String(), filepath.Join(s.dir, "spool")
	s.configure(`dir = "spool"`, addr, s.iotUplink(freeAddr(t)))
	s.startGateway()
	waitFor(t, "readings", 20*time.Second, func() error { return countAtLeast(b.written.Load(), 300) })
	b.stop()
	waitFor(t, "all of them in the spool", 20*time.Second, func() error {
		out, err := exec.Command(binary, "spool", "dump", "--output", "json", old).Output()
		if n := bytes.Count(out, []byte(`"record":`)); err != nil || n != b.sent() {
			return fmt.Errorf("%d of %d, %v", n, b.sent(), err)
		}
		return nil
	})
	wantStop(t, s.gateway)

	s.configure(`dir = "other"`, addr, s.iotUplink(freeAddr(t)))
	s.startGateway()
	s.gateway.says("readings are left in another spool")
	s.gateway.says(fmt.Sprintf("waiting=%d", b.sent()))
	wantStop(t, s.gateway)

	s.startCloud()
	s.configure(`dir = "spool"`, addr, s.restUplink(s.web))
	s.startGateway()
	s.gateway.says("a reader is no longer configured")
	s.wantAll(b.sent())
	wantStop(t, s.gateway)
}
