package sink

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/record"
)

// KindKafka is the kind of outbox entries that hold a record for Kafka.
const KindKafka = "kafka"

// Kafka is the action kafka: one record for a topic of a cluster (AWS IoT
// developer guide, "Apache Kafka").
type Kafka struct {
	Client    map[string]string // clientProperties; see CheckKafkaClient
	Topic     string
	Key       []byte // nil: none
	Partition *int32 // nil: by the key, as Kafka's Java clients do; any if there is none
	Headers   []Header
	Value     []byte
}

// Bounds of a record (AWS IoT API, KafkaAction and KafkaActionHeader; topics as
// Kafka has them).
const (
	maxKafkaProperties = 50
	maxKafkaHeaders    = 100
	maxKafkaHeader     = 16384 // bytes of a name or value
	maxKafkaTopic      = 249
	maxKafkaKey        = 128 << 10
)

// Check says why the record can never be sent, or nil.
func (k *Kafka) Check() error {
	if _, err := newKafkaConfig(k.Client); err != nil {
		return err
	}
	if err := checkKafkaTopic(k.Topic); err != nil {
		return err
	}
	switch {
	case len(k.Key) > maxKafkaKey:
		return fmt.Errorf("kafka: the key has %d bytes: at most %d are allowed", len(k.Key), maxKafkaKey)
	case k.Partition != nil && *k.Partition < 0:
		return fmt.Errorf("kafka: the partition %d is not one: they are counted from 0", *k.Partition)
	case len(k.Headers) > maxKafkaHeaders:
		return fmt.Errorf("kafka: %d headers: at most %d are allowed", len(k.Headers), maxKafkaHeaders)
	}
	for _, h := range k.Headers {
		if len(h.Key) > maxKafkaHeader || len(h.Value) > maxKafkaHeader {
			return fmt.Errorf("kafka: the header %.40q has more than %d bytes", h.Key, maxKafkaHeader)
		}
		if !utf8.ValidString(h.Key) || !utf8.ValidString(h.Value) {
			return fmt.Errorf("kafka: the header %.40q is not text: headers in binary form are not supported", h.Key)
		}
	}
	return nil
}

// checkKafkaTopic holds topics to the names that Kafka allows.
func checkKafkaTopic(topic string) error {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}
	if topic == "" || len(topic) > maxKafkaTopic || topic == "." || topic == ".." || strings.ContainsFunc(topic, outside) {
		return fmt.Errorf("kafka: %.260q is not the name of a Kafka topic: want 1 to %d letters, digits and . _ -", topic, maxKafkaTopic)
	}
	return nil
}

// Lane returns the cluster and the topic.
func (k *Kafka) Lane() string { return k.Client[propServers] + "/" + k.Topic }

// KafkaBatching lets the records of a topic that wait anyway go together, as
// Kafka's clients do; a record never waits for others.
func KafkaBatching() *outbox.Batching {
	return &outbox.Batching{MaxOpen: -1, MaxSize: 500, MaxBytes: 512 << 10}
}

const (
	kafkaHasKey = 1 << iota
	kafkaHasPartition
)

// Encode returns the record for outbox.Entry.Data. It holds the client
// properties, passwords among them.
func (k *Kafka) Encode() []byte {
	flags := byte(0)
	if k.Key != nil {
		flags |= kafkaHasKey
	}
	if k.Partition != nil {
		flags |= kafkaHasPartition
	}
	dst := append(make([]byte, 0, 512+len(k.Key)+len(k.Value)), encodingVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(len(k.Client)))
	for _, name := range slices.Sorted(maps.Keys(k.Client)) {
		dst = record.AppendText(record.AppendText(dst, name), k.Client[name])
	}
	dst = record.AppendText(dst, k.Topic)
	if k.Key != nil {
		dst = record.AppendText(dst, k.Key)
	}
	if k.Partition != nil {
		dst = binary.AppendUvarint(dst, uint64(uint32(*k.Partition)))
	}
	dst = append(dst, byte(len(k.Headers)))
	for _, h := range k.Headers {
		dst = record.AppendText(record.AppendText(dst, h.Key), h.Value)
	}
	return append(dst, k.Value...)
}

// DecodeKafka reads an encoded record and checks it. Key and value are part of
// data.
func DecodeKafka(data []byte) (*Kafka, error) {
	k, err := decodeKafka(data)
	if err != nil {
		return nil, err
	}
	return k, k.Check()
}

func decodeKafka(data []byte) (*Kafka, error) {
	f := newFields(data)
	flags, n := f.Byte(), f.Uvarint()
	if n > maxKafkaProperties || flags&^(kafkaHasKey|kafkaHasPartition) != 0 {
		return nil, errEncoding
	}
	k := &Kafka{Client: make(map[string]string, n)}
	for range n {
		name := f.text()
		k.Client[name] = f.text()
	}
	k.Topic = f.text()
	if flags&kafkaHasKey != 0 {
		if k.Key = f.Bytes(); k.Key == nil {
			k.Key = []byte{}
		}
	}
	if flags&kafkaHasPartition != 0 {
		p := f.Uvarint()
		if p > 1<<31-1 {
			return nil, errEncoding
		}
		partition := int32(p)
		k.Partition = &partition
	}
	headers := int(f.Byte())
	if headers > maxKafkaHeaders {
		return nil, errEncoding
	}
	for range headers {
		k.Headers = append(k.Headers, Header{f.text(), f.text()})
	}
	k.Value = f.rest()
	return k, f.err()
}
