package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"mote/internal/config"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

const (
	day     = "2006-01-02"
	soon    = 30 * 24 * time.Hour // what is left of a certificate when it is time for the next
	maxSkew = 5 * time.Minute     // how far AWS lets clocks differ (Signature Version 4)
)

// roots reads the file of CAs; nil means the system's.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// reach resolves, connects and makes TLS, each with a result of its own.
func (e *exam) reach(ctx context.Context, check, addr string, cfg *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*e.Timeout)
	defer cancel()
	began := time.Now()
	raw, err := (&net.Dialer{Timeout: e.Timeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		e.dialFailed(check+" network", addr, err)
		return false
	}
	defer raw.Close()
	e.ok(check+" network", "%s answers as %s in %v", addr, raw.RemoteAddr(), time.Since(began).Round(time.Millisecond))
	if cfg == nil {
		return true
	}
	conn := tls.Client(raw, cfg)
	err = conn.HandshakeContext(ctx)
	state := conn.ConnectionState()
	if err != nil {
		return e.tlsFailed(check+" tls", addr, err)
	}
	leaf := state.PeerCertificates[0]
	chain := state.VerifiedChains[0]
	e.ok(check+" tls", "%s, certificate of %s until %s", tls.VersionName(state.Version), chain[len(chain)-1].Subject, leaf.NotAfter.Format(day))
	return true
}

// tlsFailed explains why there is no TLS. It reports whether the rest can be
// tried all the same.
func (e *exam) tlsFailed(check, addr string, err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	now := e.Now().UTC().Format(time.RFC3339)
	switch {
	case errors.As(err, &unknown):
		from := ""
		if unknown.Cert != nil {
			from = " of " + unknown.Cert.Issuer.String()
		}
		e.fail(check, "set ca to the root certificate of this server: AmazonRootCA1.pem at AWS, ca.pem in the data directory of a mote cloud", "the server's certificate%s comes from no CA that is trusted here", from)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && e.Now().Before(invalid.Cert.NotBefore):
		e.fail(check, setClock, "the server's certificate is valid from %s, and this machine's clock says %s: the clock is wrong", invalid.Cert.NotBefore.Format(day), now)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.fail(check, "if the clock is right, the server needs a new certificate; if not, "+setClock, "the server's certificate ended on %s, and this machine's clock says %s", invalid.Cert.NotAfter.Format(day), now)
	case errors.As(err, &name):
		e.fail(check, "write the endpoint as the certificate names it, or give the server a certificate for this name", "the server's certificate is not for this name: %v", name)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		e.fail(check, "check the port: that of the server's TLS is another, or something between here and there ends it", "%s closes the connection instead of answering with TLS", addr)
	case errors.As(err, &record):
		e.fail(check, "correct the port: 8883 or 443 for MQTT with TLS", "%s does not speak TLS", addr)
	default:
		e.fail(check, "look at the server's log", "%v", err)
	}
	return false
}

// iot checks the uplink over MQTT.
func (e *exam) iot(ctx context.Context, u *config.UplinkIoT) {
	const check = "uplink.iot"
	pair, ok := e.certificate(check+" certificate", u.Cert, u.Key)
	if ok && u.Renew.Template != "" {
		e.renewal(check+" renewal", pair[0].Leaf, &u.Renew)
	}
	pool, err := roots(u.CA)
	if err != nil {
		e.fail(check+" tls", "set ca to the root certificate of the server", "%v", err)
		return
	}
	host, port, err := net.SplitHostPort(u.Endpoint)
	if err != nil {
		e.fail(check+" network", "", "%v", err)
		return
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: pool, Time: e.Now, Certificates: pair}
	if port == "443" { // AWS IoT developer guide, "Device communication protocols"
		cfg.NextProtos = []string{"x-amzn-mqtt-ca"}
	}
	if !e.reach(ctx, check, u.Endpoint, cfg) || !ok {
		return
	}
	e.connect(ctx, check+" policy", u, cfg)
}

// renewal checks that the certificate was renewed when it was time to.
func (e *exam) renewal(check string, leaf *x509.Certificate, r *config.Renew) {
	at := leaf.NotAfter.Add(-min(r.BeforeEnd, leaf.NotAfter.Sub(leaf.NotBefore)/3))
	if e.Now().Sub(at) > 24*time.Hour {
		e.warn(check, "see why in the log of the gateway, which must run to renew it; or put a new certificate beside it", "the certificate ends on %s, and should have been renewed on %s with the template %s", leaf.NotAfter.Format(day), at.Format(day), r.Template)
		return
	}
	e.ok(check, "the certificate is renewed with the template %s from %s on", r.Template, at.Format(day))
}

// certificate checks the device's certificate, its key and its dates; one that is
// renewed by itself may end soon.
func (e *exam) certificate(check, cert, key string) ([]tls.Certificate, bool) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		e.fail(check, "give the two files that were made together, as they were downloaded", "%s with %s: %v", cert, key, err)
		return nil, false
	}
	leaf, now := pair.Leaf, e.Now()
	switch {
	case now.After(leaf.NotAfter):
		e.fail(check, "register a new certificate and put it here; if the clock is wrong, "+setClock, "%s ended on %s; this machine's clock says %s", cert, leaf.NotAfter.Format(day), now.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		e.fail(check, setClock, "%s is valid from %s only; this machine's clock says %s", cert, leaf.NotBefore.Format(day), now.UTC().Format(time.RFC3339))
	case leaf.NotAfter.Sub(now) < soon && !e.renews(cert):
		e.warn(check, "register the next one now", "%s ends on %s", cert, leaf.NotAfter.Format(day))
	default:
		e.ok(check, "it belongs to its key and is valid until %s", leaf.NotAfter.Format(day))
	}
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o077 != 0 {
		e.warn(check, "chmod 600 "+key, "others on this machine can read the key: its mode is %04o", info.Mode().Perm())
	}
	return []tls.Certificate{pair}, true
}

// renews says whether the gateway renews the certificate in the file cert.
func (e *exam) renews(cert string) bool {
	u := e.file.Uplink.IoT
	return u != nil && u.Renew.Template != "" && u.Cert == cert
}

// connect tries the client id, and the subscription for the boards' shadows.
func (e *exam) connect(ctx context.Context, check string, u *config.UplinkIoT, cfg *tls.Config) {
	if e.running {
		e.skip(check, "the running gateway is connected as %q, and a second connection would end it: look at its health under listen, or stop it", u.ClientID)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*e.Timeout)
	defer cancel()
	o := client.Options{Addr: u.Endpoint, TLS: cfg, ClientID: u.ClientID, Version: mqtt.V5, CleanStart: true, KeepAlive: time.Minute}
	if u.MQTT == "3.1.1" {
		o.Version = mqtt.V311
	}
	conn, err := client.Dial(ctx, o)
	if err != nil {
		e.fail(check, fmt.Sprintf("activate the certificate and attach a policy that allows iot:Connect on client/%s to it", u.ClientID), "the server does not take the client id %q: %v", u.ClientID, err)
		return
	}
	defer conn.Close()
	e.ok(check, "it may connect as %q", u.ClientID)
	e.shadows(ctx, check, conn)
	_ = conn.Disconnect(ctx)
	e.publish(ctx, "iot", fmt.Sprintf("allow iot:Publish on topic/%s in the certificate's policy", strings.ReplaceAll(u.Topic, "{id}", "*")))
}

// publish sends a test reading when that was asked for.
func (e *exam) publish(ctx context.Context, uplink, remedy string) {
	check, send := "uplink."+uplink+" publish", e.Publish[uplink]
	if send == nil {
		e.skip(check, "whether the server takes readings shows only when one is sent; --publish sends one, of a board called %s", TestBoard)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*e.Timeout)
	defer cancel()
	if err := send(ctx); err != nil {
		e.fail(check, remedy, "the server does not take a reading: %v", err)
		return
	}
	e.ok(check, "the server took a test reading of the board %s", TestBoard)
}

func (e *exam) shadows(ctx context.Context, check string, conn *client.Conn) {
	thing := e.file.Gateway.Thing
	if thing == "off" {
		return
	}
	filter := "$aws/things/" + strings.Replace(thing, "{id}", "1", 1) + "/shadow/update/delta"
	const remedy = "allow iot:Subscribe and iot:Receive on $aws/things/*/shadow/*, or write thing = \"off\" when nobody steers the boards"
	if _, err := conn.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1}); err != nil {
		e.warn(check, remedy, "it may not follow the boards' shadows (%s): %v", filter, err)
		return
	}
	e.ok(check, "it may follow the boards' shadows")
}

// https checks an uplink over HTTPS: the way there, its credentials, and what
// it sends.
func (e *exam) https(ctx context.Context, uplink, rawURL, ca string, c *config.Credentials) {
	reached := e.http(ctx, "uplink."+uplink, rawURL, ca)
	if e.credentials(ctx, uplink, c) && reached {
		e.publish(ctx, uplink, fmt.Sprintf("correct in [uplink.%s] or its credentials what the answer names", uplink))
	}
}

// http checks the way to a server of HTTP and takes its time.
func (e *exam) http(ctx context.Context, check, rawURL, ca string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		e.fail(check, "", "%v", err)
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	var cfg *tls.Config
	if u.Scheme == "https" {
		pool, err := roots(ca)
		if err != nil {
			e.fail(check+" tls", "set ca to the root certificate of the server", "%v", err)
			return false
		}
		cfg = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), RootCAs: pool, Time: e.Now}
	}
	if !e.reach(ctx, check, net.JoinHostPort(u.Hostname(), port), cfg) {
		return false
	}
	e.date(ctx, u, cfg)
	return true
}

// date asks the server for its time: HEAD of its root, which stores nothing.
func (e *exam) date(ctx context.Context, u *url.URL, cfg *tls.Config) {
	root := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, root.String(), nil)
	if err != nil {
		return
	}
	transport := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return // the way is open; a server may be silent about its root
	}
	_ = resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		offset := e.Now().Sub(date)
		e.offset = &offset
	}
}

// serverTime compares the clock with the servers'.
func (e *exam) serverTime() {
	const check = "clock against the server"
	if e.offset == nil {
		return
	}
	switch off := *e.offset; {
	case off.Abs() > maxSkew:
		e.fail(check, setClock, "it differs by %v; AWS takes no signature beyond %v", off.Round(time.Second), maxSkew)
	case off.Abs() > 5*time.Second:
		e.warn(check, setClock, "it differs by %v, and readings carry its time", off.Round(time.Second))
	default:
		e.ok(check, "it differs by less than 5s")
	}
}

// credentials asks for the AWS credentials of an uplink that signs; it reports
// whether it has what it needs.
func (e *exam) credentials(ctx context.Context, uplink string, c *config.Credentials) bool {
	find := e.Credentials[uplink]
	if find == nil {
		return true
	}
	check, remedy := "uplink."+uplink+" credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, for the user of the gateway"
	if c.RoleAlias != "" {
		remedy = fmt.Sprintf("let the certificate's policy allow iot:AssumeRoleWithCertificate on the role alias %s", c.RoleAlias)
		if !e.provider(ctx, check, c) {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	who, err := find(ctx)
	if err != nil {
		e.fail(check, remedy, "%v", err)
		return false
	}
	e.ok(check, "%s", who)
	return true
}

// provider checks the way to IoT's credentials provider.
func (e *exam) provider(ctx context.Context, check string, c *config.Credentials) bool {
	pair, ok := e.certificate(check+" certificate", c.Cert, c.Key)
	pool, err := roots(c.CA)
	if err != nil {
		e.fail(check+" tls", "set ca to the root certificate of the server", "%v", err)
		return false
	}
	addr := c.Endpoint
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, "443")
	}
	host, _, _ := net.SplitHostPort(addr)
	return e.reach(ctx, check, addr, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: pool, Time: e.Now, Certificates: pair}) && ok
}
