// Package mqtt encodes and decodes MQTT 3.1.1 and MQTT 5 control packets and
// handles topic names and filters. Both halves of mote use it: the broker as
// server, the edge (through package client) as client.
//
// The specifications are the OASIS standards "MQTT Version 3.1.1" and "MQTT
// Version 5.0"; statements are cited as they number them, for example
// [MQTT-3.3.1-4]. Section numbers are those of version 5.0 unless said
// otherwise.
//
// Decoding starts from bytes that a stranger sent, so it is bounded (nothing is
// allocated before the size of a packet was checked against [Decoder].Max) and
// exact: what the standard calls malformed or a protocol error is refused with
// an [*Error] that carries the reason code for the wire. Decoding leaves to
// others what needs state: topic aliases, packet ids in use, quotas, policy.
//
// [Decoder.Next] splits a buffer into frames, [Decoder.Publish] decodes a
// PUBLISH in place without allocation, [Decoder.Packet] decodes any packet
// into a struct of its own. Each packet struct has an Append method that
// encodes it.
package mqtt

import "fmt"

// The protocol levels that CONNECT carries (section 3.1.2.2).
const (
	V311 byte = 4
	V5   byte = 5
)

// Type is the type of a control packet (section 2.1.2).
type Type byte

// The control packet types.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15 // version 5 only
)

// will stands for the will properties inside CONNECT where a [Type] says in
// which packet a property may stand; type 0 is reserved on the wire.
const will Type = 0

var typeNames = [16]string{"reserved type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", byte(t))
}

// Side says who sent a packet.
type Side byte

// The two sides of a connection.
const (
	FromClient Side = 1
	FromServer Side = 2
)

// sentBy says which sides may send each packet type (section 2.1.2, table 2-1).
var sentBy = [16]Side{
	CONNECT: FromClient, CONNACK: FromServer, PUBLISH: FromClient | FromServer,
	PUBACK: FromClient | FromServer, PUBREC: FromClient | FromServer, PUBREL: FromClient | FromServer, PUBCOMP: FromClient | FromServer,
	SUBSCRIBE: FromClient, SUBACK: FromServer, UNSUBSCRIBE: FromClient, UNSUBACK: FromServer,
	PINGREQ: FromClient, PINGRESP: FromServer, DISCONNECT: FromClient | FromServer, AUTH: FromClient | FromServer,
}

// Error says what is wrong with a packet and which reason code tells the peer.
type Error struct {
	Code   ReasonCode // for DISCONNECT or CONNACK of version 5
	Reason string     // what is wrong, with the statement of the standard
}

func (e *Error) Error() string {
	return fmt.Sprintf("mqtt: %s: %s", e.Code, e.Reason)
}

func refuse(code ReasonCode, format string, args ...any) error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error {
	return refuse(MalformedPacket, format, args...)
}

func protocolError(format string, args ...any) error {
	return refuse(ProtocolError, format, args...)
}

// Opt is a value that may be absent; the zero Opt is absent.
type Opt[T any] struct {
	Value T
	Set   bool
}

// Some returns a present v.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }

// Or returns the value, or absent when it is not there.
func (o Opt[T]) Or(absent T) T {
	if o.Set {
		return o.Value
	}
	return absent
}
