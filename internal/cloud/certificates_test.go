package cloud

import (
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
	"math/big"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/provisioning"
	"mote/internal/cloud/registry"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/watch"
)

// start runs a cloud that serves MQTT alone.
func start(t *testing.T, dir string) *Cloud {
	t.Helper()
	c, err := Start(Options{Data: dir, MQTT: "127.0.0.1:0", HTTPS: Off, HTTP: Off})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// newcomer is a live connection of a client.
type newcomer struct {
	t    *testing.T
	conn *client.Conn
	got  chan *mqtt.Publish
}

// connect connects with a certificate and its key; it returns nil when the
// cloud refuses.
func connect(t *testing.T, c *Cloud, id string, cert tls.Certificate) *newcomer {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.registry.CAPEM())
	d := &newcomer{t: t, got: make(chan *mqtt.Publish, 16)}
	ctx, cancel := context.WithTimeout(context.Background(), watch.Patience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Options{
		Addr: c.endpoints.MQTT, ClientID: id, CleanStart: true, TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
		OnMessage: func(p *mqtt.Publish) { d.got <- p },
	})
	if err != nil {
		return nil
	}
	d.conn = conn
	t.Cleanup(func() { _ = conn.Close() })
	return d
}

func (d *newcomer) subscribe(filters ...string) {
	d.t.Helper()
	for _, f := range filters {
		codes, err := d.conn.Subscribe(context.Background(), mqtt.Subscription{Filter: f, QoS: 1})
		if err != nil || codes[0] > 1 {
			d.t.Fatalf("SUBSCRIBE %s: %v, %v", f, codes, err)
		}
	}
}

func (d *newcomer) publish(topic, payload string) {
	d.t.Helper()
	acked := make(chan error, 1)
	err := d.conn.Publish(context.Background(), &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: 1}, func(err error) { acked <- err })
	if err == nil {
		err = <-acked
	}
	if err != nil {
		d.t.Fatalf("PUBLISH %s: %v", topic, err)
	}
}

// receive waits for the next message, which must be on topic.
func (d *newcomer) receive(topic string) map[string]any {
	d.t.Helper()
	select {
	case p := <-d.got:
		var body map[string]any
		if err := json.Unmarshal(p.Payload, &body); err != nil || p.Topic != topic {
			d.t.Fatalf("got %s: %s, want %s", p.Topic, p.Payload, topic)
		}
		return body
	case <-time.After(watch.Patience):
		d.t.Fatalf("nothing came on %s", topic)
		return nil
	}
}

const template = `{"Parameters": {"Serial": {"Type": "String", "Default": "none"}, "AWS::IoT::Certificate::CommonName": {"Type": "String", "Default": "claimed"}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["-", [{"Ref": "AWS::IoT::Certificate::CommonName"}, {"Ref": "Serial"}]]}}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}]}"}}}}`

// TestFleetProvisioning goes the way of a new device with a claim, and listens
// in beside it.
func TestFleetProvisioning(t *testing.T) {
	c := start(t, t.TempDir())
	if _, err := c.registry.CreateTemplate(registry.Template{Name: "fleet", Enabled: true, Role: "arn:aws:iam::1:role/provision"}, template, nil); err != nil {
		t.Fatal(err)
	}
	claim, err := c.registry.CreateClaim(provisioning.ClaimPolicy("fleet", c.registry.ARN))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(claim.Certificate.PEM), []byte(claim.Keys.Private))
	if err != nil {
		t.Fatal(err)
	}
	created, provision := "$aws/certificates/create/json", "$aws/provisioning-templates/fleet/provision/json"
	answers := []string{created + "/accepted", created + "/rejected", provision + "/accepted", provision + "/rejected"}
	spy, dev := connect(t, c, "spy", pair), connect(t, c, "dev", pair)
	spy.subscribe(answers...)
	dev.subscribe(answers...)
	dev.publish(created, "{}")
	got := dev.receive(created + "/accepted")
	token, _ := got["certificateOwnershipToken"].(string)
	dev.publish(provision, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"Serial": 7}}`, token))
	if refused := dev.receive(provision + "/rejected"); refused["errorCode"] != "InvalidPayload" {
		t.Errorf("a number as parameter: %v", refused)
	}
	dev.publish(provision, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"Serial": "7"}}`, token))
	if done := dev.receive(provision + "/accepted"); done["thingName"] != "claimed-7" {
		t.Errorf("answer %v", done)
	}
	text := func(name string) []byte { s, _ := got[name].(string); return []byte(s) }
	own, err := tls.X509KeyPair(text("certificatePem"), text("privateKey"))
	if err != nil {
		t.Fatal(err)
	}
	if d := connect(t, c, "claimed-7", own); d == nil {
		t.Error("the device's own certificate is refused")
	}
	spy.publish(provision, "{")
	if refused := spy.receive(provision + "/rejected"); refused["errorCode"] != "InvalidPayload" {
		t.Errorf("the other client got %v", refused)
	}
}

// TestJustInTime brings certificates of a CA along, with and without a template.
func TestJustInTime(t *testing.T) {
	c := start(t, t.TempDir())
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "factory"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der := issue(t, ca, ca, key, key)
	registered, err := c.registry.RegisterCA(registry.NewCA{
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Mode: registry.ModeSNIOnly, Active: true, Auto: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	bring := func(name string) tls.Certificate {
		own, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		cert := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
		return tls.Certificate{Certificate: [][]byte{issue(t, cert, ca, own, key)}, PrivateKey: own}
	}
	watcher := connect(t, c, "watcher", admin(t, c))
	watcher.subscribe("$aws/events/certificates/registered/#")
	first := bring("first")
	if connect(t, c, "first", first) != nil {
		t.Fatal("an unknown certificate got in")
	}
	event := watcher.receive("$aws/events/certificates/registered/" + registered.ID)
	if event["certificateStatus"] != "PENDING_ACTIVATION" || event["caCertificateId"] != registered.ID || event["awsAccountId"] != c.Account() {
		t.Errorf("event %v", event)
	}
	id, _ := event["certificateId"].(string)
	if err := c.registry.UpdateCertificate(id, registry.Active); err != nil {
		t.Fatal(err)
	}
	allow(t, c, id)
	live := connect(t, c, "first", first)
	if live == nil {
		t.Fatal("an activated certificate is refused")
	}
	if err := c.registry.UpdateCertificate(id, registry.Revoked); err != nil {
		t.Fatal(err)
	}
	select {
	case <-live.conn.Done():
	case <-time.After(watch.Patience):
		t.Error("a revoked certificate's connection lives on")
	}

	if err := c.registry.UpdateCA(registered.ID, registry.CAUpdate{Config: &registry.RegistrationConfig{TemplateBody: template}}); err != nil {
		t.Fatal(err)
	}
	second := bring("second")
	if connect(t, c, "second", second) != nil {
		t.Error("an unknown certificate got in before it was provisioned")
	}
	if connect(t, c, "second", second) == nil {
		t.Error("a provisioned certificate is refused")
	}
	if _, err := c.registry.Thing("second-none"); err != nil {
		t.Error(err)
	}
}

func issue(t *testing.T, cert, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// admin makes a certificate that may do everything.
func admin(t *testing.T, c *Cloud) tls.Certificate {
	t.Helper()
	cert, keys, err := c.registry.CreateKeysAndCertificate(true)
	if err != nil {
		t.Fatal(err)
	}
	allow(t, c, cert.ID)
	pair, err := tls.X509KeyPair([]byte(cert.PEM), []byte(keys.Private))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func allow(t *testing.T, c *Cloud, id string) {
	t.Helper()
	_, err := c.registry.CreatePolicy("all", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`, nil)
	if err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	if err := c.registry.AttachPolicy("all", id); err != nil {
		t.Fatal(err)
	}
}

// TestADeviceRenewsItsOwnCertificateOnly has a device with a thing ask for one
// more certificate, as itself and as its neighbour.
func TestADeviceRenewsItsOwnCertificateOnly(t *testing.T) {
	c := start(t, t.TempDir())
	const named = `{"Parameters": {"ThingName": {"Type": "String"}}, "Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "ThingName"}}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}}}}`
	cert, keys, err := c.registry.CreateKeysAndCertificate(true)
	if err == nil {
		_, err = c.registry.CreateTemplate(registry.Template{Name: "roofs", Enabled: true, Role: "arn:aws:iam::1:role/provision"}, named, nil)
	}
	if err == nil {
		_, err = c.registry.CreatePolicy("renewal", provisioning.ClaimPolicy("roofs", c.registry.ARN), nil)
	}
	for _, thing := range []string{"pi", "neighbour"} {
		if err == nil {
			_, err = c.registry.CreateThing(thing, nil)
		}
	}
	if err == nil {
		err = errors.Join(c.registry.AttachPolicy("renewal", cert.ID), c.registry.AttachThingPrincipal("pi", cert.ID, false))
	}
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(cert.PEM), []byte(keys.Private))
	if err != nil {
		t.Fatal(err)
	}
	d := connect(t, c, "pi", pair)
	const provision = "$aws/provisioning-templates/roofs/provision/json"
	d.subscribe("$aws/certificates/create/json/accepted", provision+"/accepted", provision+"/rejected")
	for _, one := range []struct{ thing, answer string }{{"neighbour", "/rejected"}, {"pi", "/accepted"}, {"extension", "/accepted"}} {
		d.publish("$aws/certificates/create/json", "{}")
		token := d.receive("$aws/certificates/create/json/accepted")["certificateOwnershipToken"]
		d.publish(provision, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": %q}}`, token, one.thing))
		if body := d.receive(provision + one.answer); one.answer == "/rejected" && body["errorCode"] != "AccessDenied" {
			t.Errorf("as %s: %v", one.thing, body)
		}
	}
}
