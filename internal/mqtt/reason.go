package mqtt

import "fmt"

// ReasonCode is the one-byte result of an operation (section 2.4). Codes from
// 0x80 up are failures.
type ReasonCode byte

// The reason codes of version 5 (section 2.4, table 2-6).
const (
	Success                             ReasonCode = 0x00 // also normal disconnection, granted QoS 0
	GrantedQoS1                         ReasonCode = 0x01
	GrantedQoS2                         ReasonCode = 0x02
	DisconnectWithWill                  ReasonCode = 0x04
	NoMatchingSubscribers               ReasonCode = 0x10
	NoSubscriptionExisted               ReasonCode = 0x11
	ContinueAuthentication              ReasonCode = 0x18
	Reauthenticate                      ReasonCode = 0x19
	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIdentifierNotValid            ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8A
	ServerShuttingDown                  ReasonCode = 0x8B
	BadAuthenticationMethod             ReasonCode = 0x8C
	KeepAliveTimeout                    ReasonCode = 0x8D
	SessionTakenOver                    ReasonCode = 0x8E
	TopicFilterInvalid                  ReasonCode = 0x8F
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIdentifierInUse               ReasonCode = 0x91
	PacketIdentifierNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9A
	QoSNotSupported                     ReasonCode = 0x9B
	UseAnotherServer                    ReasonCode = 0x9C
	ServerMoved                         ReasonCode = 0x9D
	SharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded              ReasonCode = 0x9F
	MaximumConnectTime                  ReasonCode = 0xA0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// packets is a set of packet types, one bit each.
type packets uint16

func in(types ...Type) (s packets) {
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

func (s packets) has(t Type) bool { return s>>t&1 != 0 }

// reasons gives each code its text and the packets that may carry it
// (section 2.4, table 2-6).
var reasons = func() (r [256]struct {
	text string
	in   packets
}) {
	for code, e := range map[ReasonCode]struct {
		text string
		in   packets
	}{
		Success:                             {"success", in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
		GrantedQoS1:                         {"granted QoS 1", in(SUBACK)},
		GrantedQoS2:                         {"granted QoS 2", in(SUBACK)},
		DisconnectWithWill:                  {"disconnect with will message", in(DISCONNECT)},
		NoMatchingSubscribers:               {"no matching subscribers", in(PUBACK, PUBREC)},
		NoSubscriptionExisted:               {"no subscription existed", in(UNSUBACK)},
		ContinueAuthentication:              {"continue authentication", in(AUTH)},
		Reauthenticate:                      {"re-authenticate", in(AUTH)},
		UnspecifiedError:                    {"unspecified error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
		MalformedPacket:                     {"malformed packet", in(CONNACK, DISCONNECT)},
		ProtocolError:                       {"protocol error", in(CONNACK, DISCONNECT)},
		ImplementationSpecificError:         {"implementation specific error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
		UnsupportedProtocolVersion:          {"unsupported protocol version", in(CONNACK)},
		ClientIdentifierNotValid:            {"client identifier not valid", in(CONNACK)},
		BadUserNameOrPassword:               {"bad user name or password", in(CONNACK)},
		NotAuthorized:                       {"not authorized", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
		ServerUnavailable:                   {"server unavailable", in(CONNACK)},
		ServerBusy:                          {"server busy", in(CONNACK, DISCONNECT)},
		Banned:                              {"banned", in(CONNACK)},
		ServerShuttingDown:                  {"server shutting down", in(DISCONNECT)},
		BadAuthenticationMethod:             {"bad authentication method", in(CONNACK, DISCONNECT)},
		KeepAliveTimeout:                    {"keep alive timeout", in(DISCONNECT)},
		SessionTakenOver:                    {"session taken over", in(DISCONNECT)},
		TopicFilterInvalid:                  {"topic filter invalid", in(SUBACK, UNSUBACK, DISCONNECT)},
		TopicNameInvalid:                    {"topic name invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
		PacketIdentifierInUse:               {"packet identifier in use", in(PUBACK, PUBREC, SUBACK, UNSUBACK)},
		PacketIdentifierNotFound:            {"packet identifier not found", in(PUBREL, PUBCOMP)},
		ReceiveMaximumExceeded:              {"receive maximum exceeded", in(DISCONNECT)},
		TopicAliasInvalid:                   {"topic alias invalid", in(DISCONNECT)},
		PacketTooLarge:                      {"packet too large", in(CONNACK, DISCONNECT)},
		MessageRateTooHigh:                  {"message rate too high", in(DISCONNECT)},
		QuotaExceeded:                       {"quota exceeded", in(CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT)},
		AdministrativeAction:                {"administrative action", in(DISCONNECT)},
		PayloadFormatInvalid:                {"payload format invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
		RetainNotSupported:                  {"retain not supported", in(CONNACK, DISCONNECT)},
		QoSNotSupported:                     {"QoS not supported", in(CONNACK, DISCONNECT)},
		UseAnotherServer:                    {"use another server", in(CONNACK, DISCONNECT)},
		ServerMoved:                         {"server moved", in(CONNACK, DISCONNECT)},
		SharedSubscriptionsNotSupported:     {"shared subscriptions not supported", in(SUBACK, DISCONNECT)},
		ConnectionRateExceeded:              {"connection rate exceeded", in(CONNACK, DISCONNECT)},
		MaximumConnectTime:                  {"maximum connect time", in(DISCONNECT)},
		SubscriptionIdentifiersNotSupported: {"subscription identifiers not supported", in(SUBACK, DISCONNECT)},
		WildcardSubscriptionsNotSupported:   {"wildcard subscriptions not supported", in(SUBACK, DISCONNECT)},
	} {
		r[code] = e
	}
	return r
}()

// Failed says whether c is a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// Text is the code's name in the standard, in lower case, or "" for a code
// that the standard does not define.
func (c ReasonCode) Text() string { return reasons[c].text }

func (c ReasonCode) String() string {
	text := c.Text()
	if text == "" {
		text = "reason code not in the standard"
	}
	return fmt.Sprintf("%s (0x%02X)", text, byte(c))
}

// MayStandIn says whether packets of type t may carry c.
func (c ReasonCode) MayStandIn(t Type) bool { return reasons[c].in.has(t) }

// codes311 are the CONNACK return codes 0 to 5 of version 3.1.1 (its section
// 3.2.2.3) as reason codes.
var codes311 = [...]ReasonCode{Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized}

// ReturnCode311 returns the CONNACK return code of version 3.1.1 that is
// nearest to c, and false when none fits and the connection should just be
// closed, as section 3.2.2.3 of version 3.1.1 says.
func (c ReasonCode) ReturnCode311() (code byte, ok bool) {
	switch c {
	case ServerBusy, QuotaExceeded, ConnectionRateExceeded:
		c = ServerUnavailable
	case Banned, BadAuthenticationMethod:
		c = NotAuthorized
	}
	for i, r := range codes311 {
		if r == c {
			return byte(i), true
		}
	}
	return 0, false
}
