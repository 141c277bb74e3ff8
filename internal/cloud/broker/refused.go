package broker

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
	"mote/internal/mqtt"
)

// refused is why a packet or a connection is turned away: a reason code for
// version 5, and for the log what was asked and what decided.
type refused struct {
	code     mqtt.ReasonCode
	reason   string
	action   string // "iot:Publish", …; "MQTT" when it is about the protocol
	resource string // ARN or filter; may be ""
	detail   string // for the log alone, in the place of reason; may be ""
	quiet    bool   // an ordinary end of a connection: nothing for the refusal log
}

func (r *refused) Error() string { return r.reason }

func refuse(code mqtt.ReasonCode, format string, args ...any) *refused {
	return &refused{code: code, reason: fmt.Sprintf(format, args...), action: "MQTT"}
}

// on returns r with what was asked.
func (r *refused) on(action, resource string) *refused {
	r.action, r.resource = action, resource
	return r
}

func (r *refused) silently() *refused {
	r.quiet = true
	return r
}

// refuseError turns an error of the codec into a refusal.
func refuseError(err error) *refused {
	if e, ok := err.(*mqtt.Error); ok {
		return refuse(e.Code, "%s", e.Reason)
	}
	return refuse(mqtt.MalformedPacket, "%v", err)
}

// refusePolicy turns the decision of a policy into a refusal.
func refusePolicy(d policy.Decision, action, resource string) *refused {
	return refuse(mqtt.NotAuthorized, "%s", d.Reason).on(action, resource)
}

// The ends of a connection that are nobody's fault.
var (
	errShutdown  = refuse(mqtt.ServerShuttingDown, "the server is stopping; connect again in a moment").silently()
	errTakenOver = refuse(mqtt.SessionTakenOver, "another connection with the same client id took over").silently()
	errKeepAlive = refuse(mqtt.KeepAliveTimeout, "nothing was received for one and a half times the keep alive").silently()
	errLost      = refuse(mqtt.Success, "the connection was lost").silently()
	errGoodbye   = refuse(mqtt.Success, "the client disconnected").silently()
)

// reasonProps are the properties of a packet that carries a reason, bounded so
// that it never makes a packet large.
func reasonProps(reason string) *mqtt.Properties {
	if reason == "" {
		return nil
	}
	const most = 1000
	if len(reason) > most {
		reason = reason[:most]
		for len(reason) > 0 && reason[len(reason)-1] >= 0x80 { // not in the middle of a rune
			reason = reason[:len(reason)-1]
		}
	}
	return &mqtt.Properties{ReasonString: mqtt.Some(reason)}
}

// appendReason appends a packet with a reason string, or without it when the
// client does not want it or it is too large for the client ([MQTT-3.1.2-29],
// [MQTT-3.4.2-2]). make returns the packet with the given properties.
func (c *conn) appendReason(buf []byte, reason string, packet func(*mqtt.Properties) mqtt.Packet) []byte {
	if !c.problemInfo {
		reason = ""
	}
	out, err := packet(reasonProps(reason)).Append(buf, c.version)
	if err == nil && len(out)-len(buf) <= c.maxPacket {
		return out
	}
	if out, err = packet(nil).Append(buf, c.version); err == nil {
		return out
	}
	return buf
}

// A connection's refusals are recorded up to a number at a time, so that a
// device that does all day what it may not cannot flood the log.
const (
	recordEvery = 10 * time.Second
	recordMost  = 20
)

// recorder counts what was recorded of a connection.
type recorder struct {
	mu    sync.Mutex
	since time.Time // guarded by mu
	n     int       // since then; guarded by mu
}

func (l *recorder) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= recordEvery {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= recordMost
}

// deny counts r and, unless there were too many lately, records it.
func (c *conn) deny(r *refused) {
	c.b.counters.denied.Add(1)
	if c.recorder.allow() {
		c.record(r)
	}
}

// cut bounds what a stranger can put into the log.
func cut(s string) string {
	const most = 400
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// record writes r into the refusal log.
func (c *conn) record(r *refused) {
	resource := r.resource
	if r.action == "iot:Connect" && resource == "" {
		resource = c.b.gate.ARN("client/" + c.subject.ClientID)
	}
	reason := r.reason
	if r.detail != "" {
		reason = r.detail
	}
	c.b.refusals.Add(refusal.Refusal{
		Where: "mqtt", Action: r.action, Resource: cut(resource), Reason: reason,
		Principal: c.subject.Principal(), ClientID: cut(c.subject.ClientID), SourceIP: c.subject.SourceIP,
	})
}
