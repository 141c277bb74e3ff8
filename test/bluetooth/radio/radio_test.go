package radio

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	here  = Address{0, 0x1a, 0x7d, 0, 0, 1}
	there = Address{0, 0x18, 0xe4, 0, 0, 1}
)

// host is the kernel's side: it plays packets and keeps what comes back.
type host struct {
	in chan []byte

	mu  sync.Mutex
	out [][]byte // guarded by mu
}

func (h *host) Read(p []byte) (int, error) {
	b, ok := <-h.in
	if !ok {
		return 0, io.EOF
	}
	return copy(p, b), nil
}

func (h *host) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, bytes.Clone(p))
	return len(p), nil
}

func (h *host) command(code uint16, p ...byte) {
	h.in <- append([]byte{h4Command, byte(code), byte(code >> 8), byte(len(p))}, p...)
	synctest.Wait()
}

// event returns the parameters of the last event of that code, or nil.
func (h *host) event(code byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range slices.Backward(h.out) {
		if p[0] == h4Event && p[1] == code {
			return p[3:]
		}
	}
	return nil
}

// two attaches two stations; the second answers pages.
func two() (a *Air, x, y *Controller, hx, hy *host, end func()) {
	a = &Air{}
	hx, hy = &host{in: make(chan []byte)}, &host{in: make(chan []byte)}
	x, y = a.Attach(here, "x", -40, hx), a.Attach(there, "y", -60, hy)
	hy.command(0x0c1a, 3)
	return a, x, y, hx, hy, func() {
		close(hx.in)
		close(hy.in)
		if err := errors.Join(x.Wait(), y.Wait()); !errors.Is(err, io.EOF) {
			panic(err)
		}
	}
}

func createConnection(to Address) []byte { return append(to.reversed(), make([]byte, 7)...) }

func TestPageTimesOutAndTheNextTakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, x, y, hx, _, end := two()
		defer end()
		y.SetAway(true)
		hx.command(0x0405, createConnection(there)...)
		hx.command(0x0405, createConnection(Address{9})...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if p := hx.event(evConnectionComplete); p != nil {
			t.Errorf("an answer before the time-out: % x", p)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if p := hx.event(evConnectionComplete); len(p) != 11 || p[0] != pageTimedOut || addressIn(p[3:]) != there {
			t.Errorf("% x", p)
		}
		if s := x.Stats(); s.Pages != 2 || s.Waiting != 1 || s.MostPages != 2 {
			t.Errorf("%+v", s)
		}
		hx.command(0x0408, Address{9}.reversed()...)
		if p := hx.event(evConnectionComplete); p[0] != unknownLink || x.Stats().Waiting != 0 {
			t.Errorf("after the cancellation: % x, %+v", p, x.Stats())
		}
	})
}

func TestLinkCarriesDataUntilItIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, x, y, hx, hy, end := two()
		defer end()
		hx.command(0x0405, createConnection(there)...)
		time.Sleep(time.Second)
		if p := hy.event(evConnectionRequest); len(p) != 10 || addressIn(p) != here {
			t.Fatalf("request % x", p)
		}
		hy.command(0x0409, append(here.reversed(), 1)...)
		done := hx.event(evConnectionComplete)
		if len(done) != 11 || done[0] != 0 {
			t.Fatalf("complete % x", done)
		}
		hx.in <- []byte{h4Data, done[1], done[2], 3, 0, 'a', 'b', 'c'}
		synctest.Wait()
		got := hy.out[len(hy.out)-1]
		if !bytes.Equal(got, []byte{h4Data, done[1], done[2] | 0x20, 3, 0, 'a', 'b', 'c'}) {
			t.Errorf("carried % x", got)
		}
		if p := hx.event(evCompletedPackets); len(p) != 5 || p[3] != 1 {
			t.Errorf("completed % x", p)
		}
		if !a.Lose(x, y) || a.Lose(x, y) {
			t.Error("want one link to lose")
		}
		for _, h := range []*host{hx, hy} {
			if p := h.event(evDisconnected); len(p) != 4 || p[3] != reasonLost {
				t.Errorf("disconnected % x", p)
			}
		}
	})
}

func TestInquiryFindsWhoLetsItselfBeFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, hx, hy, end := two()
		defer end()
		hx.command(0x0401, 0x33, 0x8b, 0x9e, 8, 0)
		p := hx.event(evInquiryRSSI)
		if len(p) != 15 || addressIn(p[1:]) != there || int8(p[14]) != -60 {
			t.Fatalf("% x", p)
		}
		hx.command(0x0402)
		hx.out = nil
		hy.command(0x0c1a, 2)
		hx.command(0x0401, 0x33, 0x8b, 0x9e, 8, 0)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if hx.event(evInquiryRSSI) != nil || hx.event(evInquiryComplete) == nil {
			t.Errorf("% x", hx.out)
		}
	})
}

// FuzzPackets plays anything as packets of two hosts.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{4, 1, 3, 0x0c, 0, 0x81, 1})
	f.Add(append([]byte{17, 1, 5, 4, 13}, createConnection(there)...))
	f.Add([]byte{6, 1, 0x11, 4, 2, 1, 0, 8, 2, 1, 0, 3, 0, 1, 2, 3})
	for code, o := range orders { // every command at its least size
		f.Add(append([]byte{byte(4 + o.size), 1, byte(code), byte(code >> 8), byte(o.size)}, make([]byte, o.size)...))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		a := &Air{}
		var stations []*Controller
		for _, at := range []Address{here, there} {
			c := &Controller{Address: at, air: a, host: &host{}, done: make(chan struct{})}
			a.mu.Lock()
			c.reset()
			c.scan = 3
			a.stations = append(a.stations, c)
			a.mu.Unlock()
			stations = append(stations, c)
		}
		a.mu.Lock()
		a.handles = 1
		a.links = append(a.links, &link{handle: 1, ends: [2]*Controller{stations[0], stations[1]}})
		a.mu.Unlock()
		for len(script) > 0 { // each: a byte for station and length, the packet
			n, c := min(int(script[0]&0x7f), len(script)-1), stations[script[0]>>7]
			a.mu.Lock()
			c.packet(script[1 : 1+n])
			a.mu.Unlock()
			script = script[1+n:]
		}
		for _, c := range stations {
			a.mu.Lock()
			c.reset()
			c.err = io.EOF
			a.mu.Unlock()
		}
	})
}
