package cloud

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/awsapi/apigateway"
	"mote/internal/cloud/awsapi/iotdata"
	"mote/internal/cloud/awsapi/iotjobs"
	"mote/internal/cloud/broker"
	"mote/internal/cloud/console"
	"mote/internal/cloud/message"
	"mote/internal/cloud/rest"
)

func (c *Cloud) openBroker() (err error) {
	c.events = newRegistryEvents(c.log)
	c.serverCert, err = newServerCertificate(func() (tls.Certificate, error) { return c.registry.ServerCertificate(c.hosts()) })
	if err != nil {
		return err
	}
	c.broker, err = broker.New(broker.Config{
		Store:    c.store,
		Gate:     c.registry,
		Rules:    c.rules,
		Reserved: reserved{c.shadows, c.jobs, c.devices, c.events},
		Refusals: c.refusals,
		Log:      c.log,

		Accounts:    c.registry,
		BasicIngest: true,
		Limits:      broker.Limits{Connections: roomFor(fileLimit()).mqtt, Rates: c.opts.Rates},
		TLS:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.serverCert.get},
	})
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	c.registry.OnChange(c.broker.Recheck)
	c.registry.OnRegistered(c.registered)
	c.events.publish = c.tell
	c.registry.OnEvents(c.events.take)
	c.routes, err = rest.Open(c.store, rest.Options{
		Publisher: c.broker, Items: c.items(), Keys: c.registry.AccessKey, Sessions: c.credentials.Session,
		Account: c.registry.Account(), Region: c.opts.Region, Refusals: c.refusals, Log: c.log,
	})
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	return nil
}

// hosts are the names and addresses in the server certificate.
func (c *Cloud) hosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, ok := ownName(os.Hostname()); ok {
		hosts = append(hosts, name, name+".local")
	}
	addrs := []string{c.opts.MQTT, c.opts.HTTPS}
	for _, l := range c.opts.Listeners {
		addrs = append(addrs, l.Address)
	}
	for _, addr := range addrs {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			hosts = append(hosts, host)
		}
	}
	return append(hosts, c.opts.Hosts...)
}

// listen opens the three listeners and serves them.
func (c *Cloud) listen() error {
	streams, stop := context.WithCancel(context.Background())
	c.streams = stop
	c.serving.Go(func() { c.keepCertificates(streams) })
	c.serving.Go(func() { c.events.run(streams) })
	c.console = console.New(console.Config{Messages: c.broker, Tables: c.readable(), Refusals: c.refusals, Counters: c.counters, Shadows: steering{shadows{c.shadows, c.broker}}, Log: c.log})
	handler := c.handler(streams)
	if l, err := c.open("mqtt", c.opts.MQTT); err != nil {
		return err
	} else if l != nil {
		c.endpoints.MQTT = l.Addr().String()
		c.serve(func() error { return c.broker.ServeTLS(streams, l) })
	}
	if l, err := c.open("https", c.opts.HTTPS); err != nil {
		return err
	} else if l != nil {
		c.endpoints.HTTPS = "https://" + l.Addr().String()
		devices := newHandoff(l.Addr())
		d := c.server(streams, handler)
		withTLS(d)
		c.serve(func() error { return d.Serve(devices) })
		s := c.server(streams, handler)
		s.TLSConfig = c.httpsConfig()
		s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			alpnHTTP: devices.serve,
			alpnMQTT: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { c.broker.ServeConn(streams, conn) },
		}
		l := newBounded(l, "https", roomFor(fileLimit()).https, c.log)
		c.serve(func() error { return s.ServeTLS(l, "", "") })
	}
	if l, err := c.open("http", c.opts.HTTP); err != nil {
		return err
	} else if l != nil {
		c.endpoints.HTTP = "http://" + l.Addr().String()
		s := c.server(streams, handler)
		l := newBounded(l, "http", roomFor(fileLimit()).http, c.log)
		c.serve(func() error { return s.Serve(l) })
	}
	if err := c.listenMore(streams); err != nil {
		return err
	}
	return c.writeConfig()
}

// open opens a listener; it returns nil for one that is off.
func (c *Cloud) open(name, addr string) (net.Listener, error) {
	if addr == Off {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w: end the program that has the address, or choose another with --%s", name, err, name)
	}
	return l, nil
}

// serve runs f until it ends, and reports an end that nobody asked for.
func (c *Cloud) serve(f func() error) {
	c.serving.Go(func() {
		err := f()
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
			select {
			case c.failed <- err:
			default: // the first one is enough
			}
		}
	})
}

func (c *Cloud) server(streams context.Context, h http.Handler) *http.Server {
	s := awsapi.Server(h, c.log)
	s.BaseContext = func(net.Listener) context.Context { return streams }
	c.servers = append(c.servers, s)
	return s
}

// handler serves every AWS API, the REST routes and the console on one origin.
func (c *Cloud) handler(streams context.Context) http.Handler {
	return awsapi.NewFront(awsapi.Config{
		IoT:        c.iot,
		IoTData:    iotdata.New(iotdata.Config{Publisher: c.broker, Retained: retained{c.broker}, Shadows: shadows{c.shadows, c.broker}, Connections: c.broker, Log: c.log}),
		MQTT:       c.webSocket(streams),
		Devices:    c.device,
		JobsData:   iotjobs.New(c.jobs, c.log),
		DynamoDB:   c.dynamoDB(),
		APIGateway: apigateway.New(c.routes, c.log),
		Rest:       c.routes,
		Console:    c.console,
		Confirm:    c.iot.ConfirmHandler(),
		Keys:       c.registry.AccessKey,

		Credentials: c.credentials,
		Sessions:    c.credentials.Session,

		Account:  c.registry.Account(),
		Region:   c.opts.Region,
		Refusals: c.refusals,
		Log:      c.log,
	})
}

// counters are the small figures of the console.
func (c *Cloud) counters() console.Counters {
	b := c.broker.Status()
	out := console.Counters{Expiring: c.expiringNow(), Connections: b.Connections, Sessions: b.Sessions, Received: b.Received, Dropped: b.Dropped}
	out.Queued, out.Retained, out.Throttled = b.Queued, b.Retained, b.Throttled
	if c.tables != nil {
		for _, one := range c.tables.Builds() {
			out.Builds = append(out.Builds, console.Build{Table: one.Table, Index: one.Index, Done: one.Done})
		}
	}
	for _, r := range c.rules.Status() {
		rule := console.Rule{
			Name: r.Name, Filter: r.Filter, Enabled: r.Enabled, Matched: r.Matched, Fired: r.Fired, Failed: r.Failed,
			Waiting: r.Waiting, NotExecuted: r.NotExecuted, NotOffered: r.NotOffered,
		}
		if e := r.LastError; e != nil {
			rule.LastError = &console.RuleError{Time: e.Time, Text: e.Text, Action: e.Action, Topic: e.Topic, ClientID: e.ClientID, Payload: e.Payload}
		}
		if e := r.LastRetry; e != nil {
			rule.LastRetry = e.Text
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

// deviceHost is what DescribeEndpoint answers: the host that devices connect
// to. AWS answers a bare name and so do we; the port is in endpoints.json.
func deviceHost(listener string) string {
	host, _, err := net.SplitHostPort(listener)
	if err != nil || host == "127.0.0.1" || host == "::1" {
		return "localhost"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if name, ok := ownName(os.Hostname()); ok {
			return name
		}
		return "localhost"
	}
	return host
}

// ownName is the machine's name when it has one that can stand in a certificate:
// a kernel that nobody gave one says "(none)".
func ownName(name string, err error) (string, bool) {
	return name, err == nil && hostname.MatchString(name)
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// retained lets the data plane read the broker's retained messages.
type retained struct{ broker *broker.Broker }

// Retained implements iotdata.Retained.
func (r retained) Retained(topic string) (*message.Message, bool, error) {
	m, err := r.broker.Retained(topic)
	return m, m != nil, err
}

// RetainedAfter implements iotdata.Retained.
func (r retained) RetainedAfter(topic string, limit int) ([]*message.Message, error) {
	list, _, err := r.broker.RetainedMessages(topic, limit)
	return list, err
}
