package guest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/edge/source/rfcomm"
	"mote/internal/watch"
	"mote/test/bluetooth/radio"
	"mote/test/machine/inside"
)

func TestMain(m *testing.M) { inside.Main(m, nil) }

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !watch.Soon(ok) {
		t.Fatalf("waited in vain: %s\n%s", what, try("journalctl", "--no-pager", "--lines=40", "--unit=mote"))
	}
}

// try runs a program and returns all that it prints, and last how it ended.
func try(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// run runs a program that must succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	began := time.Now()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, out, try("journalctl", "--no-pager", "--lines=40"))
	}
	t.Logf("%s %s: %v", name, strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
	return string(out)
}

// property asks systemd for one of the service's.
func property(name string) string {
	return strings.TrimSpace(try("systemctl", "show", "--value", "--property="+name, "mote.service"))
}

// server stands for the cloud: it takes readings and counts them by board.
type server struct {
	mu     sync.Mutex
	boards map[string]int // guarded by mu
}

var boardID = regexp.MustCompile(`"id":"(\w+)"`)

func (s *server) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range boardID.FindAllSubmatch(body, -1) {
		s.boards[string(id[1])]++
	}
}

// more waits until each board has sent another reading all the way.
func (s *server) more(t *testing.T, ids ...string) {
	t.Helper()
	s.mu.Lock()
	s.boards = map[string]int{}
	s.mu.Unlock()
	until(t, "readings of "+strings.Join(ids, ", "), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range ids {
			if s.boards[id] == 0 {
				return false
			}
		}
		return true
	})
}

// begin serves on a port of the machine.
func (s *server) begin(t *testing.T) (addr string) {
	t.Helper()
	l := listen(t)
	web := &http.Server{Handler: s}
	served := make(chan struct{})
	go func() { defer close(served); _ = web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-served })
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// board sends frames to everybody who connects, until the listener is closed.
func board(t *testing.T, l net.Listener, id string) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				for t.Context().Err() == nil {
					if _, err := fmt.Fprintf(conn, "{%s:35.2:21.5:40:1}", id); err != nil {
						return
					}
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
	})
}

// radioBoard is a board over Bluetooth, behind emulated adapters.
func radioBoard(t *testing.T, id string) (address string) {
	t.Helper()
	m, err := radio.OpenManagement()
	if err != nil {
		t.Fatal(err)
	}
	air := &radio.Air{}
	var last *radio.Controller
	for i, name := range []string{"gateway", "HC-05"} {
		c, index, unplug, err := air.Plug(radio.Address{0x00, 0x18, 0xe4, 0, 0, byte(i)}, name, -50)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unplug(); _ = c.Wait() })
		m.SetPIN(index, "1234")
		if err := m.PowerOn(index); err != nil {
			t.Fatal(err)
		}
		last = c
	}
	l, err := rfcomm.Listen(last.Address.String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	board(t, l, id)
	return last.Address.String()
}
