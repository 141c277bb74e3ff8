package sink

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"mote/internal/cloud/outbox"
	"mote/internal/watch"
)

// The clusters of these tests are kfake's: brokers that speak Kafka's protocol,
// of another implementation than the client that is tested.

func cluster(t *testing.T, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2), kfake.SeedTopics(4, "air")}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func plaintext(c *kfake.Cluster, more ...string) map[string]string {
	p := map[string]string{propServers: strings.Join(c.ListenAddrs(), ","), propSecurity: "PLAINTEXT"}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return p
}

func newKafka(t *testing.T, o KafkaOptions) *KafkaDeliverer {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	d := NewKafka(o)
	t.Cleanup(d.Close)
	return d
}

func sendKafka(d *KafkaDeliverer, records ...*Kafka) []error {
	var entries []*outbox.Entry
	for _, k := range records {
		entries = append(entries, &outbox.Entry{Kind: KindKafka, Lane: k.Lane(), Data: k.Encode()})
	}
	return d.Deliver(context.Background(), entries)
}

// consume reads n records of a topic.
func consume(t *testing.T, c *kfake.Cluster, topic string, n int, o ...kgo.Opt) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append(o, kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
	defer cancel()
	var out []*kgo.Record
	for len(out) < n {
		f := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("got %d records, want %d", len(out), n)
		}
		out = append(out, f.Records()...)
	}
	return out
}

func number(n int32) *int32 { return &n }

func TestKafkaRecord(t *testing.T) {
	c := cluster(t)
	d := newKafka(t, KafkaOptions{})
	k := &Kafka{Client: plaintext(c), Topic: "air", Key: []byte("board-1"), Headers: []Header{{"room", "attic"}, {"empty", ""}}, Value: []byte(`{"dust":35.2}`)}
	if errs := sendKafka(d, k); errs != nil {
		t.Fatal(errs)
	}
	r := consume(t, c, "air", 1)[0]
	if string(r.Key) != "board-1" || string(r.Value) != `{"dust":35.2}` || len(r.Headers) != 2 || r.Headers[0].Key != "room" || string(r.Headers[0].Value) != "attic" ||
		time.Since(r.Timestamp).Abs() > time.Minute {
		t.Errorf("%+v", r)
	}
	if want := int32(murmur2([]byte("board-1"))&0x7fffffff) % 4; r.Partition != want {
		t.Errorf("partition %d, want %d", r.Partition, want)
	}
	if errs := sendKafka(d, &Kafka{Client: k.Client, Topic: "air", Partition: number(3), Value: []byte("x")}); errs != nil {
		t.Fatal(errs)
	}
	for _, r := range consume(t, c, "air", 2) {
		if string(r.Value) == "x" && (r.Partition != 3 || r.Key != nil) {
			t.Errorf("%+v", r)
		}
	}
	if errs := sendKafka(d, &Kafka{Client: k.Client, Topic: "air", Partition: number(4)}); len(errs) != 1 || class(errs[0]) != "permanent" || !strings.Contains(errs[0].Error(), "no partition 4") {
		t.Errorf("got %v", errs)
	}
}

func TestKafkaAcksAndCompression(t *testing.T) {
	c := cluster(t)
	d := newKafka(t, KafkaOptions{})
	sent := map[string]bool{}
	for _, acks := range []string{"0", "1", "-1", "all"} {
		for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			value := strings.Repeat(acks+compression, 50)
			if errs := sendKafka(d, &Kafka{Client: plaintext(c, propAcks, acks, propCompression, compression), Topic: "air", Value: []byte(value)}); errs != nil {
				t.Fatalf("acks %s, %s: %v", acks, compression, errs)
			}
			sent[value] = true
		}
	}
	for _, r := range consume(t, c, "air", len(sent)) {
		delete(sent, string(r.Value))
	}
	if len(sent) > 0 {
		t.Errorf("%d records are missing", len(sent))
	}
}

func TestKafkaTogether(t *testing.T) {
	c := cluster(t)
	d := newKafka(t, KafkaOptions{})
	var records []*Kafka
	for i := range 100 {
		records = append(records, &Kafka{Client: plaintext(c), Topic: "air", Key: fmt.Append(nil, "board-", i%5), Value: fmt.Append(nil, i)})
	}
	entries := []*outbox.Entry{{Kind: KindKafka, Data: []byte("damaged")}}
	for _, k := range records {
		entries = append(entries, &outbox.Entry{Kind: KindKafka, Data: k.Encode(), Batch: KafkaBatching()})
	}
	errs := d.Deliver(t.Context(), entries)
	if len(errs) != 101 || class(errs[0]) != "permanent" || errors.Join(errs[1:]...) != nil {
		t.Fatalf("got %v", errs)
	}
	last := map[string]int{}
	for _, r := range consume(t, c, "air", 100) {
		var i int
		fmt.Sscan(string(r.Value), &i)
		if before, ok := last[string(r.Key)]; ok && i <= before {
			t.Errorf("%s: %d after %d", r.Key, i, before)
		}
		last[string(r.Key)] = i
	}
}

func TestKafkaTopicsThatTheClusterMakes(t *testing.T) {
	c := cluster(t, kfake.AllowAutoTopicCreation())
	d := newKafka(t, KafkaOptions{})
	k := &Kafka{Client: plaintext(c), Topic: "new", Value: []byte("x")}
	errs := sendKafka(d, k)
	watch.Until(t, "the topic is there", func() bool { // it may need a moment, as with any client
		if errs != nil && class(errs[0]) == "permanent" {
			t.Fatal(errs)
		}
		if errs != nil {
			errs = sendKafka(d, k)
		}
		return errs == nil
	})
	consume(t, c, "new", 1)
	if errs := sendKafka(d, &Kafka{Client: plaintext(cluster(t)), Topic: "none", Value: []byte("x")}); len(errs) != 1 || class(errs[0]) != "busy" {
		t.Errorf("got %v", errs)
	}
}

func TestKafkaTooLarge(t *testing.T) {
	c := cluster(t)
	if err := c.CreateTopic("small", 1, map[string]string{"max.message.bytes": "2000"}); err != nil {
		t.Fatal(err)
	}
	d := newKafka(t, KafkaOptions{})
	record := func(size int) *Kafka {
		b := make([]byte, size)
		rand.Read(b)
		return &Kafka{Client: plaintext(c), Topic: "small", Value: b}
	}
	errs := sendKafka(d, record(1500), record(5000), record(1500))
	if len(errs) != 3 || errs[0] != nil || class(errs[1]) != "permanent" || errs[2] != nil {
		t.Fatalf("got %v", errs)
	}
	consume(t, c, "small", 2)
}

// TestKafkaDownThenUp sends to a cluster that is away, then there.
func TestKafkaDownThenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	d := newKafka(t, KafkaOptions{})
	p := map[string]string{propServers: fmt.Sprint("127.0.0.1:", port), propSecurity: "PLAINTEXT", propAcks: "all"}
	k := &Kafka{Client: p, Topic: "air", Value: []byte("x")}
	if errs := sendKafka(d, k); len(errs) != 1 || class(errs[0]) != "unreachable" {
		t.Fatalf("got %v", errs)
	}
	c := cluster(t, kfake.NumBrokers(1), kfake.Ports(port))
	watch.Until(t, "the cluster takes it", func() bool { return sendKafka(d, k) == nil })
	consume(t, c, "air", 1)
	c.Close()
	if errs := sendKafka(d, k); len(errs) != 1 || class(errs[0]) != "unreachable" {
		t.Fatalf("got %v", errs)
	}
}

func TestKafkaSASL(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "mote", "plain-secret"), kfake.Superuser("SCRAM-SHA-256", "mote", "scram-secret"),
		kfake.Superuser("SCRAM-SHA-512", "mote", "scram-secret"))
	d := newKafka(t, KafkaOptions{})
	for mechanism, properties := range map[string][]string{
		"PLAIN":         {propPlainUser, "mote", propPlainPassword, "plain-secret"},
		"SCRAM-SHA-256": {propScramUser, "mote", propScramPassword, "scram-secret"},
		"SCRAM-SHA-512": {propScramUser, "mote", propScramPassword, "scram-secret"},
	} {
		p := plaintext(c, append(properties, propSecurity, "SASL_PLAINTEXT", propMechanism, mechanism)...)
		if errs := sendKafka(d, &Kafka{Client: p, Topic: "air", Value: []byte("x")}); errs != nil {
			t.Errorf("%s: %v", mechanism, errs)
		}
		wrong := maps.Clone(p)
		wrong[properties[2]] = "wrong-secret"
		errs := sendKafka(d, &Kafka{Client: wrong, Topic: "air", Value: []byte("x")})
		if len(errs) != 1 || class(errs[0]) == "permanent" || strings.Contains(errs[0].Error(), "secret") {
			t.Errorf("%s with a wrong password: %v", mechanism, errs)
		}
	}
	if info := c.PartitionInfos("air"); len(info) != 4 {
		t.Errorf("%+v", info)
	}
}

// certificate makes a certificate for 127.0.0.1, signed by parent or itself.
func certificate(t *testing.T, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "kafka"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pemText(t *testing.T, c tls.Certificate, withKey bool) string {
	t.Helper()
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	if withKey {
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	return b.String()
}

func TestKafkaTLS(t *testing.T) {
	ca := certificate(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	c := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate(t, &ca)}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}))
	trust, store := pemText(t, ca, false), pemText(t, certificate(t, &ca), true)
	d, hasty := newKafka(t, KafkaOptions{}), newKafka(t, KafkaOptions{Timeout: 3 * time.Second})
	good := []map[string]string{
		plaintext(c, propSecurity, "SSL", propTruststore, trust, propKeystore, store),
		plaintext(c, propSecurity, "", propTruststore, base64.StdEncoding.EncodeToString([]byte(trust)), propKeystore, base64.StdEncoding.EncodeToString([]byte(store))),
	}
	delete(good[1], propSecurity) // SSL is the default
	for _, p := range good {
		if errs := sendKafka(d, &Kafka{Client: p, Topic: "air", Value: []byte("x")}); errs != nil {
			t.Error(errs)
		}
	}
	for name, p := range map[string]map[string]string{
		"unknown server": plaintext(c, propSecurity, "SSL", propKeystore, store),
		"no certificate": plaintext(c, propSecurity, "SSL", propTruststore, trust),
		"no TLS":         plaintext(c),
	} {
		if errs := sendKafka(hasty, &Kafka{Client: p, Topic: "air", Value: []byte("x")}); len(errs) != 1 || class(errs[0]) != "unreachable" {
			t.Errorf("%s: %v", name, errs)
		}
	}
	clientTLS := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate(t, &ca)}}
	if got := consume(t, c, "air", 2, kgo.DialTLSConfig(clientTLS)); len(got) != 2 {
		t.Errorf("%d records", len(got))
	}
}

func TestKafkaControl(t *testing.T) {
	c := cluster(t)
	d := newKafka(t, KafkaOptions{Control: func(context.Context, string, string, syscall.RawConn) error { return errors.New("not there") }})
	errs := sendKafka(d, &Kafka{Client: plaintext(c), Topic: "air", Value: []byte("x")})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "not there") {
		t.Errorf("got %v", errs)
	}
}

func TestKafkaProducersAreSharedAndBounded(t *testing.T) {
	c := cluster(t)
	d := newKafka(t, KafkaOptions{Idle: 200 * time.Millisecond})
	open := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.producers)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if errs := sendKafka(d, &Kafka{Client: plaintext(c), Topic: "air", Value: []byte("x")}); errs != nil {
				t.Error(errs)
			}
		})
	}
	wg.Wait()
	watch.Until(t, "no producer is open, since none is used", func() bool { return open() == 0 })
	for i := range maxProducers + 5 {
		_, release, err := d.acquire(plaintext(c, propServers, fmt.Sprintf("127.0.0.1:%d", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if n := open(); n > maxProducers {
		t.Errorf("%d producers", n)
	}
	_, release, err := d.acquire(plaintext(c))
	if err != nil {
		t.Fatal(err)
	}
	if before := open(); before > maxProducers {
		t.Errorf("%d producers", before)
	}
	_, again, _ := d.acquire(plaintext(c))
	if d.producers[propertiesID(plaintext(c))].users != 2 {
		t.Error("the same properties have two producers")
	}
	release()
	again()
}

func TestCheckKafkaClient(t *testing.T) {
	ok := map[string]string{propServers: "kafka.example:9092"}
	for name, c := range map[string]struct {
		set  []string
		want string // "": allowed
	}{
		"default":           {nil, ""},
		"serializers":       {[]string{propKeySerial, "StringSerializer", propValueSerial, "org.apache.kafka.common.serialization.ByteBufferSerializer"}, ""},
		"template":          {[]string{propSecurity, "SASL_SSL", propMechanism, "PLAIN", propPlainUser, "${user}"}, ""},
		"get_secret":        {[]string{propScramUser, "${get_secret('x','SecretString','username','arn')}"}, "no secrets service"},
		"unknown":           {[]string{"linger.ms", "5"}, `"linger.ms" is not supported: supported are acks, bootstrap.servers`},
		"no servers":        {[]string{propServers, ""}, "HOST:PORT"},
		"no port":           {[]string{propServers, "a:9092, b"}, `"b"`},
		"acks":              {[]string{propAcks, "2"}, "one of -1, 0, 1, all"},
		"compression":       {[]string{propCompression, "brotli"}, "zstd"},
		"protocol":          {[]string{propSecurity, "TLS"}, "SASL_PLAINTEXT"},
		"mechanism missing": {[]string{propSecurity, "SASL_SSL"}, "sasl.mechanism is missing"},
		"GSSAPI":            {[]string{propSecurity, "SASL_SSL", propMechanism, "GSSAPI"}, "SCRAM-SHA-512"},
		"kerberos":          {[]string{"sasl.kerberos.keytab", "x"}, "Kerberos is not supported"},
		"user missing":      {[]string{propSecurity, "SASL_SSL", propMechanism, "PLAIN", propScramUser, "x"}, "sasl.plain.username"},
		"SASL not asked":    {[]string{propMechanism, "PLAIN"}, "did you mean SASL_SSL"},
		"trust not used":    {[]string{propSecurity, "PLAINTEXT", propTruststore, "x"}, "no use"},
		"JKS":               {[]string{propTruststore, base64.StdEncoding.EncodeToString([]byte("\xfe\xed\xfe\xed\x00\x00"))}, "must be PEM"},
		"empty store":       {[]string{propTruststore, "-----BEGIN NOTHING-----"}, "no certificate"},
		"large store":       {[]string{propTruststore, strings.Repeat("A", maxStore+1)}, "at most"},
		"no key":            {[]string{propKeystore, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"}, "private key"},
		"store password":    {[]string{"ssl.truststore.password", "hunter2"}, "no password"},
	} {
		p := maps.Clone(ok)
		for i := 0; i < len(c.set); i += 2 {
			p[c.set[i]] = c.set[i+1]
		}
		err := CheckKafkaClient(p)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if err := (&Kafka{Client: map[string]string{propServers: "a:1", propScramUser: "${x}"}, Topic: "t"}).Check(); err == nil {
		t.Error("a record was taken whose properties make no sense")
	}
}

func TestKafkaCheck(t *testing.T) {
	p := map[string]string{propServers: "a:9092"}
	for want, k := range map[string]*Kafka{
		"name of a Kafka topic":  {Client: p, Topic: "a/b"},
		`"" is not`:              {Client: p},
		`".." is not`:            {Client: p, Topic: ".."},
		"counted from 0":         {Client: p, Topic: "t", Partition: number(-1)},
		"101 headers":            {Client: p, Topic: "t", Headers: make([]Header, 101)},
		"more than 16384 bytes":  {Client: p, Topic: "t", Headers: []Header{{"k", strings.Repeat("x", 16385)}}},
		"headers in binary form": {Client: p, Topic: "t", Headers: []Header{{"k", "\xff"}}},
		"the key has":            {Client: p, Topic: "t", Key: make([]byte, maxKafkaKey+1)},
		"bootstrap.servers":      {Topic: "t"},
	} {
		if err := k.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestMurmur2 has the values that Kafka's own tests have (UtilsTest.java).
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
}

func kafkaSamples() []*Kafka {
	p := map[string]string{propServers: "a:9092", propSecurity: "PLAINTEXT"}
	return []*Kafka{
		{Client: p, Topic: "t", Value: []byte{}},
		{Client: p, Topic: "t", Key: []byte{}, Value: []byte("x")},
		{Client: p, Topic: "t", Key: []byte("k"), Partition: number(7), Headers: []Header{{"a", "b"}, {"", ""}}, Value: []byte(`{"a":1}`)},
	}
}

func TestKafkaEncoding(t *testing.T) {
	for _, k := range kafkaSamples() {
		got, err := DecodeKafka(k.Encode())
		if err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("got %+v, %v, want %+v", got, err, k)
		}
	}
	if got := (&Kafka{Client: map[string]string{propServers: "a:1", propPlainPassword: "secret"}, Topic: "t"}).Lane(); got != "a:1/t" {
		t.Errorf("lane %q", got)
	}
}

func FuzzDecodeKafka(f *testing.F) {
	for _, k := range kafkaSamples() {
		f.Add(k.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := DecodeKafka(data)
		if err != nil {
			return
		}
		again, err := DecodeKafka(k.Encode())
		if err != nil || !reflect.DeepEqual(again, k) {
			t.Errorf("got %+v, %v, want %+v", again, err, k)
		}
	})
}
