// Package remote is the tables of a cluster that speaks the DynamoDB API (AWS,
// ScyllaDB Alternator) in the place of the embedded engine: [cloud.table] of
// the configuration names it.
//
//   - Calls of the API are forwarded: [Cluster.Call] signs them anew.
//   - Writes of rules are too slow for a message's acknowledgement, and the
//     cluster may be away: a [Write] is added to the outbox in the message's
//     commit, and the [Deliverer] brings it to the cluster afterwards. What is
//     acknowledged is on this machine's disk, then in the cluster; a write may
//     reach it more than once, which changes nothing, since each sets or
//     removes what its key names. Writes of one rule to one table keep their
//     order for every key.
//   - Items of REST routes are put at once: the answer to the client is the
//     cluster's.
//   - get_dynamodb and the console read from the cluster, with short time
//     limits. They do not see what still waits in the outbox.
package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Options say where a cluster is. URL and Credentials are required.
type Options struct {
	URL    string // http://HOST:PORT or https://…, without path
	Region string // that requests are signed for; default: the one in AWS's host names
	// OtherRegion is the region where neither says one; default us-east-1.
	OtherRegion string
	// Credentials sign the requests.
	Credentials func(ctx context.Context) (aws.Credentials, error)
	RootCAs     *x509.CertPool // trusted for https; default: those of the system
	Log         *slog.Logger   // default: discard
}

// Limits of calls.
const (
	callTime    = 30 * time.Second // one call, with its answer
	connectTime = 5 * time.Second
	maxAnswer   = 32 << 20 // bytes; 16 MB of items are more as JSON (DynamoDB API Reference, BatchGetItem)
)

// Cluster is a client of a cluster. Its methods are safe for concurrent use.
type Cluster struct {
	url    string // ends with a slash
	region string
	opt    Options
	log    *slog.Logger
	client *http.Client
	signer *v4.Signer

	reads   breaker
	mu      sync.Mutex // guards schemas
	schemas map[string]schema
}

// Open returns a client. It does not connect: the cluster may be away.
func Open(o Options) (*Cluster, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the cluster's URL %.200q: want http://HOST:PORT or https://HOST:PORT, without path, user and query", o.URL)
	}
	if o.Credentials == nil {
		return nil, errors.New("a cluster needs credentials")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Region == "" {
		o.Region = cmp.Or(regionOf(u.Hostname()), o.OtherRegion, "us-east-1")
	}
	dialer := &net.Dialer{Timeout: connectTime}
	return &Cluster{
		url: u.Scheme + "://" + u.Host + "/", region: o.Region, opt: o, log: o.Log, signer: v4.NewSigner(), schemas: map[string]schema{},
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTime,
				TLSClientConfig:    &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
				DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// regionOf reads the region from dynamodb.REGION.amazonaws.com; "" is none.
func regionOf(host string) string {
	labels := strings.Split(host, ".")
	if len(labels) >= 4 && labels[0] == "dynamodb" && labels[2] == "amazonaws" {
		return labels[1]
	}
	return ""
}

// URL is where the cluster is.
func (c *Cluster) URL() string { return c.url }

// Region is what calls are signed for.
func (c *Cluster) Region() string { return c.region }

// Close closes the connections that are not in use.
func (c *Cluster) Close() { c.client.CloseIdleConnections() }

// Answer is what the cluster answered to a call, also when it refused it.
type Answer struct {
	Status    int
	Body      []byte
	RequestID string
}

// Via is the value of the header Via in calls to a cluster (RFC 9110, 7.6.3): a
// mote whose cluster is itself finds the circle by it.
const Via = "1.1 mote"

// Call performs one operation, for example "PutItem", with a body in the JSON of
// the DynamoDB API. The error is an [*UnavailableError]: there is no answer.
func (c *Cluster) Call(ctx context.Context, operation string, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := c.request(ctx, operation, body)
	if err != nil {
		return Answer{}, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return Answer{}, c.noAnswer(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, c.noAnswer(err)
	case len(data) > maxAnswer:
		return Answer{}, c.noAnswer(fmt.Errorf("its answer has more than %d bytes", maxAnswer))
	}
	if sum := resp.Header.Get("X-Amz-Crc32"); sum != "" && sum != strconv.FormatUint(uint64(crc32.ChecksumIEEE(data)), 10) {
		return Answer{}, c.noAnswer(errors.New("its answer was damaged on the way: the checksum x-amz-crc32 differs"))
	}
	return Answer{Status: resp.StatusCode, Body: data, RequestID: resp.Header.Get("X-Amzn-Requestid")}, nil
}

// request makes the signed request.
func (c *Cluster) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, c.noAnswer(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	credentials, err := c.opt.Credentials(ctx)
	if err != nil {
		return nil, &UnavailableError{fmt.Errorf("there are no credentials for the tables' cluster %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE: %w", c.url, err), true}
	}
	sum := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), "dynamodb", c.region, time.Now()); err != nil {
		return nil, c.noAnswer(err)
	}
	req.Header.Set("Via", Via) // after the signature: proxies may change it
	return req, nil
}

func (c *Cluster) noAnswer(err error) error {
	if inURL, ok := errors.AsType[*url.Error](err); ok { // its text repeats the URL
		err = inURL.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return &UnavailableError{fmt.Errorf("the tables' cluster %s cannot be reached: %w", c.url, err), true}
}
