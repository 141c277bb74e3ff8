// Package rolealias gets temporary AWS credentials with a device's certificate
// from the credentials provider of AWS IoT Core (AWS IoT developer guide,
// "Authorizing direct calls to AWS services using AWS IoT Core credential
// provider"), so that no long-lived key lies on the gateway.
//
// They are fetched again some minutes before they end; while that fails, those
// at hand are used as long as they are good, and tries have growing pauses. How
// long they are good is counted from the server's date, so that a wrong clock of
// this machine does not matter. The certificate is read for each fetch.
package rolealias

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/web"
)

// Options say where the credentials are. All but Thing and CA are required.
type Options struct {
	Endpoint  string // host or host:port, as aws iot describe-endpoint --endpoint-type iot:CredentialProvider prints it
	RoleAlias string
	Thing     string // the thing that the certificate is attached to, for policy variables; "" sends none
	Cert, Key string // PEM files
	CA        string // PEM file of the CAs that the server's certificate may come from; "" for those of the system
}

// Bounds.
const (
	timeout    = 20 * time.Second // of one fetch
	early      = 5 * time.Minute  // before the end, when credentials are fetched again
	maxAnswer  = 64 << 10
	minBackoff = time.Second
	maxBackoff = 5 * time.Minute
)

// alpn says that the client has a certificate (AWS IoT developer guide, "Device
// communication protocols"). A server that does not know it speaks http/1.1; one
// that serves browsers on the same port asks nobody else for a certificate.
const alpn = "x-amzn-http-ca"

// Provider gives credentials, and remembers them. It is an
// aws.CredentialsProvider.
type Provider struct {
	o   Options
	url *url.URL

	turn    chan struct{}   // holds one token; who has it owns the fields below
	creds   aws.Credentials // the last ones; empty when there are none
	fetched time.Time
	failure error     // of the last fetch, or nil
	until   time.Time // no fetch before
	backoff uplink.Backoff
}

var aliasName = regexp.MustCompile(`^[\w=,@-]+$`)

// New checks the options and the files; it does not connect.
func New(o Options) (*Provider, error) {
	if !aliasName.MatchString(o.RoleAlias) || len(o.RoleAlias) > 128 {
		return nil, fmt.Errorf("role alias %.140q: want 1 to 128 letters, digits and _=,@-", o.RoleAlias)
	}
	if o.Endpoint == "" || strings.ContainsAny(o.Endpoint, "/@?# ") {
		return nil, fmt.Errorf("endpoint %q: want host or host:port, as aws iot describe-endpoint --endpoint-type iot:CredentialProvider prints it", o.Endpoint)
	}
	u, err := url.Parse("https://" + o.Endpoint + "/role-aliases/" + url.PathEscape(o.RoleAlias) + "/credentials")
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: want host or host:port", o.Endpoint)
	}
	p := &Provider{o: o, url: u, turn: make(chan struct{}, 1), backoff: uplink.Backoff{Min: minBackoff, Max: maxBackoff}}
	if _, err := p.client(); err != nil {
		return nil, err
	}
	return p, nil
}

// client makes a client with the certificate as it is now.
func (p *Provider) client() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(p.o.Cert, p.o.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", p.o.Cert, p.o.Key, err)
	}
	c, err := web.Client(p.o.CA, 1, timeout)
	if err != nil {
		return nil, err
	}
	t := c.Transport.(web.Transport)
	t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	t.TLSClientConfig.NextProtos = []string{alpn, "http/1.1"}
	t.DisableKeepAlives = true // the next fetch is an hour away, and may have another certificate
	return c, nil
}

// Retrieve returns credentials that are good, fetching them when it must.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	now := time.Now()
	if p.creds.HasKeys() && now.Before(p.renewal()) {
		return p.creds, nil
	}
	if !now.Before(p.until) {
		p.fetch(ctx)
	}
	if p.creds.HasKeys() && time.Now().Before(p.creds.Expires) {
		return p.creds, nil
	}
	return aws.Credentials{}, cmp.Or(p.failure, errEnded)
}

var errEnded = errors.New("the role's credentials ended")

// renewal is when the credentials are fetched again.
func (p *Provider) renewal() time.Time {
	return p.creds.Expires.Add(-min(early, p.creds.Expires.Sub(p.fetched)/4))
}

// Invalidate forgets the credentials: a server says that they are not good.
func (p *Provider) Invalidate() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if time.Since(p.fetched) > minBackoff { // otherwise they are newer than the complaint
		p.creds = aws.Credentials{}
	}
}

// fetch asks for credentials, and keeps the old ones when it fails.
func (p *Provider) fetch(ctx context.Context) {
	creds, err := p.get(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.until = time.Now().Add(p.backoff.Next())
		}
		p.failure = fmt.Errorf("credentials of role alias %s from %s: %w", p.o.RoleAlias, p.url.Host, err)
		return
	}
	p.creds, p.fetched, p.failure, p.until = creds, time.Now(), nil, time.Time{}
	p.backoff.Reset()
}

func (p *Provider) get(ctx context.Context) (aws.Credentials, error) {
	client, err := p.client()
	if err != nil {
		return aws.Credentials{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url.String(), nil)
	if err != nil {
		return aws.Credentials{}, err
	}
	req.Header.Set("User-Agent", "mote")
	if p.o.Thing != "" {
		req.Header.Set("X-Amzn-Iot-Thingname", p.o.Thing)
	}
	resp, err := client.Do(req)
	if err != nil {
		return aws.Credentials{}, explain(web.NoAnswer(err, http.MethodGet, p.url, timeout))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return aws.Credentials{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return aws.Credentials{}, refusal(resp, text, p.o.Thing)
	}
	return parse(text, resp.Header, time.Now())
}

// explain adds what to do to an alert of the server, whose type crypto/tls does
// not export.
func explain(err error) error {
	if strings.Contains(err.Error(), "remote error: tls: ") {
		return fmt.Errorf("%w: check that the certificate is registered, active and not expired", err)
	}
	return err
}

// refusal says what an answer without credentials means.
func refusal(resp *http.Response, text []byte, thing string) error {
	err := fmt.Errorf("the server answered %d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), web.Said(text))
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("%w: the certificate must be active and attached to thing %q, its policy allow iot:AssumeRoleWithCertificate on the role alias, "+
			"and the role trust credentials.iot.amazonaws.com", err, thing)
	case http.StatusNotFound:
		return fmt.Errorf("%w: make the role alias, or correct role_alias and the region in the endpoint", err)
	}
	return err
}

// parse reads an answer that came at now by this machine's clock.
func parse(text []byte, h http.Header, now time.Time) (aws.Credentials, error) {
	var a struct {
		Credentials struct {
			AccessKeyID     string
			SecretAccessKey string
			SessionToken    string
			Expiration      time.Time
		}
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return aws.Credentials{}, errors.New("the answer is not that of a credentials provider: check the endpoint")
	}
	c := a.Credentials
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.Expiration.IsZero() {
		return aws.Credentials{}, errors.New("the answer holds no credentials: check the endpoint")
	}
	date := now
	if d, err := http.ParseTime(h.Get("Date")); err == nil {
		date = d
	}
	left := c.Expiration.Sub(date)
	if left <= 0 {
		return aws.Credentials{}, errors.New("the credentials in the answer have ended already: check the clocks")
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		Source: "role alias", CanExpire: true, Expires: now.Add(left),
	}, nil
}
