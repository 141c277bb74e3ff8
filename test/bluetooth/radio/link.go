package radio

import (
	"bytes"
	"slices"
	"time"
)

// page is a controller's search for another station, which takes the radio for
// itself: one is on the air, the others wait.
type page struct {
	to       Address
	begun    time.Time
	timer    *time.Timer
	answered bool                                      // the other host is asked to accept
	found    func(peer *Controller) (waitForHost bool) // the station has answered
	failed   func(status byte)
}

// answerTime is how soon a station that listens answers a page.
const answerTime = 50 * time.Millisecond

func (p *page) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (c *Controller) queue(p *page) {
	c.pages = append(c.pages, p)
	c.stats.MostPages = max(c.stats.MostPages, len(c.pages))
	if len(c.pages) == 1 {
		c.nextPage()
	}
}

func (c *Controller) nextPage() {
	if len(c.pages) == 0 {
		return
	}
	p := c.pages[0]
	p.begun = time.Now()
	c.stats.Pages++
	p.timer = c.after(answerTime, func() {
		peer := c.air.station(p.to)
		if peer != nil && peer != c && peer.scan&2 != 0 {
			if p.answered = p.found(peer); !p.answered {
				c.endPage(p)
			}
			return
		}
		p.timer = c.after(c.pageTimeout-answerTime, func() {
			c.endPage(p)
			p.failed(pageTimedOut)
		})
	})
}

// endPage gives the radio to the next page.
func (c *Controller) endPage(p *page) {
	p.stop()
	i := slices.Index(c.pages, p)
	if i < 0 {
		return
	}
	c.pages = slices.Delete(c.pages, i, i+1)
	if i == 0 {
		c.stats.Paging += time.Since(p.begun)
		c.nextPage()
	}
}

func (c *Controller) pageTo(at Address, answered bool) *page {
	i := slices.IndexFunc(c.pages, func(p *page) bool { return p.to == at && p.answered == answered })
	if i < 0 {
		return nil
	}
	return c.pages[i]
}

func (c *Controller) createConnection(p []byte) (byte, func()) {
	to := addressIn(p)
	switch peer := c.air.station(to); {
	case peer != nil && c.air.between(c, peer) != nil:
		return alreadyLinked, nil
	case len(c.pages) >= maxPagesWaiting:
		return noResources, nil
	}
	return 0, func() {
		c.queue(&page{
			to:     to,
			found:  func(peer *Controller) bool { peer.connectionRequest(c); return true },
			failed: func(status byte) { c.connectionComplete(status, 0, to) },
		})
	}
}

func (c *Controller) cancelConnection(p []byte) []byte {
	to := addressIn(p)
	pg := c.pageTo(to, false)
	if pg == nil {
		return append([]byte{unknownLink}, p[:6]...)
	}
	c.stats.Abandoned++
	c.after(0, func() { // after the answer to the command
		c.endPage(pg)
		c.connectionComplete(unknownLink, 0, to)
	})
	return append([]byte{0}, p[:6]...)
}

func (c *Controller) connectionRequest(from *Controller) {
	p := append(from.Address.reversed(), from.class[:]...)
	c.event(evConnectionRequest, append(p, 1)...)
}

func (c *Controller) connectionComplete(status byte, handle uint16, with Address) {
	p := append([]byte{status, byte(handle), byte(handle >> 8)}, with.reversed()...)
	c.event(evConnectionComplete, append(p, 1, 0)...)
}

// caller is who pages c from that address and waits for its host's answer.
func (c *Controller) caller(p []byte) (*Controller, *page) {
	from := c.air.station(addressIn(p))
	if from == nil {
		return nil, nil
	}
	return from, from.pageTo(c.Address, true)
}

func (c *Controller) accept(p []byte) (byte, func()) {
	from, pg := c.caller(p)
	if pg == nil {
		return unknownLink, nil
	}
	return 0, func() {
		from.endPage(pg)
		c.air.handles = c.air.handles%0x0eff + 1
		l := &link{handle: c.air.handles, ends: [2]*Controller{from, c}}
		c.air.links = append(c.air.links, l)
		c.connectionComplete(0, l.handle, from.Address)
		from.connectionComplete(0, l.handle, c.Address)
	}
}

func (c *Controller) reject(p []byte) (byte, func()) {
	from, pg := c.caller(p)
	if pg == nil {
		return unknownLink, nil
	}
	reason := p[6]
	return 0, func() {
		from.endPage(pg)
		from.connectionComplete(reason, 0, c.Address)
		c.connectionComplete(reason, 0, from.Address)
	}
}

// remoteName pages the station for its name, unless there is a link to it.
func (c *Controller) remoteName(p []byte) (byte, func()) {
	to := addressIn(p)
	answer := func(status byte, name [248]byte) {
		c.event(evRemoteName, append(append([]byte{status}, to.reversed()...), name[:]...)...)
	}
	if peer := c.air.station(to); peer != nil && c.air.between(c, peer) != nil {
		return 0, func() { answer(0, peer.name) }
	}
	if len(c.pages) >= maxPagesWaiting {
		return noResources, nil
	}
	return 0, func() {
		c.queue(&page{
			to:     to,
			found:  func(peer *Controller) bool { answer(0, peer.name); return false },
			failed: func(status byte) { answer(status, [248]byte{}) },
		})
	}
}

// link joins two stations; both hosts know it by the same handle.
type link struct {
	handle uint16
	ends   [2]*Controller // the first has paged
	mute   bool
	asked  []*authentication // the first is under way
	pin    []byte            // of the host that was asked first, while the other is asked
	key    []byte            // likewise
}

func (l *link) joins(c *Controller) bool { return l.ends[0] == c || l.ends[1] == c }

func (l *link) other(c *Controller) *Controller {
	if l.ends[0] == c {
		return l.ends[1]
	}
	return l.ends[0]
}

// drop takes the link off the air.
func (l *link) drop() {
	air := l.ends[0].air
	air.links = slices.DeleteFunc(air.links, func(o *link) bool { return o == l })
}

func (l *link) lose() {
	l.drop()
	for _, c := range l.ends {
		c.disconnected(l, reasonLost)
	}
}

func (c *Controller) disconnected(l *link, reason byte) {
	c.event(evDisconnected, 0, byte(l.handle), byte(l.handle>>8), reason)
}

func (c *Controller) disconnect(p []byte) (byte, func()) {
	l, reason := c.linkOf(p), p[2]
	if l == nil {
		return unknownLink, nil
	}
	return 0, func() {
		l.drop()
		c.disconnected(l, closedByHost)
		l.other(c).disconnected(l, reason)
	}
}

// data carries a packet to the other end. A packet that begins a message of
// the host says so differently there than here.
func (c *Controller) data(p []byte) {
	l := c.linkOf(p[1:])
	if l == nil {
		return
	}
	c.event(evCompletedPackets, 1, byte(l.handle), byte(l.handle>>8), 1, 0)
	if l.mute {
		return
	}
	carried := bytes.Clone(p)
	if begins := carried[2]&0x30 == 0; begins {
		carried[2] |= 0x20
	}
	c.stats.Bytes += int64(len(p) - 5)
	l.other(c).send(carried...)
}

// authentication is one that a host has asked for.
type authentication struct{ by *Controller }

func (c *Controller) authenticate(p []byte) (byte, func()) {
	l := c.linkOf(p)
	if l == nil {
		return unknownLink, nil
	}
	return 0, func() {
		l.asked = append(l.asked, &authentication{by: c})
		if len(l.asked) == 1 {
			l.begin()
		}
	}
}

func (l *link) begin() {
	l.pin, l.key = nil, nil
	c := l.asked[0].by
	c.event(evKeyRequest, l.other(c).Address.reversed()...)
}

// authenticated ends the authentication under way and begins the next.
func (l *link) authenticated(status byte) {
	c := l.asked[0].by
	l.asked = l.asked[1:]
	c.event(evAuthenticated, status, byte(l.handle), byte(l.handle>>8))
	if len(l.asked) > 0 {
		l.begin()
	}
}

// asking is the link to the address whose authentication waits for an answer
// of c's host; first says whether c has asked for it.
func (c *Controller) asking(p []byte) (l *link, first bool) {
	peer := c.air.station(addressIn(p))
	if peer == nil {
		return nil, false
	}
	l = c.air.between(c, peer)
	if l == nil || len(l.asked) == 0 {
		return nil, false
	}
	return l, l.asked[0].by == c
}

// replied answers a reply of the host about an authentication and goes on with
// it afterwards.
func (c *Controller) replied(p []byte, next func(l *link, first bool)) []byte {
	l, first := c.asking(p)
	if l == nil {
		return append([]byte{unknownLink}, p[:6]...)
	}
	asked := l.asked[0]
	c.after(0, func() { // after the answer to the command
		if len(l.asked) > 0 && l.asked[0] == asked && c.linkOf([]byte{byte(l.handle), byte(l.handle >> 8)}) == l {
			next(l, first)
		}
	})
	return append([]byte{0}, p[:6]...)
}

func (c *Controller) keyReply(p []byte) []byte {
	key := bytes.Clone(p[6:22])
	return c.replied(p, func(l *link, first bool) {
		switch {
		case first:
			l.key = key
			l.other(c).event(evKeyRequest, c.Address.reversed()...)
		case bytes.Equal(l.key, key):
			l.authenticated(0)
		default:
			l.authenticated(keyMismatch)
		}
	})
}

func (c *Controller) noKeyReply(p []byte) []byte {
	return c.replied(p, func(l *link, first bool) {
		if !first {
			l.authenticated(keyMissing)
			return
		}
		c.event(evPINRequest, l.other(c).Address.reversed()...)
	})
}

func (c *Controller) pinReply(p []byte) []byte {
	pin := bytes.Clone(p[7 : 7+min(int(p[6]), 16)])
	return c.replied(p, func(l *link, first bool) {
		if held := l.other(c).pin; first && len(held) > 0 {
			l.pin, first = held, false
		}
		switch {
		case first:
			l.pin = pin
			l.other(c).event(evPINRequest, c.Address.reversed()...)
		case bytes.Equal(l.pin, pin):
			l.newKey()
			l.authenticated(0)
		default:
			l.authenticated(keyMismatch)
		}
	})
}

func (c *Controller) noPINReply(p []byte) []byte {
	return c.replied(p, func(l *link, first bool) {
		if first {
			l.authenticated(keyMissing)
		} else {
			l.authenticated(pairingRefused)
		}
	})
}

// newKey gives both hosts the same combination key.
func (l *link) newKey() {
	air := l.ends[0].air
	air.keys++
	key := bytes.Repeat([]byte{air.keys}, 16)
	for _, c := range l.ends {
		p := append(l.other(c).Address.reversed(), key...)
		c.event(evNewKey, append(p, 0)...)
	}
}

func (c *Controller) encrypt(p []byte) (byte, func()) {
	l, on := c.linkOf(p), p[2]
	if l == nil {
		return unknownLink, nil
	}
	return 0, func() {
		for _, e := range l.ends {
			e.event(evEncryption, 0, byte(l.handle), byte(l.handle>>8), on)
		}
	}
}
