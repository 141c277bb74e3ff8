// Package radio emulates Bluetooth 2.0 BR/EDR controllers and the air between
// them, so that the kernel's own Bluetooth stack can be tried without hardware.
//
// A [Controller] speaks H4, the packets of the Host Controller Interface with a
// byte for their type before them, on what the kernel's /dev/vhci is. It pages,
// carries links and data, authenticates by PIN and link key, encrypts (in name
// only) and is found by inquiry. What happens on the air is the test's to say:
// links are lost, stations fall silent, go away and come back.
//
// Event and command codes and the layout of their parameters are those of the
// Bluetooth Core Specification, version 2.0 + EDR, volume 2, part E.
package radio

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Address is a device address in the order it is printed.
type Address [6]byte

// String returns the address as it is printed.
func (a Address) String() string {
	return fmt.Sprintf("%02X:%02X:%02X:%02X:%02X:%02X", a[0], a[1], a[2], a[3], a[4], a[5])
}

// reversed is the address as packets have it: little-endian.
func (a Address) reversed() []byte { return []byte{a[5], a[4], a[3], a[2], a[1], a[0]} }

func addressIn(p []byte) Address { return Address{p[5], p[4], p[3], p[2], p[1], p[0]} }

// Air is the space in which controllers hear each other.
type Air struct {
	mu       sync.Mutex
	stations []*Controller // guarded by mu
	links    []*link       // guarded by mu
	handles  uint16        // guarded by mu: the last connection handle given
	keys     byte          // guarded by mu: the last link key given
}

// Controller is one station on the air and the adapter of one host.
type Controller struct {
	Address Address
	Name    string
	RSSI    int8 // how well it is heard by others, dBm

	air  *Air
	host io.ReadWriter
	done chan struct{}

	// guarded by air.mu
	err         error // of the host's side: the end of the controller
	away        bool
	pin         []byte    // that the station answers by itself, as modules do; else its host is asked
	name        [248]byte // as the host has set it
	class       [3]byte
	scan        byte // 1: found by inquiry, 2: answers pages
	pageTimeout time.Duration
	pages       []*page // the first is on the air, the others wait
	stats       Stats
	inquiry     *time.Timer // nil while there is none
}

// Stats is what a controller has done for its host.
type Stats struct {
	Pages     int           // begun on the air
	Abandoned int           // pages that the host has cancelled
	Inquiries int           // begun
	Paging    time.Duration // time on the air of the pages that are over
	Waiting   int           // pages that wait or are on the air now
	MostPages int           // the most that Waiting has been
	Bytes     int64         // of the host's data that reached another station
}

// Attach puts a controller on the air whose host is at the other end of host:
// each Read gives one H4 packet, each Write is one. It serves until Read fails.
func (a *Air) Attach(address Address, name string, rssi int8, host io.ReadWriter) *Controller {
	c := &Controller{Address: address, Name: name, RSSI: rssi, air: a, host: host, done: make(chan struct{})}
	c.reset()
	a.mu.Lock()
	a.stations = append(a.stations, c)
	a.mu.Unlock()
	go c.serve()
	return c
}

// Wait returns when the host's side has ended, and why.
func (c *Controller) Wait() error {
	<-c.done
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	return c.err
}

// Stats tells what has been done so far.
func (c *Controller) Stats() Stats {
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	s := c.stats
	s.Waiting = len(c.pages)
	return s
}

// SetAway takes the station out of everybody's reach, or back. Links that it
// has are lost.
func (c *Controller) SetAway(away bool) {
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	if c.away = away; !away {
		return
	}
	for _, l := range slices.Clone(c.air.links) {
		if l.joins(c) {
			l.lose()
		}
	}
}

// SetPIN makes the station answer for its PIN by itself, as modules without a
// display do; with an empty one its host is asked again.
func (c *Controller) SetPIN(pin string) {
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	c.pin = []byte(pin)
}

// Lose breaks the link between two stations as distance does, and reports
// whether there was one: both hosts are told after the supervision time-out,
// which has passed when Lose is called.
func (a *Air) Lose(x, y *Controller) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.between(x, y)
	if l != nil {
		l.lose()
	}
	return l != nil
}

// Mute drops the data on the link between two stations, or carries it again;
// the link itself lives on. It reports whether there is a link.
func (a *Air) Mute(x, y *Controller, mute bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.between(x, y)
	if l != nil {
		l.mute = mute
	}
	return l != nil
}

func (a *Air) between(x, y *Controller) *link {
	i := slices.IndexFunc(a.links, func(l *link) bool { return l.joins(x) && l.joins(y) })
	if i < 0 {
		return nil
	}
	return a.links[i]
}

// station is who answers at the address; nil when nobody does.
func (a *Air) station(at Address) *Controller {
	for _, c := range a.stations {
		if c.Address == at && !c.away && c.err == nil {
			return c
		}
	}
	return nil
}

// The types of H4 packets.
const (
	h4Command = 1
	h4Data    = 2
	h4Event   = 4
)

func (c *Controller) serve() {
	defer close(c.done)
	buf := make([]byte, 4096)
	for {
		n, err := c.host.Read(buf)
		c.air.mu.Lock()
		if err == nil {
			c.packet(buf[:n])
		} else if c.err == nil {
			c.err = err
		}
		failed := c.err
		if failed != nil {
			c.reset()
		}
		c.air.mu.Unlock()
		if failed != nil {
			return
		}
	}
}

// packet takes one packet of the host. What is too short or of another kind is
// dropped, as hardware does.
func (c *Controller) packet(p []byte) {
	switch {
	case len(p) >= 4 && p[0] == h4Command && len(p) == 4+int(p[3]):
		c.command(uint16(p[1])|uint16(p[2])<<8, p[4:])
	case len(p) >= 5 && p[0] == h4Data && len(p) == 5+int(p[3])+int(p[4])<<8:
		c.data(p)
	}
}

// send hands a packet to the host. The caller holds air.mu; the kernel takes a
// packet without waiting.
func (c *Controller) send(p ...byte) {
	if c.err != nil {
		return
	}
	if _, err := c.host.Write(p); err != nil {
		c.err = err
	}
}

func (c *Controller) event(code byte, parameters ...byte) {
	c.send(append([]byte{h4Event, code, byte(len(parameters))}, parameters...)...)
}

// reset is power-on: no links, no scans, nothing under way.
func (c *Controller) reset() {
	for _, l := range slices.Clone(c.air.links) {
		if l.joins(c) {
			l.drop()
			l.other(c).disconnected(l, reasonLost)
		}
	}
	for _, p := range c.pages {
		p.stop()
	}
	c.pages = nil
	c.stopInquiry()
	c.scan, c.class, c.name = 0, [3]byte{}, [248]byte{}
	copy(c.name[:], c.Name)
	c.pageTimeout = 0x2000 * slot
}

// slot is the unit of many of the interface's times.
const slot = 625 * time.Microsecond
