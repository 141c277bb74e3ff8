package broker

import (
	"context"
	"net"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
)

// Peer is a client whom others have authenticated by an access key, before
// there was MQTT to speak: over WebSocket. As in all APIs here, an access key
// has full rights, so that no policy is asked.
type Peer struct {
	AccessKeyID string
	SourceIP    string // without port
	DomainName  string // that the client connected to; may be ""
	// Check says why the client may not go on, nil while it may. It is called
	// when something changes that certificates and rights depend on.
	Check func() error
	// Life is how long the connection lasts at most; 0: without end.
	Life time.Duration
}

// ServePeer serves MQTT over nc to p, and closes nc when it ends. It returns
// at once; [Broker.Close] waits for the connection.
func (b *Broker) ServePeer(ctx context.Context, nc net.Conn, p Peer) {
	b.mu.Lock()
	busy := b.closing
	if !busy {
		b.running.Add(1)
	}
	b.mu.Unlock()
	if busy {
		_ = closeAtOnce(nc)
		return
	}
	c := b.newConn(ctx, nc, policy.Subject{CertificateID: p.AccessKeyID, SourceIP: p.SourceIP, DomainName: p.DomainName}, Listener{})
	c.peer = &p
	go func() { // Close waits for it through running
		defer b.running.Done()
		if p.Life > 0 {
			defer time.AfterFunc(p.Life, func() { c.stop(errLifeOver) }).Stop()
		}
		if c.begin() {
			c.serve()
		}
	}()
}

// errLifeOver ends a connection over WebSocket (AWS IoT Core quotas, "WebSocket
// connection duration"; AWS IoT developer guide, "Lifecycle events":
// WEBSOCKET_TTL_EXPIRATION).
var errLifeOver = refuse(mqtt.AdministrativeAction, "the connection has had its longest time: connect again with a new signature").silently()

// newJudge returns what decides what the client may do, as of now.
func (c *conn) newJudge() policy.Judge {
	if c.peer != nil {
		return fullRights{}
	}
	s := c.subject
	return c.b.gate.Judge(&s)
}

// stillWelcome says why the client may not stay connected, nil when it may.
func (c *conn) stillWelcome() error {
	if c.peer != nil {
		return c.peer.Check()
	}
	switch c.listener.Auth {
	case Anonymous:
		return nil
	case Password:
		a := c.account.Load()
		if a == nil { // before CONNECT
			return nil
		}
		return c.b.cfg.Accounts.CheckAccount(a.name, a.version)
	}
	_, err := c.b.gate.VerifyCertificate(c.subject.Certificate)
	return err
}

// fullRights are those of an access key.
type fullRights struct{}

// Decide implements policy.Judge.
func (fullRights) Decide(string, string) policy.Decision {
	return policy.Decision{Allowed: true, Reason: "access keys have full rights"}
}

// Connection says whether a client is connected, and since when it is or is not:
// the zero time when that was forgotten, an hour after it left.
func (b *Broker) Connection(clientID string) (connected bool, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[clientID]; s != nil && s.owner != nil {
		return true, s.owner.since
	}
	value, found, err := b.store.Get(presenceKey(clientID))
	if err != nil || !found {
		return false, time.Time{}
	}
	last, err := parsePresence(value)
	if err != nil {
		return false, time.Time{}
	}
	return false, last.ended
}

// Disconnect ends the connection of a client, and returns when it has ended
// (AWS IoT API reference, DeleteConnection). With clean its session ends, too,
// also that of a client which is away; with dropWill its will is not published.
// It returns false when there is nothing to end, and ctx's error when the
// connection has not ended before.
func (b *Broker) Disconnect(ctx context.Context, clientID string, clean, dropWill bool) (found bool, err error) {
	b.mu.Lock()
	s := b.sessions[clientID]
	var owner *conn
	if s != nil {
		owner = s.owner
	}
	b.mu.Unlock()
	switch {
	case s == nil, owner == nil && !clean:
		return false, nil
	case owner == nil:
		b.settleWill(s.takeWill(), dropWill)
		b.forget(s, nil)
		return true, nil
	}
	if clean {
		s.mu.Lock()
		s.expiry = 0
		s.mu.Unlock()
	}
	cause := errDeleted
	if dropWill {
		cause = errDeletedQuietly
	}
	owner.stop(cause)
	select {
	case <-owner.ended:
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	}
}

var (
	errDeleted        = refuse(mqtt.AdministrativeAction, "the connection was deleted through the API").silently()
	errDeletedQuietly = refuse(mqtt.AdministrativeAction, "the connection was deleted through the API").silently() // without its will
)
