package mqtt

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// every is one packet of each kind for each version, with all that it can hold.
func every(version byte) []Packet {
	props := func(p Properties) *Properties {
		if version != V5 {
			return nil
		}
		p.UserProperties = []UserProperty{{"a", "1"}, {"a", "2"}, {"", ""}}
		return &p
	}
	why := props(Properties{ReasonString: Some("because")})
	code := func(c ReasonCode) ReasonCode {
		if version != V5 {
			return Success
		}
		return c
	}
	publishProps := props(Properties{
		PayloadFormat: Some[byte](1), MessageExpiry: Some[uint32](0), ContentType: Some("application/json"), ResponseTopic: Some("back/ä"),
		CorrelationData: []byte{0, 1, 2}, SubscriptionIDs: []uint32{1, 128, maxRemaining}, TopicAlias: Some[uint16](8),
	})
	list := []Packet{
		&Connect{Version: version, ClientID: "pi-roof", KeepAlive: 30},
		&Connect{
			Version: version, CleanStart: true, ClientID: "pi-roof", KeepAlive: 65535,
			Username: Some("?SDK=Go"), Password: Some([]byte("secret")),
			Will: &Will{Topic: "gone/pi", Payload: []byte("x"), QoS: 1, Retain: true, Props: props(Properties{WillDelay: Some[uint32](7), MessageExpiry: Some[uint32](1)})},
			Props: props(Properties{
				SessionExpiry: Some[uint32](0xFFFFFFFF), ReceiveMaximum: Some[uint16](100), MaximumPacketSize: Some[uint32](1 << 20), TopicAliasMaximum: Some[uint16](0),
				RequestProblemInfo: Some[byte](1), RequestResponseInfo: Some[byte](0), AuthMethod: Some("m"), AuthData: []byte{},
			}),
		},
		&Connack{SessionPresent: true},
		&Connack{Code: NotAuthorized, Props: props(Properties{
			SessionExpiry: Some[uint32](3600), AssignedClientID: Some("auto-1"), ServerKeepAlive: Some[uint16](30), ResponseInfo: Some("r"), ServerReference: Some("s"),
			ReasonString: Some("no"), ReceiveMaximum: Some[uint16](1), TopicAliasMaximum: Some[uint16](8), MaximumQoS: Some[byte](1), RetainAvailable: Some[byte](1),
			MaximumPacketSize: Some[uint32](149504), WildcardAvailable: Some[byte](1), SubscriptionIDAvailable: Some[byte](0), SharedAvailable: Some[byte](1),
		})},
		&Publish{Topic: "a/b", Payload: []byte("hello")},
		&Publish{Topic: "a/ü", Payload: bytes.Repeat([]byte{7}, 200), QoS: 1, PacketID: 9, Retain: true, Dup: true, Props: publishProps},
		&Publish{Topic: strings.Repeat("t", 300), Payload: bytes.Repeat([]byte{7}, 20000), QoS: 2, PacketID: 65535},
		&Ack{Kind: PUBACK, PacketID: 1},
		&Ack{Kind: PUBACK, PacketID: 513, Code: code(QuotaExceeded)},
		&Ack{Kind: PUBREC, PacketID: 2, Code: code(NoMatchingSubscribers), Props: why},
		&Ack{Kind: PUBREL, PacketID: 3, Code: code(PacketIdentifierNotFound)},
		&Ack{Kind: PUBCOMP, PacketID: 4, Props: why},
		&Subscribe{PacketID: 5, Filters: []Subscription{{Filter: "a/+/#", QoS: 1}, {Filter: "$share/g/b", QoS: 2}}},
		&Suback{PacketID: 6, Codes: []ReasonCode{GrantedQoS1, UnspecifiedError, Success}, Props: why},
		&Unsubscribe{PacketID: 7, Filters: []string{"a/+/#", "b"}, Props: props(Properties{})},
		&Ping{}, &Ping{Response: true},
		&Disconnect{},
		&Disconnect{Code: code(SessionTakenOver), Props: why},
	}
	if version != V5 {
		return append(list, &Unsuback{PacketID: 8})
	}
	return append(list,
		&Connect{Version: V5, Password: Some([]byte("token"))},
		&Publish{Payload: []byte{}, Props: &Properties{TopicAlias: Some[uint16](1)}},
		&Subscribe{
			PacketID: 5, Filters: []Subscription{{Filter: "a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}},
			Props: &Properties{SubscriptionIDs: []uint32{4}},
		},
		&Unsuback{PacketID: 8, Codes: []ReasonCode{Success, NoSubscriptionExisted, NotAuthorized}, Props: why},
		&Disconnect{Code: DisconnectWithWill, Props: &Properties{SessionExpiry: Some[uint32](0)}},
		&Auth{Code: ContinueAuthentication, Props: &Properties{AuthMethod: Some("m"), AuthData: []byte{1}}},
		&Auth{},
	)
}

func encode(t testing.TB, p Packet, version byte) []byte {
	t.Helper()
	b, err := p.Append(nil, version)
	if err != nil {
		t.Fatalf("%s %+v: %v", p.Type(), p, err)
	}
	return b
}

func decode(b []byte, version byte) (Packet, error) {
	d := Decoder{Version: version}
	f, n, err := d.Next(b)
	if err != nil {
		return nil, err
	}
	if n != len(b) {
		return nil, errors.New("frame does not take all bytes")
	}
	return d.Packet(f)
}

func TestEveryPacketComesBack(t *testing.T) {
	for _, version := range []byte{V311, V5} {
		for _, p := range every(version) {
			b := encode(t, p, version)
			got, err := decode(b, version)
			if err != nil {
				t.Errorf("version %d %s: %v\n% x", version, p.Type(), err, b)
				continue
			}
			if !reflect.DeepEqual(got, p) {
				t.Errorf("version %d %s:\ngot  %+v\nwant %+v", version, p.Type(), got, p)
			}
			prefix := []byte("before")
			again, err := p.Append(bytes.Clone(prefix), version)
			if err != nil || !bytes.Equal(again, append(prefix, b...)) {
				t.Errorf("%s: appended after other bytes it differs", p.Type())
			}
		}
	}
}

// A packet cut anywhere is either incomplete as a frame or refused as a packet,
// and bytes too many are refused where the packet has an end of its own.
func TestEveryCutIsNoticed(t *testing.T) {
	for _, version := range []byte{V311, V5} {
		for _, p := range every(version) {
			b := encode(t, p, version)
			d := Decoder{Version: version}
			for i := range b[:min(len(b), 400)] {
				if _, n, err := d.Next(b[:i]); n != 0 || err != nil {
					t.Fatalf("%s cut at %d: frame of %d bytes, %v", p.Type(), i, n, err)
				}
			}
			f, _, _ := d.Next(b)
			for i := range f.Body[:min(len(f.Body), 400)] {
				got, err := d.Packet(Frame{f.First, f.Body[:i]})
				if err == nil && reflect.DeepEqual(got, p) {
					t.Fatalf("%s: body cut at %d of %d decodes to the whole packet", p.Type(), i, len(f.Body))
				}
			}
		}
	}
}

func TestReaderGivesEveryFrameHoweverTheStreamIsCut(t *testing.T) {
	var stream []byte
	var want []Packet
	for range 3 {
		for _, p := range every(V5) {
			stream = append(stream, encode(t, p, V5)...)
			want = append(want, p)
		}
	}
	for _, most := range []int{1, 7, 4096, 1 << 20} {
		r := NewReader(&cutReader{stream, most}, Decoder{Version: V5, Max: 1 << 20})
		var got []Packet
		for {
			f, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if err := r.Fill(); err != nil {
					break
				}
				continue
			}
			p, err := r.Packet(f)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("reads of up to %d bytes: got %d packets, want %d equal ones", most, len(got), len(want))
		}
	}
}

type cutReader struct {
	b    []byte
	most int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, errors.New("end")
	}
	n := copy(p, r.b[:min(len(r.b), 1+rand.IntN(r.most))])
	r.b = r.b[n:]
	return n, nil
}

func TestViewMatchesPublish(t *testing.T) {
	for _, p := range every(V5) {
		want, ok := p.(*Publish)
		if !ok {
			continue
		}
		d := Decoder{Version: V5}
		f, _, _ := d.Next(encode(t, p, V5))
		var v PublishView
		if err := d.Publish(f, &v); err != nil {
			t.Fatal(err)
		}
		if got := v.Publish(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v want %+v", got, want)
		}
		if alias := want.Props != nil && want.Props.TopicAlias.Set; v.Has(PropTopicAlias) != alias || (v.TopicAlias != 0) != alias {
			t.Errorf("topic alias of %q: %d, Has %v", want.Topic, v.TopicAlias, v.Has(PropTopicAlias))
		}
	}
}

func TestDecodingAPublishAllocatesNothing(t *testing.T) {
	b := encode(t, &Publish{Topic: "sensors/1/air", Payload: make([]byte, 100), QoS: 1, PacketID: 1, Props: &Properties{TopicAlias: Some[uint16](1)}}, V5)
	d := Decoder{Version: V5, Max: 1000}
	var v PublishView
	if n := testing.AllocsPerRun(100, func() {
		f, _, _ := d.Next(b)
		if err := d.Publish(f, &v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	for _, version := range []byte{V311, V5} {
		p := &Publish{Topic: "sensors/1/air", Payload: make([]byte, 100), QoS: 1, PacketID: 1}
		buf := encode(b, p, version)
		d := Decoder{Version: version, Max: 149504}
		b.Run(map[byte]string{V311: "3.1.1", V5: "5"}[version], func(b *testing.B) {
			b.ReportAllocs()
			var v PublishView
			for b.Loop() {
				f, _, _ := d.Next(buf)
				if err := d.Publish(f, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	p := &Publish{Topic: "sensors/1/air", Payload: make([]byte, 100), QoS: 1, PacketID: 1}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = AppendPublish(dst[:0], V5, p); err != nil {
			b.Fatal(err)
		}
	}
}
