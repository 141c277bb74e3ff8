package broker

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"mote/internal/mqtt"
)

// Mode says which MQTT a listener serves.
type Mode byte

const (
	// AWS is MQTT with the deviations and the limits of AWS IoT Core.
	AWS Mode = iota
	// Spec is MQTT as the OASIS standards say: QoS 2, a/# matches a, retained
	// messages for filters with wildcards, subscription identifiers, no shape
	// limits beyond [Config].SpecLimits. MQTT 3.1 is served, too.
	Spec
)

// Auth says how the clients of a listener show who they are.
type Auth byte

const (
	// Certificate asks for a client certificate that the gate welcomes.
	Certificate Auth = iota
	// Password asks for the name and the password of an account.
	Password
	// Anonymous asks nothing.
	Anonymous
)

// Listener says how the connections of a listener are served. The zero value
// is AWS's MQTT over TLS with client certificates.
type Listener struct {
	Mode  Mode
	Auth  Auth
	Plain bool // without TLS
}

// Accounts knows who may connect with a name and a password; the registry does.
type Accounts interface {
	// VerifyPassword returns the version of the account when the password is
	// its own. It takes as long for an unknown name as for a wrong password,
	// and ends with ctx. The error is for logs; clients are told one thing only.
	VerifyPassword(ctx context.Context, name string, password []byte) (version string, err error)
	// CheckAccount says why a client that gave the password of that version
	// may not stay connected, or nil.
	CheckAccount(name, version string) error
}

func (b *Broker) checkListener(l Listener) error {
	switch {
	case l.Plain && l.Auth == Certificate:
		return errors.New("broker: a listener without TLS has no client certificates")
	case !l.Plain && b.tls == nil:
		return errors.New("broker: Config.TLS is not set")
	case l.Auth == Password && b.cfg.Accounts == nil:
		return errors.New("broker: Config.Accounts is not set")
	}
	return nil
}

// forever is the longest session expiry (section 3.1.2.11.2).
const forever = math.MaxUint32 * time.Second

// setSpecDefaults sets the limits of listeners that serve the standards.
func (l *Limits) setSpecDefaults() {
	orDefault(&l.Payload, 1<<20)
	orDefault(&l.Packet, l.Payload+128<<10)
	orDefault(&l.Connect, 128<<10)
	orDefault(&l.Topic, 65535)
	orDefault(&l.Slashes, 200)
	orDefault(&l.ClientID, 1024)
	orDefault(&l.Filters, 1000)
	orDefault(&l.Subscriptions, 1000)
	orDefault(&l.TopicAliases, 64)
	orDefault(&l.SessionExpiry, forever)
	orDefault(&l.SessionExpiryMax, forever)
	orDefault(&l.KeepAliveMax, 65535*time.Second)
	l.setDefaults()
}

// specKeepAlive takes the client's keep alive; 0 turns it off (section
// 3.1.2.10) unless the limits want one.
func (c *conn) specKeepAlive(seconds uint16) {
	c.keepAlive = time.Duration(seconds) * time.Second
	if most := c.limits.KeepAliveMax; c.keepAlive > most || seconds == 0 && most < 65535*time.Second {
		c.keepAlive = most
	}
}

// isReserved says whether a topic or filter belongs to the cloud itself. AWS
// has all that begin with $, of which the standard leaves most to others.
func (c *conn) isReserved(topic string) bool {
	if !c.spec {
		return topic[0] == '$'
	}
	return topic == "$aws" || strings.HasPrefix(topic, "$aws/")
}

// authenticate has the account of a CONNECT verified, off the hot path: it may
// wait for others that are being verified.
func (c *conn) authenticate(p *mqtt.Connect) *refused {
	switch c.listener.Auth {
	case Anonymous:
		c.subject.Anonymous = true
	case Password:
		return c.verifyPassword(p)
	}
	return nil
}

// account is the one whose password a client gave.
type account struct{ name, version string }

func (c *conn) verifyPassword(p *mqtt.Connect) *refused {
	c.subject.Account = cut(p.Username.Value)
	ctx, cancel := context.WithTimeout(c.b.life, c.limits.ConnectWithin)
	defer cancel()
	version, err := c.b.cfg.Accounts.VerifyPassword(ctx, p.Username.Value, p.Password.Value)
	if err != nil {
		r := refuse(mqtt.BadUserNameOrPassword, "the user name or the password is not right").on("iot:Connect", "")
		if ctx.Err() != nil {
			r = refuse(mqtt.ServerBusy, "too many passwords are being verified: connect again later").on("iot:Connect", "")
		}
		r.detail = err.Error()
		return r
	}
	c.account.Store(&account{c.subject.Account, version})
	return nil
}

// checkTopic refuses what the client may not publish on, whatever the policies
// say.
func (c *conn) checkTopic(topic string) *refused {
	if err := mqtt.ValidTopic(topic); err != nil {
		return refuse(mqtt.TopicNameInvalid, "%v", err)
	}
	if !c.spec || c.isReserved(topic) {
		return c.b.checkTopic(topic, true)
	}
	return c.limits.checkShape("topic", topic, mqtt.TopicNameInvalid)
}

func (c *conn) checkRetain(topic string) *refused {
	if !c.isReserved(topic) {
		return nil
	}
	return checkRetain(topic)
}

// checkFilter refuses what the client may not subscribe to, whatever the
// policies say.
func (c *conn) checkFilter(filter string) *refused {
	if err := mqtt.ValidFilter(filter); err != nil {
		return refuse(mqtt.TopicFilterInvalid, "%v", err)
	}
	inner, _ := sharedFilter(filter)
	if !c.spec || c.isReserved(inner) {
		return c.b.checkFilter(filter)
	}
	if name := shareName(filter); len(name) > shareNameMost {
		return errShareName(name)
	}
	return c.limits.checkShape("topic filter", filter, mqtt.TopicFilterInvalid)
}
