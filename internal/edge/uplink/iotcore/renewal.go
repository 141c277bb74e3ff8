package iotcore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mote/internal/edge/uplink"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// Renewal has the certificate replaced before it ends, by fleet provisioning (AWS
// IoT developer guide, "Device provisioning MQTT API") over the uplink's own
// connection:
//
//  1. A key is made, which never leaves the machine, and lies beside the one in
//     use under its name with [RenewalSuffix].
//  2. The server signs it. What it answers is kept, under the certificate's name
//     with [RenewalSuffix], before the next step.
//  3. The template makes the certificate active.
//  4. Key and certificate get the names with [NextSuffix], the key first. From
//     there on they are replaced as if somebody had put them there.
//
// After a kill the next start goes on: with the answer when there is one, which
// asks the server for nothing new, else from the beginning.
type Renewal struct {
	Template   string            // name of the provisioning template; "" turns renewal off
	Before     time.Duration     // so long before its end the certificate is renewed; default 30 days, but no more than a third of its life
	Parameters map[string]string // of the template
}

// RenewalSuffix ends the names of the files of a renewal that is under way.
const RenewalSuffix = ".renewal"

const (
	defaultRenewBefore = 30 * 24 * time.Hour
	answerTime         = 30 * time.Second // for each answer of the server
	tokenLife          = time.Hour        // AWS IoT developer guide, "Device provisioning MQTT API"
	minRenewBackoff    = time.Minute
	maxRenewBackoff    = 6 * time.Hour
	leastBetween       = 24 * time.Hour // renewals, whether the last one's certificate worked or not
	maxRenewalFile     = 64 << 10
	maxCommonName      = 64 // RFC 5280, appendix A.1, ub-common-name; in characters
)

// The topics of fleet provisioning (AWS IoT developer guide, "Reserved topics").
const (
	provisioningTopics = "$aws/provisioning-templates/"
	certificateTopics  = "$aws/certificates/"
	signTopic          = certificateTopics + "create-from-csr/json"
)

// renewal renews the certificate in files.
type renewal struct {
	o       Renewal
	files   Files
	subject string // common name of the signing request
	log     *slog.Logger

	// Owned by the goroutine of the session that is there.
	retryAt   time.Time
	backoff   uplink.Backoff
	renewedAt time.Time // by this process

	mu      sync.Mutex
	answers chan *mqtt.Publish // guarded by mu; of the request under way, nil: there is none
}

// newRenewal returns nil when renewal is off.
func newRenewal(o Options, log *slog.Logger) *renewal {
	if o.Renewal.Template == "" {
		return nil
	}
	o.Renewal.Before = cmp.Or(o.Renewal.Before, defaultRenewBefore)
	return &renewal{o: o.Renewal, files: o.Files, subject: commonName(o.ClientID), log: log, backoff: uplink.Backoff{Min: minRenewBackoff, Max: maxRenewBackoff}}
}

// commonName is as much of a client id as fits into a signing request.
func commonName(clientID string) string {
	name := []rune(clientID)
	return string(name[:min(len(name), maxCommonName)])
}

// renewalAt is when a certificate is renewed that so much before its end is to be.
func renewalAt(leaf *x509.Certificate, before time.Duration) time.Time {
	return leaf.NotAfter.Add(-min(before, leaf.NotAfter.Sub(leaf.NotBefore)/3))
}

// look renews the certificate when it is time to, and waits until that is done.
func (r *renewal) look(ctx context.Context, conn *client.Conn, leaf *x509.Certificate, now time.Time) {
	if now.Before(r.retryAt) || now.Before(renewalAt(leaf, r.o.Before)) || r.renewedLately(leaf, now) || r.refusedLately(now) {
		return
	}
	if _, ok := r.files.next(); ok {
		return // there is a new one, which is proven or put aside first
	}
	pause := r.backoff.Next()
	r.retryAt = now.Add(pause)
	ask := func(topic string, in, out any) error { return r.ask(ctx, conn, topic, in, out) }
	if err := r.renew(ask, leaf, now); err != nil {
		if ctx.Err() == nil || conn.Err() != nil { // a server may end the connection for what was asked
			r.log.Warn("the certificate could not be renewed", "template", r.o.Template, "ends", leaf.NotAfter.UTC().Format(time.RFC3339), "error", err, "retry_in", pause.Round(time.Second))
		}
		return
	}
	r.backoff.Reset()
	r.renewedAt = now
	r.log.Info("the certificate was renewed, the new one is proven next", "file", r.files.Cert+NextSuffix)
}

// renewedLately says whether leaf is due again although it was renewed not long
// ago: this machine's clock is ahead, or the server's certificates are short.
func (r *renewal) renewedLately(leaf *x509.Certificate, now time.Time) bool {
	return !r.renewedAt.IsZero() && now.Sub(r.renewedAt) < min(leastBetween, leaf.NotAfter.Sub(leaf.NotBefore)/3)
}

// refusedLately says whether a new certificate was put aside not long ago.
func (r *renewal) refusedLately(now time.Time) bool {
	info, err := os.Stat(r.files.Cert + RefusedSuffix)
	return err == nil && now.Sub(info.ModTime()) < leastBetween
}

// issued is what is kept of a certificate that waits to be made active.
type issued struct {
	Certificate string `json:"certificatePem"`
	Token       string `json:"certificateOwnershipToken"`
}

// asking publishes a request on a topic and reads the answer into out.
type asking func(topic string, in, out any) error

// renew goes on where the last try ended.
func (r *renewal) renew(ask asking, leaf *x509.Certificate, now time.Time) error {
	got, active := r.resume(now)
	if got == nil {
		if exists(r.files.Key + NextSuffix) {
			return fmt.Errorf("%s lies there without a certificate: put the certificate beside it, or take the key away", r.files.Key+NextSuffix)
		}
		var err error
		if got, err = r.sign(ask, leaf); err != nil {
			return err
		}
	}
	if !active {
		if err := r.activate(ask, got); err != nil {
			return err
		}
	}
	return perform(r.files.renewed([]byte(got.Certificate)))
}

// resume returns what was issued before a kill or a lost answer, and whether it
// is active already: then its key has its next name.
func (r *renewal) resume(now time.Time) (got *issued, active bool) {
	state, key := r.files.Cert+RenewalSuffix, r.files.Key+RenewalSuffix
	info, err := os.Stat(state)
	if err != nil || info.Size() > maxRenewalFile {
		return nil, false
	}
	data, err := os.ReadFile(state)
	if err != nil {
		return nil, false
	}
	got = &issued{}
	if json.Unmarshal(data, got) != nil {
		return nil, false
	}
	switch {
	case got.fits(key) && now.Sub(info.ModTime()) < tokenLife:
		return got, false
	case !exists(key) && got.fits(r.files.Key+NextSuffix):
		return got, true
	}
	return nil, false
}

// fits says whether the certificate belongs to the key in a file.
func (i *issued) fits(key string) bool {
	data, err := os.ReadFile(key)
	if err != nil {
		return false
	}
	_, err = tls.X509KeyPair([]byte(i.Certificate), data)
	return err == nil
}

// sign makes a key, has it signed, and keeps the answer.
func (r *renewal) sign(ask asking, leaf *x509.Certificate) (*issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: r.subject}}, key)
	if err != nil {
		return nil, err
	}
	for _, old := range []string{r.files.Cert + RenewalSuffix, r.files.Key + RenewalSuffix} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if err := writePrivate(r.files.Key+RenewalSuffix, pemOf("PRIVATE KEY", der)); err != nil {
		return nil, err
	}
	got := &issued{}
	in := map[string]string{"certificateSigningRequest": string(pemOf("CERTIFICATE REQUEST", request))}
	if err := ask(signTopic, in, got); err != nil {
		return nil, err
	}
	if err := r.check(got, leaf); err != nil {
		return nil, err
	}
	data, err := json.Marshal(got)
	if err != nil {
		return nil, err
	}
	return got, writePrivate(r.files.Cert+RenewalSuffix, data)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// check refuses an answer that is no progress.
func (r *renewal) check(got *issued, old *x509.Certificate) error {
	if got.Token == "" || !got.fits(r.files.Key+RenewalSuffix) {
		return errors.New("the server's answer holds no certificate for the key that was sent, or no ownership token")
	}
	block, _ := pem.Decode([]byte(got.Certificate))
	if block == nil {
		return errors.New("the server's answer holds no certificate in PEM form")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if !leaf.NotAfter.After(old.NotAfter) {
		return fmt.Errorf("the server signed a certificate that ends on %s, not after the one in use", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// activate has the template make the certificate active. A token that the server
// does not take is of no more use.
func (r *renewal) activate(ask asking, got *issued) error {
	in := map[string]any{"certificateOwnershipToken": got.Token, "parameters": r.o.Parameters}
	err := ask(provisioningTopics+r.o.Template+"/provision/json", in, &struct{}{})
	var refused *refusedError
	if errors.As(err, &refused) && refused.Code == "InvalidCertificateOwnershipToken" {
		_ = os.Remove(r.files.Cert + RenewalSuffix) // the next try begins anew; so it does after an hour
	}
	return err
}

// renewed are the steps that hand the new certificate and its key over to be
// proven. After a kill between two of them, the next try does the rest.
func (f Files) renewed(cert []byte) []func() error {
	var steps []func() error
	if key := f.Key + RenewalSuffix; exists(key) {
		steps = moves(key, f.Key+NextSuffix)
	}
	return append(steps,
		func() error { return writePrivate(f.Cert+NextSuffix, cert) },
		func() error { return os.Remove(f.Cert + RenewalSuffix) })
}

// writePrivate makes a file that only its owner reads, whole or not at all, and
// durable.
func writePrivate(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("%w: let the gateway's user write to the directory", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return makeDurable(filepath.Dir(path))
}

// refusedError is what the server answers when it refuses (AWS IoT developer
// guide, "Device provisioning MQTT API").
type refusedError struct {
	topic   string
	Status  int    `json:"statusCode"`
	Code    string `json:"errorCode"`
	Message string `json:"errorMessage"`
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the server refused %s: %d %.100s: %.500s", e.topic, e.Status, e.Code, e.Message)
}

// ask is an [asking] over conn.
func (r *renewal) ask(ctx context.Context, conn *client.Conn, topic string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	payload, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answers := make(chan *mqtt.Publish, 4)
	r.expect(answers)
	defer r.expect(nil)
	if _, err := conn.Subscribe(ctx, mqtt.Subscription{Filter: topic + "/accepted", QoS: 1}, mqtt.Subscription{Filter: topic + "/rejected", QoS: 1}); err != nil {
		return fmt.Errorf("%w: allow iot:Subscribe on topicfilter/%s/* and iot:Receive and iot:Publish on topic/%s*", err, topic, topic)
	}
	acked := make(chan error, 1)
	if err := conn.Publish(ctx, &mqtt.Publish{Topic: topic, Payload: payload, QoS: 1}, func(err error) { acked <- err }); err != nil {
		return err
	}
	for {
		select {
		case err := <-acked:
			if err != nil {
				return fmt.Errorf("publish on %s: %w: allow iot:Publish on topic/%s", topic, err, topic)
			}
			acked = nil
		case p := <-answers:
			if read, err := readAnswer(p, topic, out); read {
				return err
			}
		case <-ctx.Done():
			if cause := conn.Err(); cause != nil {
				return fmt.Errorf("the connection ended while %s was asked for: %w", topic, cause)
			}
			return fmt.Errorf("no answer on %s within %v: check that the template exists, and that the policy allows iot:Receive on topic/%s/*", topic, answerTime, topic)
		}
	}
}

// readAnswer reads an answer to a request on topic into out; it is false when it
// is one to another request.
func readAnswer(p *mqtt.Publish, topic string, out any) (read bool, err error) {
	switch p.Topic {
	case topic + "/accepted":
		if err := json.Unmarshal(p.Payload, out); err != nil {
			return true, fmt.Errorf("the answer on %s cannot be read: %w", p.Topic, err)
		}
		return true, nil
	case topic + "/rejected":
		refused := &refusedError{topic: topic}
		if err := json.Unmarshal(p.Payload, refused); err != nil {
			return true, fmt.Errorf("the answer on %s cannot be read: %w", p.Topic, err)
		}
		return true, refused
	}
	return false, nil
}

func (r *renewal) expect(answers chan *mqtt.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = answers
}

// handle takes a message of the server that is an answer, and is false for all
// others. It does not wait.
func (r *renewal) handle(p *mqtt.Publish) bool {
	if r == nil || !strings.HasPrefix(p.Topic, certificateTopics) && !strings.HasPrefix(p.Topic, provisioningTopics) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := *p
	q.Payload = bytes.Clone(p.Payload)
	select {
	case r.answers <- &q: // a nil channel takes none
	default:
	}
	return true
}
