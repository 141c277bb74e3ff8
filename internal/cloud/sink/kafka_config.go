package sink

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// The client properties of a Kafka action that mote knows.
const (
	propServers       = "bootstrap.servers"
	propAcks          = "acks"
	propCompression   = "compression.type"
	propSecurity      = "security.protocol"
	propKeySerial     = "key.serializer"
	propValueSerial   = "value.serializer"
	propTruststore    = "ssl.truststore"
	propKeystore      = "ssl.keystore"
	propMechanism     = "sasl.mechanism"
	propPlainUser     = "sasl.plain.username"
	propPlainPassword = "sasl.plain.password"
	propScramUser     = "sasl.scram.username"
	propScramPassword = "sasl.scram.password"
)

const (
	maxServers = 50
	maxStore   = 65 << 10 // bytes of a truststore or keystore; AWS allows as many
)

// property is what is known of a client property.
type property struct {
	values  []string // allowed ones; nil: any
	refused string   // why it is not supported; "": it is
}

const (
	noStorePassword = "stores are PEM text here, which has no password: leave it out"
	noKerberos      = "Kerberos is not supported: use sasl.mechanism PLAIN or SCRAM-SHA-512"
)

// properties are the client properties of AWS's Kafka action with their values
// (AWS IoT developer guide, "Apache Kafka"), and PLAINTEXT, SASL_PLAINTEXT and
// SCRAM-SHA-256, which clusters in a house use. Serializers change nothing:
// what AWS sends is bytes, too.
var properties = map[string]property{
	propServers:     {},
	propAcks:        {values: []string{"-1", "0", "1", "all"}},
	propCompression: {values: []string{"none", "gzip", "snappy", "lz4", "zstd"}},
	propSecurity:    {values: []string{"SSL", "SASL_SSL", "PLAINTEXT", "SASL_PLAINTEXT"}},
	propKeySerial:   {values: serializers},
	propValueSerial: {values: serializers},
	propTruststore:  {}, propKeystore: {},
	propMechanism: {values: []string{"PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-256"}},
	propPlainUser: {}, propPlainPassword: {}, propScramUser: {}, propScramPassword: {},

	"ssl.truststore.password": {refused: noStorePassword}, "ssl.keystore.password": {refused: noStorePassword},
	"ssl.key.password":     {refused: "encrypted keys are not supported: give the key of ssl.keystore unencrypted"},
	"sasl.kerberos.keytab": {refused: noKerberos}, "sasl.kerberos.service.name": {refused: noKerberos}, "sasl.kerberos.krb5.kdc": {refused: noKerberos},
	"sasl.kerberos.krb5.realm": {refused: noKerberos}, "sasl.kerberos.principal": {refused: noKerberos},
}

var serializers = []string{"StringSerializer", "ByteBufferSerializer", "ByteArraySerializer",
	"org.apache.kafka.common.serialization.StringSerializer", "org.apache.kafka.common.serialization.ByteBufferSerializer", "org.apache.kafka.common.serialization.ByteArraySerializer"}

// CheckKafkaClient says why a rule cannot have these clientProperties, or nil.
// Values that hold templates are looked at when a message has filled them in.
func CheckKafkaClient(p map[string]string) error {
	templates := false
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if err := checkProperty(name, p[name]); err != nil {
			return err
		}
		templates = templates || strings.Contains(p[name], "${")
	}
	if templates {
		return nil
	}
	_, err := newKafkaConfig(p)
	return err
}

func checkProperty(name, value string) error {
	known, ok := properties[name]
	switch {
	case !ok:
		return fmt.Errorf("kafka: the client property %.80q is not supported: supported are %s", name, strings.Join(supported(), ", "))
	case known.refused != "":
		return fmt.Errorf("kafka: the client property %s: %s", name, known.refused)
	case strings.Contains(value, "get_secret"):
		return fmt.Errorf("kafka: the client property %s uses get_secret, and mote has no secrets service: give the value itself", name)
	case strings.Contains(value, "${"):
		return nil
	case known.values != nil && !slices.Contains(known.values, value):
		return fmt.Errorf("kafka: the client property %s is %.80q: it must be one of %s", name, value, strings.Join(known.values[:min(len(known.values), 5)], ", "))
	}
	return nil
}

func supported() (names []string) {
	for name, p := range properties {
		if p.refused == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// kafkaConfig is what client properties say.
type kafkaConfig struct {
	servers     []string
	acks        kafka.RequiredAcks
	compression kafka.Compression
	tls         *tls.Config    // nil: none
	sasl        sasl.Mechanism // nil: none
}

// newKafkaConfig reads client properties whose templates are filled in. Its
// errors repeat no secret.
func newKafkaConfig(p map[string]string) (*kafkaConfig, error) {
	if len(p) > maxKafkaProperties {
		return nil, fmt.Errorf("kafka: %d client properties: at most %d are allowed", len(p), maxKafkaProperties)
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if err := checkProperty(name, p[name]); err != nil {
			return nil, err
		}
	}
	c := &kafkaConfig{acks: kafka.RequireOne} // AWS's default
	var err error
	if c.servers, err = kafkaServers(p[propServers]); err != nil {
		return nil, err
	}
	switch p[propAcks] {
	case "0":
		c.acks = kafka.RequireNone
	case "-1", "all":
		c.acks = kafka.RequireAll
	}
	c.compression = map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}[p[propCompression]]
	if err := c.secure(p); err != nil {
		return nil, err
	}
	return c, nil
}

// kafkaServers reads a list of HOST:PORT.
func kafkaServers(list string) ([]string, error) {
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		host, port, err := net.SplitHostPort(s)
		if n, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("kafka: bootstrap.servers has %.100q: want HOST:PORT, and a comma between several", s)
		}
		out = append(out, s)
	}
	if len(out) > maxServers {
		return nil, fmt.Errorf("kafka: bootstrap.servers names %d servers: at most %d are allowed", len(out), maxServers)
	}
	return out, nil
}

// secure reads what belongs to security.protocol.
func (c *kafkaConfig) secure(p map[string]string) error {
	protocol := p[propSecurity]
	if protocol == "" {
		protocol = "SSL" // AWS's default
	}
	var err error
	if strings.HasSuffix(protocol, "SSL") {
		if c.tls, err = kafkaTLS(p); err != nil {
			return err
		}
	} else if p[propTruststore] != "" || p[propKeystore] != "" {
		return fmt.Errorf("kafka: ssl.truststore and ssl.keystore have no use with security.protocol %s", protocol)
	}
	if strings.HasPrefix(protocol, "SASL") {
		c.sasl, err = kafkaSASL(p)
		return err
	}
	for _, name := range []string{propMechanism, propPlainUser, propPlainPassword, propScramUser, propScramPassword} {
		if p[name] != "" {
			return fmt.Errorf("kafka: %s has no use with security.protocol %s: did you mean SASL_SSL?", name, protocol)
		}
	}
	return nil
}

func kafkaTLS(p map[string]string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if text := p[propTruststore]; text != "" {
		data, err := pemOf(propTruststore, text)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, errors.New("kafka: ssl.truststore holds no certificate that can be read")
		}
	}
	if text := p[propKeystore]; text != "" {
		data, err := pemOf(propKeystore, text)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(data, data)
		if err != nil {
			return nil, fmt.Errorf("kafka: ssl.keystore must hold a certificate and its unencrypted private key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// pemOf returns the PEM text of a store, which may come in base64.
func pemOf(name, text string) ([]byte, error) {
	if len(text) > maxStore {
		return nil, fmt.Errorf("kafka: %s has %d bytes: at most %d are allowed", name, len(text), maxStore)
	}
	const begin = "-----BEGIN "
	if strings.Contains(text, begin) {
		return []byte(text), nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || !strings.Contains(string(data), begin) {
		return nil, fmt.Errorf("kafka: %s must be PEM text, or that in base64: Java and PKCS #12 stores are not read, openssl pkcs12 -nodes turns them into PEM", name)
	}
	return data, nil
}

func kafkaSASL(p map[string]string) (sasl.Mechanism, error) {
	mechanism := p[propMechanism]
	user, password := propScramUser, propScramPassword
	switch mechanism {
	case "":
		return nil, errors.New("kafka: sasl.mechanism is missing: it must be PLAIN, SCRAM-SHA-512 or SCRAM-SHA-256")
	case "PLAIN":
		user, password = propPlainUser, propPlainPassword
	}
	if p[user] == "" || p[password] == "" {
		return nil, fmt.Errorf("kafka: sasl.mechanism %s needs %s and %s", mechanism, user, password)
	}
	if mechanism == "PLAIN" {
		return plain.Mechanism{Username: p[user], Password: p[password]}, nil
	}
	m, err := newSCRAM(mechanism, p[user], p[password])
	if err != nil {
		return nil, fmt.Errorf("kafka: %s or %s has %w", user, password, err)
	}
	return m, nil
}
