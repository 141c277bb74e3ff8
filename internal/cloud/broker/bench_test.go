package broker

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// BenchmarkPublish measures TLS, decoding, one rule that writes an item, the
// durable commit and the PUBACK, with clients that keep a window of publishes
// under way and write each publish as a TLS record of its own, as most
// clients do, or a whole window in one. cpu-µs/msg is user and system time of
// the process, the clients' share included.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct{ conns, window int }{{1, 64}, {10, 64}, {100, 16}, {100, 1}} {
		for _, records := range []string{"single", "joined"} {
			if c.window == 1 && records == "joined" {
				continue
			}
			b.Run(fmt.Sprintf("conns=%d/window=%d/%s", c.conns, c.window, records), func(b *testing.B) {
				benchmarkPublish(b, c.conns, c.window, records == "joined")
			})
		}
	}
}

func benchmarkPublish(b *testing.B, conns, window int, joined bool) {
	w := newWorld(b, Limits{}, nil)
	var seq struct {
		sync.Mutex
		n uint64
	}
	w.rules.set(func(batch *store.Batch, m *message.Message) message.Outcome {
		seq.Lock()
		seq.n++
		n := seq.n
		seq.Unlock()
		key := make([]byte, 0, 40)
		key = append(key, 'i')
		key = append(key, m.ClientID...)
		for s := 56; s >= 0; s -= 8 {
			key = append(key, byte(n>>s))
		}
		batch.Set(key, m.Payload)
		return message.Outcome{}
	})
	clients := make([]*tls.Conn, conns)
	for i := range clients {
		p, _ := w.connect(clean(mqtt.V311, fmt.Sprint("bench", i)))
		clients[i] = p.nc.(*tls.Conn)
		_ = clients[i].SetReadDeadline(time.Time{})
	}
	per := max(b.N/conns, 1)
	before := cpu()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			if err := load(c, fmt.Sprint("sensors/", i, "/air"), per, window, joined); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(per*conns)/1e3, "cpu-µs/msg")
}

// load publishes n messages, window at a time.
func load(c *tls.Conn, topic string, n, window int, joined bool) error {
	payload := fmt.Appendf(nil, `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40,"pad":"%020d"}`, n)
	in := bufio.NewReader(c)
	var buf []byte
	for sent := 0; sent < n; {
		k := min(window, n-sent)
		for i := range k {
			if !joined {
				buf = buf[:0]
			}
			buf, _ = (&mqtt.Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: uint16(i + 1)}).Append(buf, mqtt.V311)
			if !joined {
				if _, err := c.Write(buf); err != nil {
					return err
				}
			}
		}
		if joined {
			if _, err := c.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		if _, err := io.CopyN(io.Discard, in, int64(4*k)); err != nil {
			return err
		}
		sent += k
	}
	return nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
