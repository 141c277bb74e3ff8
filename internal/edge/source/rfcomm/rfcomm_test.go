package rfcomm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const board = "00:18:E4:35:4A:D7"

func TestParseAddress(t *testing.T) {
	want := Address{0x00, 0x18, 0xe4, 0x35, 0x4a, 0xd7}
	for _, s := range []string{board, strings.ToLower(board), "00-18-e4-35-4a-D7"} {
		if got, err := ParseAddress(s); err != nil || got != want || got.String() != board {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "00:18:E4:35:4A", board + ":00", "00:18:E4:35:4A:G7", "0018E4354AD7", "00:18-E4:35:4A:D7", "00.18.E4.35.4A.D7", "00:18:E4:35:4A:Ç", "x0:18:E4:35:4A:D7", "00:18:E4:35:4A:\x067"} {
		if a, err := ParseAddress(s); err == nil || !strings.Contains(err.Error(), "00:18:E4:35:4A:D7") {
			t.Errorf("%q: %v, %v; want an error that shows the right form", s, a, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add(board)
	f.Add("00-18-e4-35-4a-d7")
	f.Add("ff:ff:ff:ff:ff:f@")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if want := strings.ReplaceAll(strings.ToUpper(s), "-", ":"); a.String() != want {
			t.Fatalf("%q became %s", s, a)
		}
	})
}

func TestAddressIsLittleEndianInTheSocket(t *testing.T) {
	a, _ := ParseAddress(board)
	if got := a.reversed(); got != [6]byte{0xd7, 0x4a, 0x35, 0xe4, 0x18, 0x00} {
		t.Errorf("% x", got)
	}
	if Address(Address(a.reversed()).reversed()) != a {
		t.Error("reversed twice is another address")
	}
}

func TestNewRefuses(t *testing.T) {
	for want, o := range map[string]Options{
		"bad bluetooth address": {Address: "HC-05"},
		"no board":              {Address: "00:00:00:00:00:00"},
		"channel 31":            {Address: board, Channel: 31},
		"channel -1":            {Address: board, Channel: -1},
		"adapter: bad":          {Address: board, Adapter: "hci0"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %s", o, err, want)
		}
	}
	s, err := New(Options{Address: board, Channel: 3})
	if err != nil || s.Name() != board+" channel 3" || s.timeout != DefaultTimeout {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestErrorsInPlainWords(t *testing.T) {
	for _, c := range []struct {
		at     moment
		number syscall.Errno
		want   string
	}{
		{atSocket, syscall.EAFNOSUPPORT, "modprobe rfcomm"},
		{atSocket, syscall.EAFNOSUPPORT, "container"},
		{atSocket, syscall.EPROTONOSUPPORT, "modprobe rfcomm"},
		{atSocket, syscall.EACCES, "sandbox"},
		{atDial, syscall.EACCES, "refused the pin"},
		{atDial, syscall.EBADE, "not paired"},
		{atDial, syscall.EMLINK, "second adapter"},
		{atListen, syscall.EADDRINUSE, "another program"},
		{atDial, syscall.EHOSTDOWN, "off, too far away"},
		{atDial, syscall.ECONNREFUSED, "nobody listens"},
		{atDial, syscall.EBUSY, "still closing"},
		{atDial, syscall.EHOSTUNREACH, "adapter is down"},
		{atDial, syscall.ECONNRESET, "tried again"},
		{atRead, syscall.ECONNRESET, "board closed"},
		{atRead, syscall.ETIMEDOUT, "link to the board was lost"},
		{atRead, syscall.ECONNABORTED, "adapter was switched off"},
		{atWrite, syscall.ENOTCONN, "board closed"},
	} {
		err := explain(c.at, &os.PathError{Op: "x", Path: "rfcomm", Err: c.number})
		if c.at == atSocket {
			err = explain(atDial, os.NewSyscallError("socket", c.number))
		}
		if !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.number) {
			t.Errorf("%s %v: %v; want it to say %s", c.at, c.number, err, c.want)
		}
		if closed := c.at == atRead && c.number == syscall.ECONNRESET; errors.Is(err, io.EOF) != closed {
			t.Errorf("%s %v: is io.EOF: %v", c.at, c.number, !closed)
		}
	}
	if err := explain(atRead, os.ErrDeadlineExceeded); err != os.ErrDeadlineExceeded {
		t.Errorf("a deadline became %v", err)
	}
	if err := explain(atDial, context.DeadlineExceeded); !strings.Contains(err.Error(), "does not answer in time") {
		t.Errorf("dial deadline: %v", err)
	}
	if err := explain(atRead, syscall.EXDEV); err != syscall.EXDEV {
		t.Errorf("an unknown number became %v", err)
	}
}

// fake is an adapter for tests: it counts dials that run at the same time.
type fake struct {
	mu      sync.Mutex
	now     map[Address]int
	most    int
	took    time.Duration
	answers []error // one for each dial, then success
	dials   int
}

func (f *fake) dial(ctx context.Context, local, remote Addr) (net.Conn, error) {
	f.mu.Lock()
	f.now[local.Device]++
	f.most = max(f.most, f.now[local.Device])
	var answer error
	if f.dials < len(f.answers) {
		answer = f.answers[f.dials]
	}
	f.dials++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now[local.Device]--
		f.mu.Unlock()
	}()
	select {
	case <-time.After(f.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if answer != nil {
		return nil, answer
	}
	here, there := net.Pipe()
	there.Close()
	return here, nil
}

func (f *fake) source(t *testing.T, turns *turns, adapter string) *Source {
	t.Helper()
	s, err := New(Options{Address: board, Adapter: adapter})
	if err != nil {
		t.Fatal(err)
	}
	f.now = map[Address]int{}
	s.turns, s.dial = turns, f.dial
	return s
}

func TestDialsTakeTurnsAndTimeOutAfterTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{took: 5 * time.Second}
		var shared turns
		s := f.source(t, &shared, "")
		errs := make(chan error, 6)
		begin := time.Now()
		for range 6 { // the last waits 25 s, longer than a dial may take
			go func() {
				conn, err := s.Dial(t.Context())
				if err == nil {
					conn.Close()
				}
				errs <- err
			}()
		}
		for range 6 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if f.most != 1 || time.Since(begin) != 30*time.Second {
			t.Errorf("%d dials at once, %v in all", f.most, time.Since(begin))
		}
	})
}

func TestDialGivesUpItsPlaceInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{took: 5 * time.Second}
		var shared turns
		s := f.source(t, &shared, "")
		go s.Dial(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another dial") {
			t.Errorf("%v", err)
		}
		begin := time.Now()
		if _, err := s.Dial(t.Context()); err != nil || time.Since(begin) != 9*time.Second {
			t.Errorf("the next dial: %v after %v", err, time.Since(begin))
		}
	})
}

func TestDialTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{took: time.Hour}
		var shared turns
		begin := time.Now()
		_, err := f.source(t, &shared, "").Dial(t.Context())
		if err == nil || !strings.Contains(err.Error(), board+": the board does not answer in time") || time.Since(begin) != DefaultTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestAdaptersDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shared turns
		take := func(a byte) func() {
			release, err := shared.take(t.Context(), Address{a})
			if err != nil {
				t.Error(err)
			}
			return release
		}
		first, second := take(1), take(2)
		var order []byte
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, a := range []byte{0, 2} { // any adapter waits for both; 2 does not pass it by
			all.Go(func() {
				release := take(a)
				mu.Lock()
				order = append(order, a)
				mu.Unlock()
				release()
			})
			synctest.Wait()
		}
		second()
		synctest.Wait()
		if len(order) != 0 {
			t.Errorf("%v went while adapter 1 was in use", order)
		}
		first()
		first() // a second call gives nothing back
		all.Wait()
		if fmt.Sprint(order) != "[0 2]" || len(shared.holding)+len(shared.waiting) != 0 {
			t.Errorf("order %v, left %v %v", order, shared.holding, shared.waiting)
		}
	})
}

func TestBusyIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shared turns
		f := &fake{answers: []error{syscall.EBUSY, os.NewSyscallError("connect", syscall.ECONNRESET), syscall.ENOMEM}}
		begin := time.Now()
		if _, err := f.source(t, &shared, "").Dial(t.Context()); err != nil || f.dials != 4 {
			t.Errorf("%v after %d dials", err, f.dials)
		}
		if took := time.Since(begin); took < 3*busyPause || took > 3*(busyPause+busyJitter) {
			t.Errorf("three pauses took %v", took)
		}
		f = &fake{answers: []error{syscall.EHOSTDOWN}}
		if _, err := f.source(t, &shared, "").Dial(t.Context()); !errors.Is(err, syscall.EHOSTDOWN) || f.dials != 1 {
			t.Errorf("%v after %d dials", err, f.dials)
		}
		f = &fake{answers: make([]error, 100)}
		for i := range f.answers {
			f.answers[i] = syscall.EBUSY
		}
		if _, err := f.source(t, &shared, "").Dial(t.Context()); !errors.Is(err, syscall.EBUSY) || f.dials != busyTries || !strings.Contains(err.Error(), "already connected") {
			t.Errorf("%v after %d dials", err, f.dials)
		}
	})
}
