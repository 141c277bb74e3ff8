package broker

import (
	"fmt"
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

// record writes r into the refusal log.
func (c *conn) record(r *refused) {
	resource := r.resource
	if r.action == "iot:Connect" && resource == "" {
		resource = c.b.gate.ARN("client/" + c.subject.ClientID)
	}
	c.b.refusals.Add(refusal.Refusal{
		Where: "mqtt", Action: r.action, Resource: resource, Reason: r.reason,
		Principal: c.subject.CertificateID, ClientID: c.subject.ClientID, SourceIP: c.subject.SourceIP,
	})
}

// recordEvery bounds how often the same refusal of one connection is recorded:
// a device that publishes on a denied topic all day is one line now and then.
const recordEvery = 10 * time.Second
