package broker

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/record"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// Lifecycle events tell rules and subscribers who comes and goes (AWS IoT
// developer guide, "Lifecycle events").

const eventPrefix = "$aws/events/"

// Kinds of events: what follows the prefix, before the client id.
const (
	eventConnected    = "presence/connected"
	eventDisconnected = "presence/disconnected"
	eventSubscribed   = "subscriptions/subscribed"
	eventUnsubscribed = "subscriptions/unsubscribed"
)

// event is the document of a lifecycle event.
type event struct {
	ClientID            string   `json:"clientId"`
	Timestamp           int64    `json:"timestamp"` // Unix ms
	EventType           string   `json:"eventType"`
	ByClient            *bool    `json:"clientInitiatedDisconnect,omitempty"`
	SessionIdentifier   string   `json:"sessionIdentifier"`
	PrincipalIdentifier string   `json:"principalIdentifier"`
	IPAddress           string   `json:"ipAddress,omitempty"`
	VersionNumber       *uint64  `json:"versionNumber,omitempty"`
	DisconnectReason    string   `json:"disconnectReason,omitempty"`
	Topics              []string `json:"topics,omitempty"`
}

// Reasons in disconnected events.
const (
	reasonClient      = "CLIENT_INITIATED_DISCONNECT"
	reasonDuplicate   = "DUPLICATE_CLIENTID"
	reasonKeepAlive   = "MQTT_KEEP_ALIVE_TIMEOUT"
	reasonLost        = "CONNECTION_LOST"
	reasonServer      = "SERVER_INITIATED_DISCONNECT"
	reasonAPI         = "API_INITIATED_DISCONNECT"
	reasonTTL         = "WEBSOCKET_TTL_EXPIRATION"
	reasonServerError = "SERVER_ERROR"
	reasonAuth        = "AUTH_ERROR"
	reasonThrottled   = "THROTTLED"
	reasonClientError = "CLIENT_ERROR"
)

// disconnectReason is AWS's word for why a connection ended.
func disconnectReason(r *refused) string {
	switch r {
	case errGoodbye:
		return reasonClient
	case errTakenOver:
		return reasonDuplicate
	case errKeepAlive:
		return reasonKeepAlive
	case errShutdown:
		return reasonServer
	case errDeleted, errDeletedQuietly:
		return reasonAPI
	case errLifeOver:
		return reasonTTL
	}
	switch r.code {
	case mqtt.Success:
		return reasonLost
	case mqtt.NotAuthorized:
		return reasonAuth
	case mqtt.UnspecifiedError, mqtt.ServerUnavailable:
		return reasonServerError
	case mqtt.MessageRateTooHigh, mqtt.ConnectionRateExceeded:
		return reasonThrottled
	}
	return reasonClientError
}

// presence is what is kept of a client id to number its connections.
type presence struct {
	version   uint64
	ended     time.Time // zero while connected
	session   [16]byte  // a random UUID, of the connection
	principal string
}

// presenceKept is how long after its end the number of a connection counts:
// the next one after that is 0 again.
const presenceKept = time.Hour

func presenceKey(clientID string) []byte {
	return append([]byte{byte(store.SpaceSession), 'p'}, clientID...)
}

func (p *presence) record() []byte {
	ended := int64(0)
	if !p.ended.IsZero() {
		ended = p.ended.UnixMilli()
	}
	b := binary.BigEndian.AppendUint64([]byte{recordVersion}, p.version)
	b = binary.BigEndian.AppendUint64(b, uint64(ended))
	return append(append(b, p.session[:]...), p.principal...)
}

func parsePresence(b []byte) (p presence, err error) {
	c := record.Read(b)
	version := c.Byte()
	p.version = c.Uint64()
	if ended := int64(c.Uint64()); ended != 0 {
		p.ended = time.UnixMilli(ended)
	}
	copy(p.session[:], c.Take(16))
	if p.principal = string(c.Left()); c.Bad() || version != recordVersion {
		return p, errRecord
	}
	return p, nil
}

func (p *presence) sessionID() string {
	s := p.session
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:])
}

// nextPresence numbers a new connection of a client id.
func (b *Broker) nextPresence(clientID, principal string, now time.Time) (presence, error) {
	next := presence{principal: principal}
	_, _ = rand.Read(next.session[:]) // never fails
	next.session[6], next.session[8] = next.session[6]&0x0f|0x40, next.session[8]&0x3f|0x80
	value, found, err := b.store.Get(presenceKey(clientID))
	if err != nil || !found {
		return next, err
	}
	last, err := parsePresence(value)
	if err != nil {
		return next, fmt.Errorf("presence of client %q: %w", clientID, err)
	}
	if last.ended.IsZero() || now.Sub(last.ended) < presenceKept {
		next.version = last.version + 1
	}
	return next, nil
}

// connected numbers the connection and tells about it.
func (b *Broker) connected(c *conn) {
	now := time.Now()
	p, err := b.nextPresence(c.subject.ClientID, c.subject.CertificateID, now)
	if err != nil {
		b.log.Error("the number of a connection cannot be read, it begins anew", "client_id", c.subject.ClientID, "err", err)
	}
	c.presence = p
	u := b.newBurst(nil)
	u.batch.Set(presenceKey(c.subject.ClientID), p.record())
	u.event(eventConnected, p.event(c.subject.ClientID, event{IPAddress: c.subject.SourceIP, VersionNumber: &p.version}))
	u.commit()
}

// disconnected tells the end of a connection.
func (u *burst) disconnected(clientID string, p presence, reason string) {
	byClient := reason == reasonClient
	u.event(eventDisconnected, p.event(clientID, event{VersionNumber: &p.version, ByClient: &byClient, DisconnectReason: reason}))
}

// tellTopics tells which topics a client has subscribed to, or left.
func (c *conn) tellTopics(kind string, topics []string) {
	if len(topics) == 0 {
		return
	}
	u := c.b.newBurst(nil)
	u.event(kind, c.presence.event(c.subject.ClientID, event{Topics: topics}))
	u.commit()
}

func (p *presence) event(clientID string, e event) event {
	e.ClientID, e.SessionIdentifier, e.PrincipalIdentifier = clientID, p.sessionID(), p.principal
	return e
}

// event publishes a lifecycle event with QoS 1. There are none for client ids
// with wildcards, which no topic can have.
func (u *burst) event(kind string, e event) {
	if strings.ContainsAny(e.ClientID, "+#") {
		return
	}
	e.Timestamp = u.now.UnixMilli()
	_, e.EventType, _ = strings.Cut(kind, "/")
	payload, err := json.Marshal(e)
	if err != nil {
		u.b.log.Error("a lifecycle event cannot be written", "client_id", e.ClientID, "err", err)
		return
	}
	m := &message.Message{Topic: eventPrefix + kind + "/" + e.ClientID, Payload: payload, QoS: 1, Time: u.now}
	it := u.b.itemOf(m)
	it.quiet = true
	if out := u.publish(it); out.Unavailable != nil {
		u.b.counters.dropped.Add(1)
		u.b.log.Error("a lifecycle event could not be published", "topic", m.Topic, "err", out.Unavailable)
	}
}

// isEventFilter says whether a filter can match a lifecycle event.
func isEventFilter(filter string) bool {
	if !strings.HasPrefix(filter, eventPrefix) {
		return false
	}
	for _, kind := range []string{eventConnected, eventDisconnected, eventSubscribed, eventUnsubscribed} {
		if reaches(filter, eventPrefix+kind+"/") {
			return true
		}
	}
	return false
}

// reaches says whether filter matches a topic below prefix, which ends with a
// slash and has no wildcards.
func reaches(filter, prefix string) bool {
	for {
		level, frest, fmore := strings.Cut(filter, "/")
		want, prest, pmore := strings.Cut(prefix, "/")
		if level == "#" || !pmore {
			return true
		}
		if level != want && level != "+" || !fmore {
			return false
		}
		filter, prefix = frest, prest
	}
}

// purgeEvery is how often presences whose time is over are forgotten.
const purgeEvery = 10 * time.Minute

// purgePresences forgets presences whose time is over.
func (b *Broker) purgePresences(now time.Time) error {
	var over []string
	err := b.scan(presenceKey(""), func(key, value []byte) error {
		p, err := parsePresence(value)
		if err != nil || !p.ended.IsZero() && now.Sub(p.ended) >= presenceKept {
			over = append(over, string(key[2:]))
		}
		return nil
	})
	if err != nil || len(over) == 0 {
		return err
	}
	batch := b.store.NewBatch()
	b.mu.Lock()
	defer b.mu.Unlock() // who owns a session from now on writes its presence later
	for _, clientID := range over {
		if s := b.sessions[clientID]; s == nil || s.owner == nil {
			batch.Delete(presenceKey(clientID))
		}
	}
	b.commitQuietly(batch)
	return nil
}
