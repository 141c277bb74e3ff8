// Package broker is the MQTT server of the cloud: MQTT 3.1.1 and 5 over TLS
// with client certificates, as AWS IoT Core serves it (AWS IoT developer
// guide, "Device communication protocols").
//
// What it promises:
//
//   - A PUBACK is sent after the store commit that holds everything the message
//     caused: what its rules wrote, its retained copy, and its queue entries for
//     persistent sessions. A message that could not be stored is not
//     acknowledged (version 5: it is acknowledged with a failure).
//   - Subscribers get a message after that commit, in the order of its publisher.
//   - Persistent sessions and retained messages survive the end of the process
//     at any moment; an unacknowledged message is delivered again, in order.
//   - Every queue is bounded, and what did not fit is counted.
//   - Whoever is refused gets what AWS would answer, and the [refusal.Log] gets
//     the principal, the action, the resource and the reason.
//
// The path of a publish: one goroutine per connection reads, decodes all packets
// that one read brought, and puts the effects of the publishes among them into
// one batch (type burst). The batch is committed without waiting; when it is on
// disk, the store's own goroutine writes the acknowledgements of the whole burst
// into the connection's output, and the messages into the outputs of the
// subscribers. Nothing on that way waits for a network or asks the gate.
//
// The rules, the policies and the certificates belong to others: see [Rules]
// and [Gate]. In the mode [AWS], QoS 2 and subscription identifiers are refused;
// the DUP flag is never set, and a redelivery can have another packet id; all as
// on AWS. In the mode [Spec] all is as in the standards. Both have the same
// sessions and topics; where a message of QoS 2 reaches a client of the mode
// AWS, it is delivered with QoS 1.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/crowd"
	"mote/internal/cloud/message"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// Gate knows certificates and policies; the registry is one.
type Gate interface {
	// VerifyCertificate returns the id of a client certificate that may
	// connect; the error says why it may not, and what to do.
	VerifyCertificate(cert *x509.Certificate) (certificateID string, err error)
	// Judge returns a judge of what s may do, as of now.
	Judge(s *policy.Subject) policy.Judge
	// Epoch grows with every change that can alter an answer of the other two.
	// It is called in the commit path and must not wait for anything.
	Epoch() uint64
	// ARN returns the ARN of a resource such as "topic/a".
	ARN(resource string) string
}

// Rules runs the topic rules over a message.
type Rules interface {
	// Apply adds the writes of the rules that m matches to b.
	Apply(b *store.Batch, m *message.Message) message.Outcome
}

// Reserved serves topics that begin with $, such as those of the shadows: what
// clients publish there changes something and is answered by messages.
type Reserved interface {
	// CheckTopic says why nobody may publish on topic, or nil. Only clients of
	// MQTT are answered: there are topics that are of no use to others.
	CheckTopic(topic string, answered bool) error
	// CheckFilter says why clients may not subscribe to filter, or nil.
	CheckFilter(filter string) error
	// Hold reserves what messages on topic change for b, until b is applied or
	// discarded. It says no when another batch has it and wait is false. It may
	// wait only for batches, and is asked to only for a batch that holds nothing.
	Hold(b *store.Batch, topic string, wait bool) bool
	// Apply adds what m changes to b and returns the messages to publish with
	// it, in order. It is also asked about these, and returns nothing for them.
	// The error says why m was refused; the answer among the messages says so, too.
	Apply(b *store.Batch, m *message.Message) ([]*message.Message, error)
}

// Config is what a broker is made of.
type Config struct {
	Store *store.Store
	Gate  Gate
	Rules Rules
	// Reserved serves the topics that begin with $, but for those of Basic
	// Ingest; nil refuses them.
	Reserved Reserved
	// TLS has the server certificate; how clients are verified is added to a
	// copy of it. It may be nil when only ServeConn is used.
	TLS      *tls.Config
	Refusals *refusal.Log // nil drops refusals
	Log      *slog.Logger // nil drops log lines
	Limits   Limits
	// SpecLimits are those of listeners in the mode Spec; their zero values mean
	// larger defaults (type Limits). What is counted over all clients is in
	// Limits alone.
	SpecLimits Limits
	// Accounts verifies passwords; nil for a broker without listeners that ask
	// for them.
	Accounts Accounts
	// BasicIngest passes publishes on $aws/rules/<rule>/… to the rules; it is
	// for rules that know such topics. Otherwise they are refused.
	BasicIngest bool
	// GrantQoS1 answers a SUBSCRIBE with QoS 2 by granting QoS 1, as the
	// specification allows; AWS refuses it.
	GrantQoS1 bool
}

// Broker is a running broker. Its methods are safe for concurrent use. Locks
// are taken in the order mu, queueMu, the trie's mu, a group's mu, a session's
// mu, an output's mu.
type Broker struct {
	cfg      Config
	limits   Limits
	spec     Limits // in the mode Spec
	store    *store.Store
	gate     Gate
	rules    Rules
	log      *slog.Logger
	refusals *refusal.Log
	tls      *tls.Config // nil without Config.TLS
	openTLS  *tls.Config // tls for clients without a certificate
	trie     trie
	counters counters

	mu       sync.Mutex
	sessions map[string]*session // by client id; guarded by mu
	conns    map[*conn]struct{}  // guarded by mu
	closing  bool                // guarded by mu
	orphans  map[string]*orphan  // by client id; guarded by mu

	connects map[string]time.Time // last CONNECT by client id, with Limits.Rates; guarded by mu

	handshaking int // connections in their TLS handshake; guarded by mu
	addresses   crowd.Addresses

	// queueMu makes the order of sequence numbers the order of commits. It is
	// held from the numbering of a batch's queue entries to its CommitAsync.
	queueMu  sync.Mutex
	queueSeq uint64            // guarded by queueMu
	groups   map[string]*group // by $share/<name>/<filter>; guarded by queueMu

	queuedBytes atomic.Int64 // on disk, of all queues
	shelf       shelf

	lastSession atomic.Uint64 // ids of stored sessions and of groups

	dirtyMu sync.Mutex
	dirty   []*queue  // with acknowledged entries to delete; guarded by dirtyMu
	stale   []staleID // guarded by dirtyMu

	watchMu  sync.Mutex // guards changes of watchers
	watchers atomic.Pointer[[]chan<- *message.Message]

	quit    chan struct{}   // closed when Close begins
	life    context.Context // ends when Close begins
	endLife context.CancelFunc
	recheck chan struct{}  // one place: asks the keeper to look at the certificates
	bursts  sync.WaitGroup // commits under way
	running sync.WaitGroup // connections, and the keeper
	pumps   sync.WaitGroup // of groups; connections and bursts start them
}

// ErrClosed is returned by calls to a closed broker.
var ErrClosed = errors.New("broker is closed")

// New returns a broker with the sessions that the store has.
func New(cfg Config) (*Broker, error) {
	if cfg.Store == nil || cfg.Gate == nil || cfg.Rules == nil {
		return nil, errors.New("broker: store, gate and rules must be set")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits.setDefaults()
	cfg.SpecLimits.setSpecDefaults()
	b := &Broker{
		cfg: cfg, limits: cfg.Limits, spec: cfg.SpecLimits, store: cfg.Store, gate: cfg.Gate, rules: cfg.Rules, log: cfg.Log, refusals: cfg.Refusals,
		sessions: map[string]*session{}, conns: map[*conn]struct{}{}, groups: map[string]*group{}, orphans: map[string]*orphan{},
		connects: map[string]time.Time{}, shelf: shelf{sizes: map[string]int{}},
		addresses: crowd.Addresses{Most: cfg.Limits.Address, Loopback: cfg.Limits.countLoopback},
		quit:      make(chan struct{}), recheck: make(chan struct{}, 1),
	}
	b.life, b.endLife = context.WithCancel(context.Background())
	b.watchers.Store(&[]chan<- *message.Message{})
	if cfg.TLS != nil {
		b.tls, b.openTLS = b.serverTLS(cfg.TLS), openTLS(cfg.TLS)
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	b.running.Go(b.keep)
	return b, nil
}

// Close ends all connections (version 5 clients get DISCONNECT 0x8B) and waits
// until everything received is stored, or ctx ends. The store is left open.
// Wills are published, and delayed ones kept for their time.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closing {
		b.closing = true
		close(b.quit)
		b.endLife()
	}
	for c := range b.conns {
		c.stop(errShutdown)
	}
	b.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends when the connections have, also after ctx
		b.running.Wait()
		b.bursts.Wait()
		b.pumps.Wait()
		b.flushAcked()
		b.bursts.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Recheck has the certificates of all live connections judged anew, and closes
// those that may not connect any more. It returns at once and may be called
// from anywhere; call it when a certificate has changed. Policies need no
// call: each publish and each delivery asks the gate's epoch.
func (b *Broker) Recheck() {
	select {
	case b.recheck <- struct{}{}:
	default: // one is on its way
	}
}

// flushEvery is how long an acknowledged message stays in the store, and how
// late the end of a session or a delayed will can be.
const flushEvery = 500 * time.Millisecond

// keep is the goroutine that does what no connection is there to do.
func (b *Broker) keep() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var purged time.Time
	epoch := b.gate.Epoch()
	for {
		select {
		case <-b.quit:
			return
		case <-b.recheck:
			epoch = b.gate.Epoch()
			b.recheckAll()
		case now := <-tick.C:
			b.flushAcked()
			b.expire(now)
			b.bury(now)
			if b.limits.Rates {
				b.pace(now)
			}
			if now.Sub(purged) >= purgeEvery {
				purged = now
				if err := b.purgePresences(now); err != nil {
					b.log.Error("cannot forget the numbers of old connections", "err", err)
				}
			}
			if e := b.gate.Epoch(); e != epoch {
				epoch = e
				b.recheckAll()
			}
		}
	}
}

func (b *Broker) recheckAll() {
	for _, c := range b.liveConns() {
		if err := c.stillWelcome(); err != nil {
			c.stop(refuse(mqtt.NotAuthorized, "%v", err).on("iot:Connect", ""))
		}
	}
}

func (b *Broker) liveConns() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		out = append(out, c)
	}
	return out
}
