package mqtt

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// unhex reads bytes written as hexadecimal with spaces, and 'text' in quotes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// malformedCases holds packets that a stranger may send and the reason code
// each is refused with.
var malformedCases = []struct {
	what    string
	version byte
	from    Side
	packet  string
	want    ReasonCode
}{
	{"reserved type 0", V5, 0, "00 00", MalformedPacket},
	{"AUTH in 3.1.1", V311, 0, "f0 00", MalformedPacket},
	{"remaining length of five bytes", V5, 0, "30 80 80 80 80 01", MalformedPacket},
	{"padded remaining length", V5, 0, "d0 80 00", MalformedPacket},
	{"packet before CONNECT", 0, 0, "c0 00", ProtocolError},
	{"CONNACK from a client", V5, FromClient, "20 03 00 00 00", ProtocolError},
	{"SUBSCRIBE from a server", V5, FromServer, "82 07 00 01 00 00 01 'a' 00", ProtocolError},
	{"PINGREQ with flags", V5, 0, "c1 00", MalformedPacket},
	{"PINGREQ with a body", V5, 0, "c0 01 00", MalformedPacket},

	{"CONNECT of 3.1", 0, 0, "10 0f 00 06 'MQIsdp' 03 02 00 00 00 01 'a'", UnsupportedProtocolVersion},
	{"CONNECT level 6", 0, 0, "10 0d 00 04 'MQTT' 06 02 00 00 00 01 'a'", UnsupportedProtocolVersion},
	{"CONNECT with the reserved flag", 0, 0, "10 0d 00 04 'MQTT' 04 03 00 00 00 01 'a'", MalformedPacket},
	{"CONNECT with will QoS 3", 0, 0, "10 13 00 04 'MQTT' 04 1e 00 00 00 01 'a' 00 01 'w' 00 01 'm'", MalformedPacket},
	{"CONNECT with will QoS, no will", 0, 0, "10 0d 00 04 'MQTT' 04 0a 00 00 00 01 'a'", MalformedPacket},
	{"CONNECT with will retain, no will", 0, 0, "10 0d 00 04 'MQTT' 04 22 00 00 00 01 'a'", MalformedPacket},
	{"CONNECT 3.1.1 with password, no user name", 0, 0, "10 10 00 04 'MQTT' 04 42 00 00 00 01 'a' 00 01 'p'", MalformedPacket},
	{"CONNECT with will flag, no will", 0, 0, "10 0d 00 04 'MQTT' 04 06 00 00 00 01 'a'", MalformedPacket},
	{"CONNECT with a wildcard in the will topic", 0, 0, "10 13 00 04 'MQTT' 04 06 00 00 00 01 'a' 00 01 '#' 00 01 'm'", TopicNameInvalid},
	{"CONNECT 3.1.1 without id or clean session", 0, 0, "10 0c 00 04 'MQTT' 04 00 00 00 00 00", ClientIdentifierNotValid},
	{"CONNECT with bytes too many", 0, 0, "10 0e 00 04 'MQTT' 04 02 00 00 00 01 'a' 00", MalformedPacket},
	{"CONNECT with a null in the id", 0, 0, "10 0d 00 04 'MQTT' 04 02 00 00 00 01 00", MalformedPacket},
	{"CONNECT with a surrogate in the id", 0, 0, "10 0f 00 04 'MQTT' 04 02 00 00 00 03 ed a0 80", MalformedPacket},
	{"CONNECT 5 with receive maximum 0", 0, 0, "10 11 00 04 'MQTT' 05 02 00 00 03 21 00 00 00 01 'a'", ProtocolError},
	{"CONNECT 5 with maximum packet size 0", 0, 0, "10 13 00 04 'MQTT' 05 02 00 00 05 27 00 00 00 00 00 01 'a'", ProtocolError},
	{"CONNECT 5 with a property twice", 0, 0, "10 14 00 04 'MQTT' 05 02 00 00 06 21 00 01 21 00 01 00 01 'a'", ProtocolError},
	{"CONNECT 5 with authentication data alone", 0, 0, "10 12 00 04 'MQTT' 05 02 00 00 04 16 00 01 00 00 01 'a'", ProtocolError},
	{"CONNECT 5 with request problem information 2", 0, 0, "10 10 00 04 'MQTT' 05 02 00 00 02 17 02 00 01 'a'", ProtocolError},
	{"CONNECT 5 with a PUBLISH property", 0, 0, "10 10 00 04 'MQTT' 05 02 00 00 02 01 00 00 01 'a'", ProtocolError},
	{"CONNECT 5 with an unknown property", 0, 0, "10 10 00 04 'MQTT' 05 02 00 00 02 7f 00 00 01 'a'", MalformedPacket},
	{"CONNECT 5 with properties longer than it", 0, 0, "10 10 00 04 'MQTT' 05 02 00 00 20 01 00 00 01 'a'", MalformedPacket},
	{"CONNECT 5 with a will delay outside the will", 0, 0, "10 13 00 04 'MQTT' 05 02 00 00 05 18 00 00 00 01 00 01 'a'", ProtocolError},

	{"CONNACK with other flags", V311, 0, "20 02 02 00", MalformedPacket},
	{"CONNACK 3.1.1 with code 6", V311, 0, "20 02 00 06", ProtocolError},
	{"CONNACK with session and refusal", V311, 0, "20 02 01 05", ProtocolError},
	{"CONNACK 5 with a code of DISCONNECT", V5, 0, "20 03 00 8e 00", ProtocolError},
	{"CONNACK 5 without properties", V5, 0, "20 02 00 00", MalformedPacket},
	{"CONNACK with maximum QoS 2", V5, 0, "20 05 00 00 02 24 02", ProtocolError},

	{"PUBLISH with QoS 3", V311, 0, "36 05 00 01 'a' 00 01", MalformedPacket},
	{"PUBLISH QoS 0 with DUP", V311, 0, "38 03 00 01 'a'", MalformedPacket},
	{"PUBLISH with packet identifier 0", V311, 0, "32 05 00 01 'a' 00 00", ProtocolError},
	{"PUBLISH without packet identifier", V311, 0, "32 04 00 01 'a' 00", MalformedPacket},
	{"PUBLISH with a topic longer than it", V311, 0, "30 03 00 09 'a'", MalformedPacket},
	{"PUBLISH of one byte", V311, 0, "30 01 00", MalformedPacket},
	{"PUBLISH with +", V311, 0, "30 05 00 03 'a/+'", TopicNameInvalid},
	{"PUBLISH with #", V311, 0, "30 05 00 03 'a/#'", TopicNameInvalid},
	{"PUBLISH with # in a long topic", V311, 0, "30 16 00 14 'sensors/1/air/#/more'", TopicNameInvalid},
	{"PUBLISH with a null in a long topic", V311, 0, "30 0f 00 0d 'sensors/1/ai' 00", MalformedPacket},
	{"PUBLISH with half a character", V311, 0, "30 0f 00 0d 'sensors/1/ai' c3", MalformedPacket},
	{"PUBLISH 3.1.1 without topic", V311, 0, "30 02 00 00", TopicNameInvalid},
	{"PUBLISH 5 without topic or alias", V5, 0, "30 03 00 00 00", ProtocolError},
	{"PUBLISH 5 without property length", V5, 0, "30 03 00 01 'a'", MalformedPacket},
	{"PUBLISH 5 with topic alias 0", V5, 0, "30 07 00 01 'a' 03 23 00 00", TopicAliasInvalid},
	{"PUBLISH 5 with two aliases", V5, 0, "30 0a 00 01 'a' 06 23 00 01 23 00 01", ProtocolError},
	{"PUBLISH 5 with format 2", V5, 0, "30 06 00 01 'a' 02 01 02", ProtocolError},
	{"PUBLISH 5 with a wildcard response topic", V5, 0, "30 08 00 01 'a' 04 08 00 01 '+'", ProtocolError},
	{"PUBLISH 5 with an empty response topic", V5, 0, "30 07 00 01 'a' 03 08 00 00", ProtocolError},
	{"PUBLISH 5 with a padded property length", V5, 0, "30 05 00 01 'a' 80 00", MalformedPacket},
	{"PUBLISH 5 with subscription identifier 0", V5, 0, "30 06 00 01 'a' 02 0b 00", ProtocolError},
	{"PUBLISH 5 with subscription identifier from a client", V5, FromClient, "30 06 00 01 'a' 02 0b 01", ProtocolError},
	{"PUBLISH 5 with half a user property", V5, 0, "30 09 00 01 'a' 05 26 00 01 'k' 00", MalformedPacket},
	{"PUBLISH 5 with a will property", V5, 0, "30 09 00 01 'a' 05 18 00 00 00 01", ProtocolError},

	{"PUBACK of one byte", V311, 0, "40 01 00", MalformedPacket},
	{"PUBACK with packet identifier 0", V311, 0, "40 02 00 00", ProtocolError},
	{"PUBACK 3.1.1 with a code", V311, 0, "40 03 00 01 00", MalformedPacket},
	{"PUBACK with a code of SUBACK", V5, 0, "40 03 00 01 01", ProtocolError},
	{"PUBACK with flags", V5, 0, "42 02 00 01", MalformedPacket},
	{"PUBREL without flags", V5, 0, "60 02 00 01", MalformedPacket},
	{"PUBACK with two reasons", V5, 0, "40 0c 00 01 00 08 1f 00 01 'a' 1f 00 01 'b'", ProtocolError},

	{"SUBSCRIBE without flags", V311, 0, "80 06 00 01 00 01 'a' 00", MalformedPacket},
	{"SUBSCRIBE with packet identifier 0", V311, 0, "82 06 00 00 00 01 'a' 00", ProtocolError},
	{"SUBSCRIBE without filter", V311, 0, "82 02 00 01", ProtocolError},
	{"SUBSCRIBE with an empty filter", V311, 0, "82 05 00 01 00 00 00", MalformedPacket},
	{"SUBSCRIBE without options", V311, 0, "82 05 00 01 00 01 'a'", MalformedPacket},
	{"SUBSCRIBE with QoS 3", V311, 0, "82 06 00 01 00 01 'a' 03", ProtocolError},
	{"SUBSCRIBE 3.1.1 with options of 5", V311, 0, "82 06 00 01 00 01 'a' 05", MalformedPacket},
	{"SUBSCRIBE 5 with reserved bits", V5, 0, "82 07 00 01 00 00 01 'a' 41", MalformedPacket},
	{"SUBSCRIBE 5 with retain handling 3", V5, 0, "82 07 00 01 00 00 01 'a' 31", ProtocolError},
	{"SUBSCRIBE 5 shared with no local", V5, 0, "82 10 00 01 00 00 0a '$share/g/a' 05", ProtocolError},
	{"SUBSCRIBE 5 with two identifiers", V5, 0, "82 0b 00 01 04 0b 01 0b 02 00 01 'a' 00", ProtocolError},
	{"SUBACK 3.1.1 with a code of 5", V311, 0, "90 03 00 01 87", ProtocolError},
	{"SUBACK without code", V5, 0, "90 03 00 01 00", ProtocolError},
	{"UNSUBSCRIBE without filter", V311, 0, "a2 02 00 01", ProtocolError},
	{"UNSUBACK 3.1.1 with codes", V311, 0, "b0 03 00 01 00", MalformedPacket},

	{"DISCONNECT 3.1.1 from a server", V311, FromServer, "e0 00", ProtocolError},
	{"DISCONNECT 3.1.1 with a body", V311, 0, "e0 01 00", MalformedPacket},
	{"DISCONNECT with a code of CONNACK", V5, 0, "e0 01 85", ProtocolError},
	{"DISCONNECT with will from a server", V5, FromServer, "e0 01 04", ProtocolError},
	{"DISCONNECT with session expiry from a server", V5, FromServer, "e0 07 00 05 11 00 00 00 00", ProtocolError},
	{"DISCONNECT with server reference from a client", V5, FromClient, "e0 06 9c 04 1c 00 01 's'", ProtocolError},
	{"AUTH without method", V5, 0, "f0 02 18 00", ProtocolError},
}

func TestMalformedPacketsAreRefusedWithTheirReason(t *testing.T) {
	for _, c := range malformedCases {
		d := Decoder{Version: c.version, From: c.from}
		b := unhex(t, c.packet)
		f, n, err := d.Next(b)
		if err == nil && n != len(b) {
			t.Errorf("%s: the frame takes %d of %d bytes: the case is wrong", c.what, n, len(b))
			continue
		}
		var p Packet
		if err == nil {
			p, err = d.Packet(f)
		}
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: accepted as %+v", c.what, p)
			continue
		}
		if refused.Code != c.want {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
	}
}

func TestPacketsTooLargeAreRefusedFromTheirHeader(t *testing.T) {
	d := Decoder{Version: V5, Max: 100}
	for _, c := range []struct {
		header string
		ok     bool
	}{{"30 62", true}, {"30 63", false}, {"30 ff ff ff 7f", false}, {"30 80 01", false}} {
		_, n, err := d.Next(unhex(t, c.header))
		if n != 0 || (err == nil) != c.ok {
			t.Errorf("%s: n %d, error %v", c.header, n, err)
		}
		var refused *Error
		if err != nil && (!errors.As(err, &refused) || refused.Code != PacketTooLarge) {
			t.Errorf("%s: %v", c.header, err)
		}
	}
	r := NewReader(strings.NewReader("\x30\xff\xff\xff\x7fabc"), Decoder{Max: 1 << 20})
	if err := r.Fill(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Next(); err == nil || len(r.buf) > smallBuffer {
		t.Errorf("error %v, buffer of %d bytes", err, len(r.buf))
	}
}

func TestWhatIsForbiddenIsNotEncoded(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for what, p := range map[string]Packet{
		"level":              &Connect{Version: 3, ClientID: "a"},
		"will QoS":           &Connect{Version: V311, Will: &Will{Topic: "a", QoS: 3}},
		"will topic":         &Connect{Version: V5, Will: &Will{Topic: "a/#"}},
		"password alone":     &Connect{Version: V311, Password: Some([]byte("p"))},
		"long id":            &Connect{Version: V5, ClientID: long},
		"will property":      &Connect{Version: V5, Props: &Properties{WillDelay: Some[uint32](1)}},
		"session, refused":   &Connack{SessionPresent: true, Code: NotAuthorized},
		"code of DISCONNECT": &Connack{Code: SessionTakenOver},
		"publish QoS":        &Publish{Topic: "a", QoS: 3, PacketID: 1},
		"publish id":         &Publish{Topic: "a", QoS: 1},
		"publish no topic":   &Publish{},
		"publish DUP":        &Publish{Topic: "a", Dup: true},
		"long topic":         &Publish{Topic: long},
		"foreign property":   &Publish{Topic: "a", Props: &Properties{WillDelay: Some[uint32](1)}},
		"long user property": &Publish{Topic: "a", Props: &Properties{UserProperties: []UserProperty{{"a", long}}}},
		"huge subscription":  &Publish{Topic: "a", Props: &Properties{SubscriptionIDs: []uint32{maxRemaining + 1}}},
		"not UTF-8":          &Publish{Topic: "a", Props: &Properties{ContentType: Some("\xff")}},
		"ack id":             &Ack{Kind: PUBACK},
		"ack kind":           &Ack{Kind: SUBACK, PacketID: 1},
		"ack code":           &Ack{Kind: PUBACK, PacketID: 1, Code: GrantedQoS1},
		"no filters":         &Subscribe{PacketID: 1},
		"bad filter":         &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a#"}}},
		"retain handling":    &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", RetainHandling: 3}}},
		"two identifiers":    &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a"}}, Props: &Properties{SubscriptionIDs: []uint32{1, 2}}},
		"no codes":           &Suback{PacketID: 1},
		"suback code":        &Suback{PacketID: 1, Codes: []ReasonCode{NoSubscriptionExisted}},
		"unsubscribe empty":  &Unsubscribe{PacketID: 1},
		"unsubscribe filter": &Unsubscribe{PacketID: 1, Filters: []string{"#/a"}},
		"disconnect code":    &Disconnect{Code: BadUserNameOrPassword},
	} {
		b, err := p.Append(nil, V5)
		var refused *Error
		if !errors.As(err, &refused) || b != nil {
			t.Errorf("%s: encoded as % x, error %v", what, b, err)
		}
	}
	if _, err := (&Auth{}).Append(nil, V311); err == nil {
		t.Error("AUTH was encoded for 3.1.1")
	}
	if _, err := (&Connack{Code: PacketTooLarge}).Append(nil, V311); err == nil {
		t.Error("a CONNACK that 3.1.1 cannot say was encoded")
	}
}

func TestReasonCodes(t *testing.T) {
	for code, want := range map[ReasonCode]byte{
		Success: 0, UnsupportedProtocolVersion: 1, ClientIdentifierNotValid: 2, ServerUnavailable: 3, ServerBusy: 3, BadUserNameOrPassword: 4, NotAuthorized: 5, Banned: 5,
	} {
		if got, ok := code.ReturnCode311(); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", code, got, ok, want)
		}
	}
	if _, ok := MalformedPacket.ReturnCode311(); ok {
		t.Error("malformed packet has a return code in 3.1.1")
	}
	if got := NotAuthorized.String(); got != "not authorized (0x87)" {
		t.Error(got)
	}
	if got := ReasonCode(0x42).String(); got != "reason code not in the standard (0x42)" {
		t.Error(got)
	}
	if Success.Failed() || !UnspecifiedError.Failed() {
		t.Error("which codes are failures")
	}
}

// FuzzDecode holds that no bytes make the decoder panic, and that what it
// accepts encodes to a packet that decodes to the same again.
func FuzzDecode(f *testing.F) {
	for _, version := range []byte{V311, V5} {
		for _, p := range every(version) {
			f.Add(encode(f, p, version), version, byte(0))
		}
	}
	for _, c := range malformedCases {
		f.Add(unhex(f, c.packet), c.version, byte(c.from))
	}
	f.Fuzz(func(t *testing.T, b []byte, version, from byte) {
		d := Decoder{Version: version, From: Side(from), Max: 1 << 16}
		for len(b) > 0 {
			frame, n, err := d.Next(b)
			if err != nil || n == 0 {
				return
			}
			b = b[n:]
			p, err := d.Packet(frame)
			if err != nil {
				continue
			}
			if s, ok := p.(*Subscribe); ok && !validFilters(s) {
				continue // encoding is stricter: the server answers per filter
			}
			if u, ok := p.(*Unsubscribe); ok && !allValid(u.Filters) {
				continue
			}
			again := encode(t, p, version)
			p2, err := decode(again, version)
			if err != nil {
				t.Fatalf("%+v encodes to % x, which is refused: %v", p, again, err)
			}
			if third := encode(t, p2, version); string(third) != string(again) {
				t.Fatalf("% x becomes % x", again, third)
			}
		}
	})
}

func validFilters(s *Subscribe) bool {
	for _, f := range s.Filters {
		if ValidFilter(f.Filter) != nil {
			return false
		}
	}
	return true
}

func allValid(filters []string) bool {
	for _, f := range filters {
		if ValidFilter(f) != nil {
			return false
		}
	}
	return true
}
