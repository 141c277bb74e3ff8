package sink

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/record"
)

// KafkaOptions configure the deliverer of Kafka actions.
type KafkaOptions struct {
	// Control may refuse a connection to a broker's address, as
	// net.Dialer.ControlContext does. nil refuses none.
	Control func(ctx context.Context, network, address string, c syscall.RawConn) error
	// Timeout is for one attempt to send, with the cluster's answer; default 30 s.
	Timeout time.Duration
	// Idle is how long an unused producer keeps its connections; default 2 min.
	Idle time.Duration
}

// maxProducers bounds the producers that are open, more than an outbox has
// workers.
const maxProducers = 64

// KafkaDeliverer sends the records of Kafka actions. An entry is done when the
// cluster has acknowledged it as the property acks asks; with acks 0 that is
// when it was sent. A record whose acknowledgement is lost is sent again, as
// Kafka's own clients do. It keeps one producer for each set of client
// properties.
type KafkaDeliverer struct {
	opt    KafkaOptions
	ctx    context.Context // of the producers' own work
	cancel context.CancelFunc
	sweeps sync.WaitGroup

	mu        sync.Mutex // guards producers, and users and used of each
	producers map[[sha256.Size]byte]*producer
}

// producer is the connections to one cluster.
type producer struct {
	config    *kafkaConfig
	client    *kafka.Client
	transport *kafka.Transport

	users int
	used  time.Time // when the last user left
}

// NewKafka returns a deliverer for entries of KindKafka.
func NewKafka(o KafkaOptions) *KafkaDeliverer {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = 2 * time.Minute
	}
	d := &KafkaDeliverer{opt: o, producers: map[[sha256.Size]byte]*producer{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.sweeps.Go(d.sweep)
	return d
}

// Close closes all producers. Deliveries must have ended.
func (d *KafkaDeliverer) Close() {
	d.cancel()
	d.sweeps.Wait()
	d.closeUnused(func(*producer) bool { return true })
}

// sweep closes idle producers until Close.
func (d *KafkaDeliverer) sweep() {
	tick := time.NewTicker(d.opt.Idle / 2)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case now := <-tick.C:
			d.closeUnused(func(p *producer) bool { return now.Sub(p.used) >= d.opt.Idle })
		}
	}
}

func (d *KafkaDeliverer) closeUnused(which func(*producer) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, p := range d.producers {
		if p.users == 0 && which(p) {
			p.transport.CloseIdleConnections()
			delete(d.producers, id)
		}
	}
}

// propertiesID tells sets of client properties apart without keeping their
// passwords.
func propertiesID(p map[string]string) [sha256.Size]byte {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(p)) {
		b = record.AppendText(record.AppendText(b, name), p[name])
	}
	return sha256.Sum256(b)
}

// acquire returns the producer for client properties, and what to call when it
// is no longer used.
func (d *KafkaDeliverer) acquire(properties map[string]string) (*producer, func(), error) {
	id := propertiesID(properties)
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.producers[id]
	if p == nil {
		config, err := newKafkaConfig(properties)
		if err != nil {
			return nil, nil, outbox.Fail(outbox.Permanent, err)
		}
		d.makeRoom()
		p = d.newProducer(config)
		d.producers[id] = p
	}
	p.users++
	return p, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		p.users--
		p.used = time.Now()
	}, nil
}

// makeRoom closes the producer that was not used for the longest time when
// there are too many. The caller holds mu.
func (d *KafkaDeliverer) makeRoom() {
	if len(d.producers) < maxProducers {
		return
	}
	var oldest [sha256.Size]byte
	for id, p := range d.producers {
		if o := d.producers[oldest]; p.users == 0 && (o == nil || p.used.Before(o.used)) {
			oldest = id
		}
	}
	if p := d.producers[oldest]; p != nil {
		p.transport.CloseIdleConnections()
		delete(d.producers, oldest)
	}
}

func (d *KafkaDeliverer) newProducer(c *kafkaConfig) *producer {
	dialer := &net.Dialer{Timeout: 5 * time.Second, ControlContext: d.opt.Control}
	t := &kafka.Transport{Dial: dialer.DialContext, DialTimeout: 10 * time.Second, IdleTimeout: d.opt.Idle, ClientID: "mote", TLS: c.tls, SASL: c.sasl, Context: d.ctx}
	return &producer{config: c, transport: t, client: &kafka.Client{Addr: kafka.TCP(c.servers...), Transport: t}}
}

// Deliver implements outbox.Deliverer. Entries that come together go in one
// request for each partition, in their order.
func (d *KafkaDeliverer) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	errs := make([]error, len(entries))
	records := make([]*Kafka, len(entries))
	groups := map[[sha256.Size]byte][]int{} // by cluster and topic: the positions of entries
	for i, e := range entries {
		k, err := DecodeKafka(e.Data)
		if err != nil {
			errs[i] = outbox.Fail(outbox.Permanent, err)
			continue
		}
		records[i] = k
		id := propertiesID(k.Client)
		id = sha256.Sum256(append(id[:], k.Topic...))
		groups[id] = append(groups[id], i)
	}
	for _, group := range groups {
		d.deliverTopic(ctx, records, group, errs)
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	return errs
}

// deliverTopic sends the records at the positions of group, all for one topic.
func (d *KafkaDeliverer) deliverTopic(ctx context.Context, records []*Kafka, group []int, errs []error) {
	fail := func(positions []int, err error) {
		for _, i := range positions {
			errs[i] = err
		}
	}
	first := records[group[0]]
	p, release, err := d.acquire(first.Client)
	if err != nil {
		fail(group, err)
		return
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	n, err := p.partitions(ctx, first.Topic)
	if err != nil {
		fail(group, kafkaError(first, err))
		return
	}
	byPartition := map[int32][]int{}
	whatever := rand.Int32N(n) // for records without a key: together, as Kafka's clients do
	for _, i := range group {
		at, err := records[i].partition(n, whatever)
		if err != nil {
			errs[i] = err
			continue
		}
		byPartition[at] = append(byPartition[at], i)
	}
	for at, positions := range byPartition {
		err := p.produce(ctx, first.Topic, at, pick(records, positions))
		if len(positions) == 1 || !isTooLarge(err) {
			fail(positions, kafkaError(first, err))
			continue
		}
		for _, i := range positions { // together they are too large
			errs[i] = kafkaError(first, p.produce(ctx, first.Topic, at, records[i:i+1]))
		}
	}
}

func pick(records []*Kafka, positions []int) []*Kafka {
	out := make([]*Kafka, len(positions))
	for j, i := range positions {
		out[j] = records[i]
	}
	return out
}

// partition returns where a record goes in a topic of n partitions.
func (k *Kafka) partition(n, whatever int32) (int32, error) {
	switch {
	case k.Partition != nil && *k.Partition >= n:
		return 0, outbox.Fail(outbox.Permanent, fmt.Errorf("kafka: the topic %s has no partition %d: it has %d, from 0 on", k.Topic, *k.Partition, n))
	case k.Partition != nil:
		return *k.Partition, nil
	case k.Key == nil:
		return whatever, nil
	}
	return int32(murmur2(k.Key)&0x7fffffff) % n, nil
}

// murmur2 is the hash by which Kafka's Java clients choose a partition
// (MurmurHash2 by Austin Appleby, with Kafka's seed).
func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	if len(data) > 0 {
		var rest [4]byte
		copy(rest[:], data)
		h = (h ^ binary.LittleEndian.Uint32(rest[:])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// partitions returns how many partitions a topic has. Asking for it creates the
// topic where the cluster does that.
func (p *producer) partitions(ctx context.Context, topic string) (int32, error) {
	m, err := p.transport.RoundTrip(ctx, p.client.Addr, &metadata.Request{TopicNames: []string{topic}, AllowAutoTopicCreation: true})
	if err != nil {
		return 0, err
	}
	for _, t := range m.(*metadata.Response).Topics {
		switch {
		case t.Name != topic:
		case t.ErrorCode != 0:
			return 0, kafka.Error(t.ErrorCode)
		case len(t.Partitions) > 0:
			return int32(len(t.Partitions)), nil
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}

// produce sends records to one partition and waits for the acknowledgement.
func (p *producer) produce(ctx context.Context, topic string, partition int32, records []*Kafka) error {
	list := make([]kafka.Record, len(records))
	now := time.Now()
	for i, k := range records {
		list[i] = kafka.Record{Time: now, Value: kafka.NewBytes(k.Value)}
		if k.Key != nil {
			list[i].Key = kafka.NewBytes(k.Key)
		}
		for _, h := range k.Headers {
			list[i].Headers = append(list[i].Headers, kafka.Header{Key: h.Key, Value: []byte(h.Value)})
		}
	}
	resp, err := p.client.Produce(ctx, &kafka.ProduceRequest{Topic: topic, Partition: int(partition), RequiredAcks: p.config.acks,
		Records: kafka.NewRecordReader(list...), Compression: p.config.compression})
	if err != nil || p.config.acks == kafka.RequireNone {
		return err
	}
	return resp.Error
}

func isTooLarge(err error) bool {
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge)
}

// hopeless are the answers of a cluster that no other attempt changes (Kafka
// protocol guide, "Error codes"). A missing right or a wrong password is not
// among them: somebody mends it, and the records are there then.
var hopeless = []kafka.Error{kafka.InvalidTopic, kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRequiredAcks, kafka.InvalidTimestamp,
	kafka.UnsupportedForMessageFormat, kafka.PolicyViolation, kafka.UnsupportedCompressionType, kafka.InvalidRecord, kafka.UnsupportedVersion}

// kafkaError says what an error means for the next attempt.
func kafkaError(k *Kafka, err error) error {
	if err == nil {
		return nil
	}
	class := outbox.Unreachable
	var code kafka.Error
	if errors.As(err, &code) {
		class = outbox.Busy
		if slices.Contains(hopeless, code) {
			class = outbox.Permanent
		}
	}
	return outbox.Fail(class, fmt.Errorf("kafka: topic %s of %.200s: %w", k.Topic, k.Client[propServers], err))
}
