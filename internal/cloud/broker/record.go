package broker

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/record"
	"mote/internal/cloud/store"
)

// What the broker keeps in the store is described in FORMAT.md; this file is
// the only one that knows the bytes.

const recordVersion = 1

// secondVersion is that of messages and subscriptions with what only the mode
// Spec knows.
const secondVersion = 2

var errRecord = errors.New("the record is damaged or of a newer mote")

// Flags of a message record.
const (
	flagQoS1 = 1 << iota
	flagRetain
	flagUTF8
	flagExpiry
	flagProperties
	flagQoS2
	flagIDs
)

func retainedKey(topic string) []byte { return append([]byte{byte(store.SpaceRetained)}, topic...) }

func sessionKey(clientID string) []byte {
	return append([]byte{byte(store.SpaceSession), 'c'}, clientID...)
}

func filtersKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceSession), 'f'}, id)
}

func filterKey(id uint64, filter string) []byte { return append(filtersKey(id), filter...) }

// splitFilterKey is the inverse of filterKey.
func splitFilterKey(key []byte) (id uint64, filter string, ok bool) {
	if len(key) < 11 {
		return 0, "", false
	}
	return binary.BigEndian.Uint64(key[2:]), string(key[10:]), true
}

func queuePrefix(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceQueue)}, id)
}

func queueKey(id, seq uint64) []byte { return binary.BigEndian.AppendUint64(queuePrefix(id), seq) }

// splitQueueKey is the inverse of queueKey.
func splitQueueKey(key []byte) (id, seq uint64, ok bool) {
	if len(key) != 17 || key[0] != byte(store.SpaceQueue) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:]), true
}

// appendMessage appends the record of m, delivered with qos, the retain flag and
// the identifiers of subscriptions.
func appendMessage(dst []byte, m *message.Message, qos byte, retain bool, ids *subIDs) []byte {
	flags := byte(0)
	set := func(on bool, flag byte) {
		if on {
			flags |= flag
		}
	}
	props := m.ContentType != "" || m.ResponseTopic != "" || m.CorrelationData != nil || len(m.UserProperties) > 0
	set(qos == 1, flagQoS1)
	set(qos == 2, flagQoS2)
	set(ids != nil, flagIDs)
	set(retain, flagRetain)
	set(m.UTF8Payload, flagUTF8)
	set(!m.Expiry.IsZero(), flagExpiry)
	set(props, flagProperties)
	version := byte(recordVersion)
	if flags&(flagQoS2|flagIDs) != 0 {
		version = secondVersion
	}
	dst = append(dst, version, flags)
	if ids != nil {
		dst = ids.append(dst)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time.UnixMilli()))
	if flags&flagExpiry != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Expiry.UnixMilli()))
	}
	dst = record.AppendText(dst, m.Topic)
	if props {
		dst = record.AppendText(dst, m.ContentType)
		dst = record.AppendText(dst, m.ResponseTopic)
		dst = binary.AppendUvarint(dst, uint64(len(m.UserProperties)))
		for _, p := range m.UserProperties {
			dst = record.AppendText(record.AppendText(dst, p.Name), p.Value)
		}
		if m.CorrelationData == nil {
			dst = append(dst, 0)
		} else {
			dst = record.AppendText(append(dst, 1), string(m.CorrelationData))
		}
	}
	return append(dst, m.Payload...)
}

// parseMessage reads the record of a message; the result shares no memory with b.
func parseMessage(b []byte) (*message.Message, error) {
	m, _, err := parseQueued(b)
	return m, err
}

// parseQueued is parseMessage with the identifiers of subscriptions.
func parseQueued(b []byte) (*message.Message, *subIDs, error) {
	c := record.Read(b)
	version, flags := c.Byte(), c.Byte()
	if version != recordVersion && version != secondVersion {
		return nil, nil, errRecord
	}
	var ids *subIDs
	if flags&flagIDs != 0 {
		ids = readIDs(&c)
	}
	m := &message.Message{QoS: flags & flagQoS1, Retain: flags&flagRetain != 0, UTF8Payload: flags&flagUTF8 != 0}
	if flags&flagQoS2 != 0 {
		m.QoS = 2
	}
	m.Time = time.UnixMilli(int64(c.Uint64()))
	if flags&flagExpiry != 0 {
		m.Expiry = time.UnixMilli(int64(c.Uint64()))
	}
	m.Topic = c.Text()
	if flags&flagProperties != 0 {
		m.ContentType, m.ResponseTopic = c.Text(), c.Text()
		for n := c.Uvarint(); n > 0 && !c.Bad(); n-- {
			m.UserProperties = append(m.UserProperties, message.UserProperty{Name: c.Text(), Value: c.Text()})
		}
		if c.Byte() != 0 {
			m.CorrelationData = []byte(c.Text())
		}
	}
	if c.Bad() || m.Topic == "" {
		return nil, nil, errRecord
	}
	m.Payload = append([]byte{}, c.Left()...)
	return m, ids, nil
}

// readIDs reads identifiers of subscriptions.
func readIDs(c *record.Reader) *subIDs {
	var ids subIDs
	for n := c.Uvarint(); n > 0 && !c.Bad(); n-- {
		ids = append(ids, uint32(c.Uvarint()))
	}
	return &ids
}

func (l *subIDs) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(*l)))
	for _, id := range *l {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

// sessionRecord is what is kept of a persistent session besides its
// subscriptions and its queue.
type sessionRecord struct {
	id           uint64
	version      byte          // 4 or 5
	expiry       time.Duration // after the connection ended
	disconnected time.Time     // zero while connected
	sent         uint64        // the last queue entry that was sent when the connection ended
	base         uint64        // its queue entries have higher sequence numbers
}

func (r *sessionRecord) append(dst []byte) []byte {
	dst = append(dst, recordVersion, r.version)
	dst = binary.BigEndian.AppendUint64(dst, r.id)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.expiry/time.Second))
	at := int64(0)
	if !r.disconnected.IsZero() {
		at = r.disconnected.UnixMilli()
	}
	for _, n := range []uint64{uint64(at), r.sent, r.base} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return dst
}

// beforeAll is the base of sessions whose record has none: packet ids are the
// sequence number modulo 65535, plus 1.
const beforeAll = math.MaxUint64

func parseSession(b []byte) (r sessionRecord, err error) {
	c := record.Read(b)
	version := c.Byte()
	r.version, r.id = c.Byte(), c.Uint64()
	r.expiry = time.Duration(c.Uint64()) * time.Second
	if at := int64(c.Uint64()); at != 0 {
		r.disconnected = time.UnixMilli(at)
	}
	if len(c.Left()) > 0 { // it was not always there
		r.sent = c.Uint64()
	}
	if r.base = beforeAll; len(c.Left()) > 0 { // nor was this
		r.base = c.Uint64()
	}
	if c.Bad() || version != recordVersion || r.id == 0 {
		return r, errRecord
	}
	return r, nil
}

// Options byte of a subscription record: bits 0-1 QoS, 2 no local, 3 retain as
// published, as in SUBSCRIBE (MQTT 5, 3.8.3.1); 4 the filter a/# matches a. In
// the second version its identifier follows.
func (s subscription) record() []byte {
	o := s.qos
	if s.noLocal {
		o |= 1 << 2
	}
	if s.asSent {
		o |= 1 << 3
	}
	if !s.parent {
		return []byte{recordVersion, o}
	}
	return binary.AppendUvarint([]byte{secondVersion, o | 1<<4}, uint64(s.id))
}

func parseSubscription(b []byte) (subscription, error) {
	c := record.Read(b)
	version, o := c.Byte(), c.Byte()
	s := subscription{qos: o & 3, noLocal: o&(1<<2) != 0, asSent: o&(1<<3) != 0, parent: o&(1<<4) != 0}
	if version == secondVersion {
		s.id = uint32(c.Uvarint())
	}
	if c.Bad() || len(c.Left()) > 0 || version != recordVersion && version != secondVersion || s.qos > 2 {
		return subscription{}, errRecord
	}
	return s, nil
}
