package broker

import (
	"bytes"
	"context"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// FuzzConnection sends raw bytes to the connection handler, cut in two writes:
// it must not panic, and must end when the client ends.
func FuzzConnection(f *testing.F) {
	for _, v := range []byte{mqtt.V311, mqtt.V5} {
		add := func(packets ...mqtt.Packet) {
			var buf []byte
			for _, p := range packets {
				var err error
				if buf, err = p.Append(buf, v); err != nil {
					f.Fatal(err)
				}
			}
			f.Add(buf, len(buf)/2)
		}
		c := lasting(v, "c")
		c.Will = &mqtt.Will{Topic: "gone", QoS: 1, Retain: true}
		add(c, &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "a/#", QoS: 1}, {Filter: "b"}}},
			&mqtt.Publish{Topic: "a/b", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("x")}, &mqtt.Publish{Topic: "b"},
			&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 1}, &mqtt.Ping{}, &mqtt.Unsubscribe{PacketID: 2, Filters: []string{"b"}}, &mqtt.Disconnect{})
		add(clean(v, ""), &mqtt.Publish{Topic: "a", QoS: 2, PacketID: 1})
		add(lasting(v, "c"), &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "#", QoS: 2}}}, &mqtt.Publish{Topic: "a", QoS: 2, PacketID: 1},
			&mqtt.Publish{Topic: "a", QoS: 2, PacketID: 1, Dup: true}, &mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 1}, &mqtt.Ack{Kind: mqtt.PUBREC, PacketID: 2},
			&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: 2}, &mqtt.Ack{Kind: mqtt.PUBREC, PacketID: 3})
		if v == mqtt.V5 {
			add(lasting(v, "c"), &mqtt.Publish{Topic: "a", Props: &mqtt.Properties{TopicAlias: mqtt.Some[uint16](1), MessageExpiry: mqtt.Some[uint32](1)}},
				&mqtt.Publish{Props: &mqtt.Properties{TopicAlias: mqtt.Some[uint16](1)}}, &mqtt.Disconnect{Code: mqtt.DisconnectWithWill})
		}
	}
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}, 1)
	f.Add([]byte{}, 0)
	st, err := store.Open(f.TempDir(), store.Options{MinFree: 1})
	if err != nil {
		f.Fatal(err)
	}
	b, err := New(Config{Store: st, Gate: &fakeGate{}, Rules: &fakeRules{}, Limits: Limits{ConnectWithin: time.Second}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = b.Close(context.Background()); _ = st.Close() })
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		client, server := net.Pipe()
		kind := Listener{Plain: true, Auth: Anonymous, Mode: Mode(cut & 1)}
		done := make(chan struct{})
		b.running.Go(func() {
			if c := b.begin(context.Background(), server, policy.Subject{CertificateID: "c", SourceIP: "127.0.0.1"}, kind); c != nil {
				c.serve()
			}
			close(done)
		})
		go func() { _, _ = io.Copy(io.Discard, client) }() // ends when the pipe is closed
		cut = min(max(cut, 0), len(data))
		_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = client.Write(data[:cut])
		_, _ = client.Write(data[cut:])
		_ = client.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
	})
}

// FuzzMessageRecord: what parses can be written again and reads the same.
func FuzzMessageRecord(f *testing.F) {
	now := time.UnixMilli(1764000000000)
	for _, m := range []message.Message{
		{Topic: "a", Time: now},
		{Topic: "a/b", Payload: []byte("x"), Time: now, Expiry: now.Add(time.Hour), UTF8Payload: true, ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{}},
		{Topic: "a", Time: now, UserProperties: []message.UserProperty{{Name: "a", Value: "b"}, {}}},
	} {
		f.Add(appendMessage(nil, &m, 1, true, nil))
		f.Add(appendMessage(nil, &m, 2, false, &subIDs{1, 268435455}))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, ids, err := parseQueued(data)
		if err != nil {
			return
		}
		again := appendMessage(nil, m, m.QoS, m.Retain, ids)
		same, sameIDs, err := parseQueued(again)
		if err != nil || !reflect.DeepEqual(m, same) || !reflect.DeepEqual(ids, sameIDs) {
			t.Fatalf("%+v became %+v, %v", m, same, err)
		}
	})
}

func TestRecords(t *testing.T) {
	now := time.UnixMilli(1764000000123)
	m := &message.Message{
		Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true, Time: now, Expiry: now.Add(time.Hour), UTF8Payload: true, ContentType: "text/plain",
		ResponseTopic: "r", CorrelationData: []byte{1}, UserProperties: []message.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}},
	}
	b := appendMessage(nil, m, 1, true, nil)
	got, err := parseMessage(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range len(b) - len(m.Payload) {
		if _, err := parseMessage(b[:i]); err == nil {
			t.Errorf("cut at %d it parses", i)
		}
	}
	if _, err := parseMessage(append([]byte{secondVersion + 1}, b[1:]...)); err == nil {
		t.Error("a newer record parses")
	}
	r := sessionRecord{id: 7, version: 5, expiry: time.Hour, disconnected: now, sent: 9, base: 3}
	if got, err := parseSession(r.append(nil)); err != nil || got != r {
		t.Errorf("got %+v, %v", got, err)
	}
	old := r.append(nil)
	if got, err := parseSession(old[:len(old)-8]); err != nil || got.sent != 9 || (&session{base: got.base}).packetID(65534) != 65535 || (&session{base: got.base}).packetID(65535) != 1 {
		t.Errorf("an older record: %+v, %v", got, err)
	}
	if id := (&session{base: 3}).packetID(4); id != 1 {
		t.Errorf("the first packet id is %d", id)
	}
	if _, err := parseSession(r.append(nil)[:10]); err == nil {
		t.Error("a cut session parses")
	}
	for _, s := range []subscription{{}, {qos: 1, noLocal: true}, {asSent: true}, {qos: 2, parent: true, id: 268435455}} {
		if got, err := parseSubscription(s.record()); err != nil || got != s {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if id, seq, ok := splitQueueKey(queueKey(3, 9)); id != 3 || seq != 9 || !ok {
		t.Errorf("got %d %d %v", id, seq, ok)
	}
	if id, filter, ok := splitFilterKey(filterKey(3, "a/#")); id != 3 || filter != "a/#" || !ok {
		t.Errorf("got %d %q %v", id, filter, ok)
	}
	if bytes.Compare(queueKey(1, 255), queueKey(1, 256)) >= 0 {
		t.Error("the order of keys is not the order of sequence numbers")
	}
}
