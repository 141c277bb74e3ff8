package broker

import (
	"sync"
	"time"

	"mote/internal/mqtt"
)

// The rates of AWS IoT Core (AWS IoT Core endpoints and quotas, "message broker
// and protocol limits"), kept when Limits.Rates is set.
const (
	ratePublishes = 100       // messages per second and connection, both ways together
	rateBytes     = 512 << 10 // received per second and connection
	rateStored    = 10        // messages per second that a session gets of those that waited for it
	rateConnects  = time.Second
)

// bucket is a token bucket of one second's worth.
type bucket struct {
	rate   float64 // tokens per second
	tokens float64
	last   time.Time
}

func newBucket(rate float64) bucket { return bucket{rate: rate, tokens: rate, last: time.Now()} }

func (b *bucket) fill(now time.Time) {
	b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.last).Seconds())
	b.last = now
}

// rates are the buckets of one connection.
type rates struct {
	mu        sync.Mutex
	publishes bucket // guarded by mu
	bytes     bucket // guarded by mu
	stored    bucket // guarded by mu
}

func newRates() *rates {
	return &rates{publishes: newBucket(ratePublishes), bytes: newBucket(rateBytes), stored: newBucket(rateStored)}
}

// publish takes one message from the client, unless there were too many.
func (r *rates) publish() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishes.fill(time.Now())
	if r.publishes.tokens < 1 {
		return false
	}
	r.publishes.tokens--
	return true
}

// deliverable says whether a message to the client may go now.
func (r *rates) deliverable() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishes.fill(time.Now())
	return r.publishes.tokens >= 1
}

// delivered counts a message to the client.
func (r *rates) delivered() {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.publishes.tokens--
	}
}

// takeStored returns how many of up to n messages that waited may go now, and
// counts them.
func (r *rates) takeStored(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored.fill(time.Now())
	n = min(n, int(r.stored.tokens))
	r.stored.tokens -= float64(n)
	return n
}

// received counts n bytes and returns how long the reader has to wait.
func (r *rates) received(n int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes.fill(time.Now())
	r.bytes.tokens -= float64(n)
	return time.Duration(-min(r.bytes.tokens, 0) / r.bytes.rate * float64(time.Second))
}

// throttle delays the reader of a client that sends too much. The end of the
// connection is noticed within its step.
func (c *conn) throttle(n int) {
	const step = 50 * time.Millisecond
	if c.rates == nil {
		return
	}
	for wait := c.rates.received(n); wait > 0 && c.cause.Load() == nil; wait -= step {
		select {
		case <-time.After(min(wait, step)):
		case <-c.b.quit:
			return
		}
	}
}

// tooFast answers a publish beyond the rate: version 5 gets a failed PUBACK,
// 3.1.1 none, so that the client sends it again after it has reconnected.
func (c *conn) tooFast() *refused {
	c.b.counters.throttled.Add(1)
	r := refuse(mqtt.QuotaExceeded, "more than %d messages per second on this connection: send fewer, or run without limits = \"aws\"", ratePublishes).on("iot:Publish", "")
	c.deny(r)
	if c.version == mqtt.V5 && c.view.QoS > 0 {
		c.answer(ack{kind: answerKind(c.view.QoS), id: c.view.PacketID, code: r.code, reason: r.reason})
	}
	return nil
}

// checkConnectRate refuses a second CONNECT of a client id within a second.
func (c *conn) checkConnectRate(clientID string, now time.Time) *refused {
	b := c.b
	if !c.limits.Rates {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.connects[clientID]; ok && now.Sub(last) < rateConnects {
		b.counters.throttled.Add(1)
		return refuse(mqtt.QuotaExceeded, "this client id sent CONNECT less than a second ago: wait a moment between attempts").on("iot:Connect", "")
	}
	b.connects[clientID] = now
	return nil
}

// pace lets messages go that waited for their rate.
func (b *Broker) pace(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for clientID, last := range b.connects {
		if now.Sub(last) >= rateConnects {
			delete(b.connects, clientID)
		}
	}
	for _, s := range b.sessions {
		s.mu.Lock()
		if d := s.out; d != nil && (d.onDisk || len(d.memory) > 0) {
			d.kick()
		}
		s.mu.Unlock()
		s.kickGroups()
	}
}
