package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/cloud/registry"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/watch"
)

// device is a thing with a certificate in a running cloud.
type device struct {
	t    *testing.T
	c    *Cloud
	reg  *registry.Registry
	id   string // of the certificate
	pair tls.Certificate
	from tls.Certificate // of another client, which may do everything
}

const (
	devicePolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe"],"Resource":"*"}}`
	wholePolicy  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	silentPolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":["iot:Publish","iot:Receive"],"Resource":"*"}}`
	roofPolicy   = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"*","Condition":{"StringEquals":{"iot:Connection.Thing.Attributes[site]":"roof"}}}}`
	boardPolicy  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingTypeName}"}}`
)

func newDevice(t *testing.T) *device {
	t.Helper()
	c, err := Start(Options{Data: t.TempDir(), MQTT: "127.0.0.1:0", HTTPS: Off, HTTP: Off})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	d := &device{t: t, c: c, reg: c.registry}
	var other string
	d.id, d.pair = d.certificate()
	other, d.from = d.certificate()
	_, err = d.reg.CreateThing("pi", nil)
	d.must(err)
	d.must(d.reg.AttachThingPrincipal("pi", d.id, false))
	for name, text := range map[string]string{"device": devicePolicy, "whole": wholePolicy, "silent": silentPolicy, "roof": roofPolicy, "board": boardPolicy} {
		_, err := d.reg.CreatePolicy(name, text, nil)
		d.must(err)
	}
	for _, g := range []registry.ThingGroup{{Name: "top"}, {Name: "sub", Parent: "top"}, {Name: "quiet"}} {
		_, err := d.reg.CreateThingGroup(g, nil)
		d.must(err)
	}
	_, err = d.reg.CreateThingType(registry.ThingType{Name: "t"}, nil)
	d.must(err)
	_, err = d.reg.CreatePolicy("all", wholePolicy, nil)
	d.must(err)
	d.must(d.reg.AttachPolicy("all", other))
	d.must(d.reg.AttachPolicy("device", d.id))
	d.must(d.reg.AttachPolicy("silent", "thinggroup/quiet"))
	return d
}

func (d *device) certificate() (id string, pair tls.Certificate) {
	d.t.Helper()
	cert, keys, err := d.reg.CreateKeysAndCertificate(true)
	d.must(err)
	pair, err = tls.X509KeyPair([]byte(cert.PEM), []byte(keys.Private))
	d.must(err)
	return cert.ID, pair
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// dial connects and subscribes to the topic "t".
func (d *device) dial(id string, pair tls.Certificate, received *atomic.Int64) *client.Conn {
	d.t.Helper()
	root, err := os.ReadFile(d.c.Endpoints().CA)
	d.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	conn, err := client.Dial(context.Background(), client.Options{
		Addr: d.c.Endpoints().MQTT, ClientID: id, CleanStart: true,
		TLS:       &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
		OnMessage: func(*mqtt.Publish) { received.Add(1) },
	})
	d.must(err)
	d.t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.Subscribe(context.Background(), mqtt.Subscription{Filter: "t", QoS: 1})
	d.must(err)
	return conn
}

// publish sends to the topic "t" and returns how it was answered.
func publish(conn *client.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), watch.Patience)
	defer cancel()
	acked := make(chan error, 1)
	if err := conn.Publish(ctx, &mqtt.Publish{Topic: "t", QoS: 1}, func(err error) { acked <- err }); err != nil {
		return err
	}
	select {
	case err := <-acked:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// TestLiveConnectionsAreJudgedAnew takes away, on a connection that is there and
// has published and received on a topic already, what let it do so, in every
// way there is. The next publish on the same connection must be refused, and
// what another client publishes must not be delivered any more.
func TestLiveConnectionsAreJudgedAnew(t *testing.T) {
	d := newDevice(t)
	var toSender atomic.Int64
	sender := d.dial("sender", d.from, &toSender)
	attributes := func(site string) error {
		return d.reg.UpdateThing("pi", registry.ThingUpdate{Attributes: map[string]string{"site": site}})
	}
	deny := func() error {
		_, err := d.reg.CreatePolicyVersion("whole", silentPolicy, true)
		return err
	}
	join := func(g string) func() error { return func() error { return d.reg.ChangeGroups("pi", []string{g}, nil) } }
	leave := func(g string) func() error { return func() error { return d.reg.ChangeGroups("pi", nil, []string{g}) } }
	attach := func(p, target string) func() error { return func() error { return d.reg.AttachPolicy(p, target) } }
	detach := func(p, target string) func() error { return func() error { return d.reg.DetachPolicy(p, target) } }
	for _, c := range []struct {
		name         string
		give, take   func() error
		after        func() error
		disconnected bool // without a publish
	}{
		{name: "policy of the certificate", give: attach("whole", d.id), take: detach("whole", d.id)},
		{name: "group membership", give: func() error { return errors.Join(attach("whole", "thinggroup/top")(), join("sub")()) }, take: leave("sub")},
		{name: "policy of the group above", give: join("sub"), take: detach("whole", "thinggroup/top"), after: leave("sub")},
		{name: "group that denies", give: attach("whole", d.id), take: join("quiet"), after: leave("quiet")},
		{name: "attribute", give: func() error { return errors.Join(detach("whole", d.id)(), attach("roof", d.id)(), attributes("roof")) },
			take: func() error { return attributes("cellar") }, after: detach("roof", d.id)},
		{name: "thing type", give: func() error {
			return errors.Join(attach("board", d.id)(), d.reg.UpdateThing("pi", registry.ThingUpdate{Type: "t"}))
		}, take: func() error { return d.reg.UpdateThing("pi", registry.ThingUpdate{RemoveType: true}) }, after: detach("board", d.id)},
		{name: "policy version", give: attach("whole", d.id), take: deny, after: func() error { return d.reg.SetDefaultPolicyVersion("whole", 1) }},
		{name: "certificate", give: func() error { return nil },
			take: func() error { return d.reg.UpdateCertificate(d.id, registry.Inactive) }, disconnected: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.must(c.give())
			var received atomic.Int64
			conn := d.dial("pi", d.pair, &received)
			if err := publish(conn); err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := publish(conn); err != nil {
				t.Fatalf("before, remembered: %v", err)
			}
			if err := publish(sender); err != nil {
				t.Fatal(err)
			}
			watch.Until(t, "the 3 messages are received", func() bool { return received.Load() == 3 }) // a publisher is answered before
			d.must(c.take())
			if err := publish(sender); err != nil {
				t.Fatal(err)
			}
			if c.disconnected {
				select {
				case <-conn.Done():
				case <-time.After(watch.Patience):
					t.Fatal("the connection is still there")
				}
			} else if err := publish(conn); err == nil {
				t.Error("the publish was taken")
			} else if errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if n := received.Load(); n != 3 && !c.disconnected { // a disconnection may be a message late
				t.Errorf("%d messages were received, want the 3 before it was forbidden", n)
			}
			_ = conn.Close()
			if c.after != nil {
				d.must(c.after())
			}
		})
	}
}
