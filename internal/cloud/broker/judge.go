package broker

import (
	"sync"
	"time"

	"mote/internal/cloud/policy"
)

// The policy answers of a connection are remembered by topic until the gate's
// epoch changes. Publishing asks from the connection's reader alone (type
// route); receiving asks from whoever delivers (type verdicts).

// remembered bounds the topics whose answers one connection remembers.
const remembered = 512

// route is what a connection knows of a topic that it publishes on.
type route struct {
	topic    string
	refused  *refused // publishing on it is refused
	retain   *refused // publishing on it with RETAIN is refused; set once retainAsked
	recorded time.Time

	retainAsked bool

	targets []target
	version uint64 // of the trie, for targets
	stored  bool   // some target is a persistent session that wants QoS 1
}

// refreshJudge forgets all answers when the gate's epoch has changed. The judge
// is made when it is asked: for what is remembered, a connection needs none.
func (c *conn) refreshJudge() {
	if e := c.b.gate.Epoch(); e != c.epoch {
		c.epoch, c.judge = e, nil
		clear(c.routes)
	}
}

// decide asks whether the client may do action on resource.
func (c *conn) decide(action, resource string) *refused {
	arn := c.b.gate.ARN(resource)
	if c.judge == nil {
		c.judge = c.newJudge()
	}
	if d := c.judge.Decide(action, arn); !d.Allowed {
		return refusePolicy(d, action, arn)
	}
	return nil
}

// route returns what is known of a topic, with the targets of now.
func (c *conn) route(topic []byte) *route {
	r := c.routes[string(topic)]
	if r == nil {
		if len(c.routes) >= remembered {
			clear(c.routes)
		}
		r = c.newRoute(string(topic))
		if len(topic) <= 2*c.b.limits.Topic { // longer ones are refused, and not worth their memory
			c.routes[r.topic] = r
		}
	}
	r.refresh(c.b)
	return r
}

func (c *conn) newRoute(topic string) *route {
	r := &route{topic: topic}
	if r.refused = c.checkTopic(topic); r.refused != nil {
		r.refused.on("iot:Publish", c.b.gate.ARN("topic/"+topic))
	} else {
		r.refused = c.decide("iot:Publish", "topic/"+topic)
	}
	return r
}

// mayRetain asks for the right to publish retained (AWS IoT developer guide,
// "Policy actions": iot:RetainPublish besides iot:Publish).
func (r *route) mayRetain(c *conn) *refused {
	if !r.retainAsked {
		r.retainAsked = true
		if r.retain = c.checkRetain(r.topic); r.retain == nil {
			r.retain = c.decide("iot:RetainPublish", "topic/"+r.topic)
		}
	}
	return r.retain
}

// refresh finds the targets when the subscriptions have changed.
func (r *route) refresh(b *Broker) {
	if r.refused != nil || r.targets != nil && r.version == b.trie.version.Load() {
		return
	}
	if isIngest(r.topic) {
		r.targets = []target{} // nobody can subscribe to it
		return
	}
	r.targets, r.version = b.trie.match(r.topic)
	if r.targets == nil {
		r.targets = []target{}
	}
	r.stored = anyStored(r.targets)
}

func anyStored(targets []target) bool {
	for _, t := range targets {
		if t.stored() {
			return true
		}
	}
	return false
}

// verdicts are the answers to iot:Receive for one connection.
type verdicts struct {
	c *conn

	mu    sync.Mutex
	epoch uint64          // guarded by mu
	judge policy.Judge    // guarded by mu
	known map[string]bool // by topic; guarded by mu
}

// peek returns the answer for topic if it is known. It waits for nothing.
func (v *verdicts) peek(topic string) (allowed, known bool) {
	epoch := v.c.b.gate.Epoch()
	v.mu.Lock()
	defer v.mu.Unlock()
	if epoch != v.epoch {
		return false, false
	}
	allowed, known = v.known[topic]
	return allowed, known
}

// decide asks the gate about topic, so that peek knows.
func (v *verdicts) decide(topic string) {
	if _, known := v.peek(topic); known {
		return
	}
	judge, epoch := v.current()
	arn := v.c.b.gate.ARN("topic/" + topic)
	d := judge.Decide("iot:Receive", arn)
	if !d.Allowed {
		v.c.deny(refusePolicy(d, "iot:Receive", arn))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoch != epoch {
		return
	}
	if len(v.known) >= remembered {
		clear(v.known)
	}
	v.known[topic] = d.Allowed
}

// rest gives up the judge of an idle connection, but not its answers.
func (v *verdicts) rest() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.judge = nil
}

// current returns a judge of the gate's epoch.
func (v *verdicts) current() (policy.Judge, uint64) {
	epoch := v.c.b.gate.Epoch()
	v.mu.Lock()
	if v.judge != nil && v.epoch == epoch {
		defer v.mu.Unlock()
		return v.judge, epoch
	}
	v.mu.Unlock()
	judge := v.c.newJudge()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoch != epoch || v.known == nil {
		v.known = map[string]bool{}
	}
	v.judge, v.epoch = judge, epoch
	return judge, epoch
}
