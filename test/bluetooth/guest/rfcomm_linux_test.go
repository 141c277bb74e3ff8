package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mote/internal/edge/source/rfcomm"
)

// failed checks the kernel's number and the words for it.
func failed(t *testing.T, err error, number unix.Errno, words string) {
	t.Helper()
	if !errors.Is(err, number) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v; want %v and the words %q", err, number, words)
	}
}

func TestSystemWithoutBluetooth(t *testing.T) {
	theWorld(t)
	failed(t, before["bluetooth"], unix.EAFNOSUPPORT, "modprobe rfcomm")
	failed(t, before["rfcomm"], unix.EPROTONOSUPPORT, "modprobe rfcomm")
}

// TestNetworkOfItsOwn is a container without the host's network.
func TestNetworkOfItsOwn(t *testing.T) {
	e := theWorld(t)
	s := e.source(t, rfcomm.Options{Address: e.boards[0].Address.String()})
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		_, err := s.Dial(t.Context())
		result <- err
	}()
	failed(t, <-result, unix.EAFNOSUPPORT, "container")
}

func TestPINPairing(t *testing.T) {
	e := theWorld(t)
	board := e.boards[0]
	s := e.source(t, rfcomm.Options{Address: board.Address.String()})
	board.listen(t, 1)
	// Pairings of other tests; without one there is nothing to forget.
	_ = e.mgmt.Forget(board.index, e.gateway.Address)
	_ = e.mgmt.Forget(e.gateway.index, board.Address)
	before := e.mgmt.TimesAsked(e.gateway.index)

	for _, wrong := range []struct {
		here, there string
		number      unix.Errno
		words       string
	}{
		{"0000", pin, unix.EACCES, "the board refused the pin"},
		{pin, "", unix.EACCES, "the board refused the pin"},
		{"", pin, unix.EBADE, "not paired"},
	} {
		e.mgmt.SetPIN(e.gateway.index, wrong.here)
		e.mgmt.SetPIN(board.index, wrong.there)
		_, err := s.Dial(t.Context())
		failed(t, err, wrong.number, wrong.words)
		e.air.Lose(e.gateway.Controller, board.Controller)
	}
	e.mgmt.SetPIN(board.index, pin)

	e.mgmt.SetPIN(e.gateway.index, pin)
	conn, err := e.dial(t, board)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	asked := e.mgmt.TimesAsked(e.gateway.index)
	if asked != before+4 {
		t.Errorf("asked %d times for the pin, want once in each of four tries", asked-before)
	}
	e.air.Lose(e.gateway.Controller, board.Controller) // so that the next dial proves itself anew
	if conn, err = e.dial(t, board); err != nil {
		t.Fatal(err)
	}
	if again := e.mgmt.TimesAsked(e.gateway.index); again != asked {
		t.Errorf("a paired board was asked for the pin again")
	}
	conn.Close()

	if err := e.mgmt.Forget(board.index, e.gateway.Address); err != nil { // as a module does that is reset
		t.Fatal(err)
	}
	_, err = s.Dial(t.Context())
	failed(t, err, unix.EBADE, "pair it again")
	if err := e.mgmt.Forget(e.gateway.index, board.Address); err != nil {
		t.Fatal(err)
	}
	if conn, err = e.dial(t, board); err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestFramesInCommandsOut(t *testing.T) {
	e := theWorld(t)
	here, there := e.connect(t, e.boards[0])
	said(t, there, "{1:35.2:21.")
	said(t, there, "5:40:7}{1:35.3:")
	heard(t, here, "{1:35.2:21.5:40:7}{1:35.3:")
	said(t, here, "{rate:10}")
	heard(t, there, "{rate:10}")
	if got := here.RemoteAddr().String(); got != e.boards[0].Address.String() {
		t.Errorf("remote %s", got)
	}
	if got := there.RemoteAddr().String(); !strings.HasPrefix(got, e.gateway.Address.String()) {
		t.Errorf("the board sees %s", got)
	}
	block := strings.Repeat("0123456789abcdef", 4096)
	go func() { _, _ = io.WriteString(there, block) }()
	heard(t, here, block)
}

func TestBoardClosesAfterItsLastFrame(t *testing.T) {
	e := theWorld(t)
	here, there := e.connect(t, e.boards[0])
	said(t, there, "{1:1:2:3:4}")
	there.Close()
	heard(t, here, "{1:1:2:3:4}")
	_, err := here.Read(make([]byte, 1))
	failed(t, err, unix.ECONNRESET, "board closed")
	if !errors.Is(err, io.EOF) {
		t.Errorf("%v is no io.EOF", err)
	}
	_, err = here.Write([]byte("{rate:1}"))
	failed(t, err, unix.ENOTCONN, "board closed")
}

func TestAbsentBoard(t *testing.T) {
	e := theWorld(t)
	begun := time.Now()
	_, err := e.source(t, rfcomm.Options{Address: "00:18:E4:FF:FF:FF"}).Dial(t.Context())
	failed(t, err, unix.EHOSTDOWN, "00:18:E4:FF:FF:FF: the board does not answer")
	if took := time.Since(begun); took < 4*time.Second {
		t.Errorf("gave up after %v, before the page could time out", took)
	}
}

func TestRefusedChannel(t *testing.T) {
	e := theWorld(t)
	_, err := e.source(t, rfcomm.Options{Address: e.boards[0].Address.String(), Channel: 7}).Dial(t.Context())
	failed(t, err, unix.ECONNREFUSED, "nobody listens on that channel")
}

func TestNoSuchAdapter(t *testing.T) {
	e := theWorld(t)
	s, err := rfcomm.New(rfcomm.Options{Address: e.boards[0].Address.String(), Adapter: "00:1A:7D:FF:FF:FF"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Dial(t.Context())
	failed(t, err, unix.EHOSTUNREACH, "no adapter of the configured address")
}

func TestLinkLoss(t *testing.T) {
	e := theWorld(t)
	here, _ := e.connect(t, e.boards[1])
	time.AfterFunc(50*time.Millisecond, func() { e.air.Lose(e.gateway.Controller, e.boards[1].Controller) })
	here.SetReadDeadline(time.Now().Add(within))
	_, err := here.Read(make([]byte, 1))
	failed(t, err, unix.ETIMEDOUT, "radio link to the board was lost")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v reads as a deadline", err)
	}
}

// TestRadioSilence is a link on which nothing comes any more, and of which the
// kernel says nothing.
func TestRadioSilence(t *testing.T) {
	e := theWorld(t)
	here, there := e.connect(t, e.boards[1])
	said(t, there, "{1}")
	heard(t, here, "{1}")
	e.air.Mute(e.gateway.Controller, e.boards[1].Controller, true)
	said(t, there, "{2}")
	here.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
	here.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	var err error
	for wrote := 0; err == nil && wrote < 16<<20; wrote += 4096 {
		_, err = here.Write(make([]byte, 4096))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a peer that takes nothing: %v", err)
	}
	done := make(chan error, 1)
	here.SetReadDeadline(time.Time{})
	go func() { _, err := here.Read(make([]byte, 1)); done <- err }()
	time.AfterFunc(50*time.Millisecond, func() { here.Close() })
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("close of a silent line ends its read with %v", err)
	}
	e.air.Lose(e.gateway.Controller, e.boards[1].Controller)
}

// TestRedialAtOnce closes and dials again without a pause, which the kernel
// answers with EBUSY while the old connection is closing.
func TestRedialAtOnce(t *testing.T) {
	e := theWorld(t)
	board := e.boards[2]
	ln := board.listen(t, 1)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	s := e.source(t, rfcomm.Options{Address: board.Address.String()})
	for i := range 10 {
		conn, err := s.Dial(t.Context())
		if err != nil {
			t.Fatalf("dial %d: %v", i+1, err)
		}
		said(t, conn, "{x}")
		heard(t, conn, "{x}")
		conn.Close()
	}
}

func TestBoardIsConnectedAlready(t *testing.T) {
	e := theWorld(t)
	e.connect(t, e.boards[0])
	_, err := e.source(t, rfcomm.Options{Address: e.boards[0].Address.String()}).Dial(t.Context())
	failed(t, err, unix.EBUSY, "already connected")
}

func TestAdapterOffAndOn(t *testing.T) {
	e := theWorld(t)
	for name, way := range map[string]struct{ off, on func() error }{
		"power": {func() error { return e.power(e.gateway, false) }, func() error { return e.power(e.gateway, true) }},
		"rfkill": {func() error { return block(e.gateway, true) }, func() error {
			return errors.Join(block(e.gateway, false), e.power(e.gateway, true))
		}},
		"unplugged": {e.unplugGateway, e.plugGateway},
	} {
		t.Run(name, func(t *testing.T) {
			here, _ := e.connect(t, e.boards[0])
			off := make(chan error, 1)
			time.AfterFunc(50*time.Millisecond, func() { off <- way.off() })
			here.SetReadDeadline(time.Now().Add(within))
			_, err := here.Read(make([]byte, 1))
			if !errors.Is(err, unix.ECONNABORTED) && !errors.Is(err, unix.ECONNRESET) || !strings.Contains(err.Error(), "adapter") {
				t.Errorf("read: %v", err)
			}
			t.Log(err)
			here.Close()
			if err := <-off; err != nil {
				t.Fatal(err)
			}
			_, err = e.source(t, rfcomm.Options{Address: e.boards[1].Address.String()}).Dial(t.Context())
			failed(t, err, unix.EHOSTUNREACH, "adapter is down")
			if err := way.on(); err != nil {
				t.Fatal(err)
			}
			again, there := e.connect(t, e.boards[1])
			said(t, there, "{back}")
			heard(t, again, "{back}")
		})
	}
}

// block switches an adapter off or on as the command rfkill does.
func block(s *station, yes bool) error {
	names, err := filepath.Glob("/sys/class/rfkill/*/name")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(text)) == fmt.Sprintf("hci%d", s.index) {
			soft := []byte("0")
			if yes {
				soft = []byte("1")
			}
			return os.WriteFile(filepath.Join(filepath.Dir(name), "soft"), soft, 0)
		}
	}
	return fmt.Errorf("hci%d is not among %v", s.index, names)
}

func (e *earth) unplugGateway() error {
	e.mgmt.SetPIN(e.gateway.index, "")
	err := e.gateway.unplug()
	_ = e.gateway.Wait() // it ends by the unplugging
	return err
}

// plugGateway brings the adapter back, which has forgotten its pairings.
func (e *earth) plugGateway() error {
	s, err := e.plug(e.gateway.Address, "gateway")
	if err != nil {
		return err
	}
	e.gateway = s
	for _, b := range e.boards {
		_ = e.mgmt.Forget(b.index, s.Address) // a board that was never paired has nothing to forget
	}
	return nil
}

// TestDialsTakeTurns dials three boards at once, two of which are away. Their
// time-outs begin when it is their turn, so every dial is told what is wrong
// with its own board, and the radio has one page at a time.
func TestDialsTakeTurns(t *testing.T) {
	e := theWorld(t)
	for _, b := range e.boards[:2] {
		b.SetAway(true)
		defer b.SetAway(false)
	}
	e.boards[2].listen(t, 1)
	errs := make([]error, 3)
	var all sync.WaitGroup
	for i, b := range e.boards {
		s := e.source(t, rfcomm.Options{Address: b.Address.String(), Timeout: 9 * time.Second})
		all.Go(func() {
			conn, err := s.Dial(t.Context())
			if errs[i] = err; err == nil {
				conn.Close()
			}
		})
	}
	all.Wait()
	failed(t, errs[0], unix.EHOSTDOWN, "does not answer")
	failed(t, errs[1], unix.EHOSTDOWN, "does not answer")
	if errs[2] != nil {
		t.Errorf("the board that is there: %v", errs[2])
	}
	if most := e.gateway.Stats().MostPages; most != 1 {
		t.Errorf("%d pages at a time", most)
	}
}

// TestCancelledDial gives up a dial while the radio still pages; the next board
// is reached all the same, within one dial's time.
func TestCancelledDial(t *testing.T) {
	e := theWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	begun := time.Now()
	if _, err := e.source(t, rfcomm.Options{Address: "00:18:E4:FF:FF:FE"}).Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 5*time.Second { // when the page times out
		t.Errorf("a cancelled dial held on for %v", took)
	}
	begun = time.Now()
	here, there := e.connect(t, e.boards[2])
	t.Logf("the next board was reached after %v", time.Since(begun))
	said(t, there, "{3}")
	heard(t, here, "{3}")
}
