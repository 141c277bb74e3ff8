package radio

import (
	"encoding/binary"
	"slices"
	"time"
)

// Status codes and reasons.
const (
	unknownCommand  = 0x01
	unknownLink     = 0x02
	pageTimedOut    = 0x04
	keyMismatch     = 0x05
	keyMissing      = 0x06
	reasonLost      = 0x08
	alreadyLinked   = 0x0b
	disallowed      = 0x0c
	noResources     = 0x0d
	badParameter    = 0x12
	closedByHost    = 0x16
	pairingRefused  = 0x18
	maxPagesWaiting = 8
)

// Events.
const (
	evInquiryComplete    = 0x01
	evConnectionComplete = 0x03
	evConnectionRequest  = 0x04
	evDisconnected       = 0x05
	evAuthenticated      = 0x06
	evRemoteName         = 0x07
	evEncryption         = 0x08
	evRemoteFeatures     = 0x0b
	evRemoteVersion      = 0x0c
	evCommandComplete    = 0x0e
	evCommandStatus      = 0x0f
	evCompletedPackets   = 0x13
	evPINRequest         = 0x16
	evKeyRequest         = 0x17
	evNewKey             = 0x18
	evClockOffset        = 0x1c
	evPacketType         = 0x1d
	evInquiryRSSI        = 0x22
)

// features are 3- and 5-slot packets, encryption, and results of an inquiry
// with RSSI; neither simple pairing nor role switch.
var features = []byte{0x07, 0, 0, 0x40, 0, 0, 0, 0}

const version20 = 3

// order is what the controller does on a command: answer gives the return
// parameters of Command Complete after the status, start the work of commands
// that only get Command Status.
type order struct {
	size   int // of the parameters, at least
	answer func(c *Controller, p []byte) []byte
	start  func(c *Controller, p []byte) (status byte, then func())
}

func nothing(*Controller, []byte) []byte { return []byte{0} }

// sameStart answers with success and the first n bytes of the parameters: a
// handle or an address.
func sameStart(n int) func(*Controller, []byte) []byte {
	return func(_ *Controller, p []byte) []byte { return append([]byte{0}, p[:n]...) }
}

func fixed(parameters ...byte) func(*Controller, []byte) []byte {
	return func(*Controller, []byte) []byte { return append([]byte{0}, parameters...) }
}

var orders map[uint16]order

func init() { // a literal would refer to itself through the methods
	orders = map[uint16]order{
		0x0401: {size: 5, start: (*Controller).inquire},
		0x0402: {answer: (*Controller).cancelInquiry},
		0x0405: {size: 13, start: (*Controller).createConnection},
		0x0406: {size: 3, start: (*Controller).disconnect},
		0x0408: {size: 6, answer: (*Controller).cancelConnection},
		0x0409: {size: 7, start: (*Controller).accept},
		0x040a: {size: 7, start: (*Controller).reject},
		0x040b: {size: 22, answer: (*Controller).keyReply},
		0x040c: {size: 6, answer: (*Controller).noKeyReply},
		0x040d: {size: 23, answer: (*Controller).pinReply},
		0x040e: {size: 6, answer: (*Controller).noPINReply},
		0x040f: {size: 4, start: (*Controller).packetType},
		0x0411: {size: 2, start: (*Controller).authenticate},
		0x0413: {size: 3, start: (*Controller).encrypt},
		0x0419: {size: 10, start: (*Controller).remoteName},
		0x041a: {size: 6, answer: sameStart(6)},
		0x041b: {size: 2, start: (*Controller).remoteFeatures},
		0x041d: {size: 2, start: (*Controller).remoteVersion},
		0x041f: {size: 2, start: (*Controller).clockOffset},
		0x080d: {size: 4, answer: sameStart(2)},           // Write Link Policy Settings
		0x080f: {answer: nothing},                         // Write Default Link Policy Settings
		0x0c01: {answer: nothing},                         // Set Event Mask
		0x0c03: {answer: (*Controller).resetCommand},      // Reset
		0x0c05: {answer: nothing},                         // Set Event Filter
		0x0c13: {size: 248, answer: (*Controller).naming}, // Change Local Name
		0x0c14: {answer: func(c *Controller, _ []byte) []byte { return append([]byte{0}, c.name[:]...) }},
		0x0c16: {answer: nothing}, // Write Connection Accept Timeout
		0x0c18: {size: 2, answer: (*Controller).writePageTimeout},
		0x0c1a: {size: 1, answer: func(c *Controller, p []byte) []byte { c.scan = p[0]; return []byte{0} }},
		0x0c1c: {answer: nothing}, // Write Page Scan Activity
		0x0c1e: {answer: nothing}, // Write Inquiry Scan Activity
		0x0c20: {answer: nothing}, // Write Authentication Enable
		0x0c23: {answer: func(c *Controller, _ []byte) []byte { return append([]byte{0}, c.class[:]...) }},
		0x0c24: {size: 3, answer: func(c *Controller, p []byte) []byte { copy(c.class[:], p); return []byte{0} }},
		0x0c25: {answer: fixed(0x60, 0)}, // Read Voice Setting
		0x0c26: {answer: nothing},
		0x0c33: {answer: nothing},               // Host Buffer Size
		0x0c37: {size: 4, answer: sameStart(2)}, // Write Link Supervision Timeout
		0x0c38: {answer: fixed(1)},              // Read Number Of Supported IAC
		0x0c39: {answer: fixed(1, 0x33, 0x8b, 0x9e)},
		0x0c3a: {answer: nothing}, // Write Current IAC LAP
		0x0c45: {answer: nothing}, // Write Inquiry Mode
		0x0c47: {answer: nothing}, // Write Page Scan Type
		0x1001: {answer: fixed(version20, 0, 0, version20, 0xff, 0xff, 0, 0)},
		0x1002: {answer: fixed(make([]byte, 64)...)}, // Read Local Supported Commands: none that is optional
		0x1003: {answer: fixed(features...)},
		0x1005: {answer: fixed(0xfd, 0x03, 64, bufferPackets, 0, 8, 0)}, // 1021 bytes of data in a packet
		0x1009: {answer: func(c *Controller, _ []byte) []byte { return append([]byte{0}, c.Address.reversed()...) }},
	}
}

// bufferPackets is how many packets of data the host may have under way.
const bufferPackets = 8

func (c *Controller) command(code uint16, p []byte) {
	o, known := orders[code]
	lo, hi := byte(code), byte(code>>8)
	switch {
	case !known:
		c.event(evCommandComplete, 1, lo, hi, unknownCommand)
	case len(p) < o.size && o.start != nil:
		c.event(evCommandStatus, badParameter, 1, lo, hi)
	case len(p) < o.size:
		c.event(evCommandComplete, 1, lo, hi, badParameter)
	case o.start != nil:
		status, then := o.start(c, p)
		c.event(evCommandStatus, status, 1, lo, hi)
		if status == 0 {
			then()
		}
	default:
		c.event(evCommandComplete, append([]byte{1, lo, hi}, o.answer(c, p)...)...)
	}
}

func (c *Controller) resetCommand([]byte) []byte { c.reset(); return []byte{0} }

func (c *Controller) naming(p []byte) []byte { copy(c.name[:], p); return []byte{0} }

func (c *Controller) writePageTimeout(p []byte) []byte {
	c.pageTimeout = time.Duration(binary.LittleEndian.Uint16(p)) * slot
	return []byte{0}
}

// inquire tells of every station that lets itself be found, soon and once, and
// ends when the host's time for it is over.
func (c *Controller) inquire(p []byte) (byte, func()) {
	if c.inquiry != nil {
		return disallowed, nil
	}
	length := time.Duration(p[3]) * 1280 * time.Millisecond
	c.stats.Inquiries++
	return 0, func() {
		for _, o := range c.air.stations {
			if o == c || o.away || o.err != nil || o.scan&1 == 0 {
				continue
			}
			found := append([]byte{1}, o.Address.reversed()...)
			found = append(found, 1, 0) // page scan repetition mode R1
			found = append(found, o.class[:]...)
			c.event(evInquiryRSSI, append(found, 0, 0, byte(o.RSSI))...)
		}
		c.inquiry = c.after(length, func() {
			c.inquiry = nil
			c.event(evInquiryComplete, 0)
		})
	}
}

func (c *Controller) cancelInquiry([]byte) []byte {
	if !c.stopInquiry() {
		return []byte{disallowed}
	}
	return []byte{0}
}

func (c *Controller) stopInquiry() bool {
	if c.inquiry == nil {
		return false
	}
	c.inquiry.Stop()
	c.inquiry = nil
	return true
}

// after runs f with the air locked, unless the timer is stopped or the host has
// gone by then.
func (c *Controller) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		c.air.mu.Lock()
		defer c.air.mu.Unlock()
		if c.err == nil {
			f()
		}
	})
}

// linkOf is the host's link with that handle; nil when there is none.
func (c *Controller) linkOf(p []byte) *link {
	handle := binary.LittleEndian.Uint16(p) & 0x0fff
	i := slices.IndexFunc(c.air.links, func(l *link) bool { return l.handle == handle && l.joins(c) })
	if i < 0 {
		return nil
	}
	return c.air.links[i]
}

// ofLink makes the start of a command whose event, with success and the handle
// first, ends with parameters.
func (c *Controller) ofLink(p []byte, code byte, parameters ...byte) (byte, func()) {
	l := c.linkOf(p)
	if l == nil {
		return unknownLink, nil
	}
	return 0, func() { c.event(code, append([]byte{0, byte(l.handle), byte(l.handle >> 8)}, parameters...)...) }
}

func (c *Controller) packetType(p []byte) (byte, func()) {
	return c.ofLink(p, evPacketType, p[2], p[3])
}

func (c *Controller) remoteFeatures(p []byte) (byte, func()) {
	return c.ofLink(p, evRemoteFeatures, features...)
}

func (c *Controller) remoteVersion(p []byte) (byte, func()) {
	return c.ofLink(p, evRemoteVersion, version20, 0xff, 0xff, 0, 0)
}

func (c *Controller) clockOffset(p []byte) (byte, func()) {
	return c.ofLink(p, evClockOffset, 0, 0)
}
