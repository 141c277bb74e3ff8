// Package rest is the uplink to an HTTPS route: it POSTs each record of a queue
// as JSON in which every value is text, with an API key, or signed with
// Signature Version 4, or both, as the routes of Amazon API Gateway ask for.
//
// Records of different boards are sent side by side, those of one board one
// after the other in the order of the queue, of which few are taken ahead. A record leaves the queue only after an
// answer 2xx, or after it was written to the file of refused records because
// the server will never take it (see [judge]). Whatever else goes wrong, the
// record is tried again: with growing pauses, or when Retry-After says.
package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/web"
)

// Auth says how requests show who they are.
type Auth string

// The ways.
const (
	None         Auth = "none"
	APIKey       Auth = "api-key"     // header x-api-key
	IAM          Auth = "iam"         // Signature Version 4
	IAMAndAPIKey Auth = "iam+api-key" // both
)

func (a Auth) key() bool    { return a == APIKey || a == IAMAndAPIKey }
func (a Auth) signed() bool { return a == IAM || a == IAMAndAPIKey }

// Options configure an uplink. URL is required, and what Auth needs.
type Options struct {
	Name string // of the uplink, in logs; default "rest"
	URL  string // https, or http to this machine only
	// AllowPlain allows http to other machines: readings and API keys can then
	// be read and changed on the way.
	AllowPlain bool
	CAFile     string // the CAs that the server's certificate may come from; "" for those of the system

	Auth        Auth                    // default None
	APIKey      string                  // for api-key
	Credentials aws.CredentialsProvider // for iam; see [web.Signer]
	Region      string                  // for iam; taken from the URL of an API Gateway
	Service     string                  // for iam; default execute-api

	Workers int           // requests at the same time; default 4
	Timeout time.Duration // of one request; default 35 s, a little more than API Gateway's own 29 s

	// RefusedFile is where records go that the server will never take; "" means
	// the log only. See [uplink.Refused].
	RefusedFile string
	MinBackoff  time.Duration // first pause after a failure; default 1 s
	MaxBackoff  time.Duration // longest pause; default 1 min. A wrong URL or key is tried at a tenth of the pace
	Log         *slog.Logger  // default: discard
}

// The defaults and bounds.
const (
	defaultWorkers    = 4
	defaultTimeout    = 35 * time.Second
	defaultMinBackoff = time.Second
	defaultMaxBackoff = time.Minute
	slower            = 10          // how much slower what needs a person is tried
	farewell          = time.Second // how long requests may go on when Run ends
	aheadOfOne        = 8           // records taken ahead for each worker
	maxPendingBytes   = 4 << 20     // of records taken from the queue
	maxAhead          = 100_000     // records that others may be ahead of one that is not delivered
	maxAnswer         = 64 << 10    // bytes of an answer that are read
)

// Uplink delivers one queue.
type Uplink struct {
	o       Options
	url     *url.URL
	client  *http.Client
	signer  *web.Signer // nil when requests are not signed
	log     *slog.Logger
	state   uplink.State
	refused uplink.Refused
	acks    uplink.Acks

	delivered atomic.Uint64
}

// New checks the options; it does not connect.
func New(o Options) (*Uplink, error) {
	u := &Uplink{o: o}
	if err := u.fillIn(); err != nil {
		return nil, err
	}
	var err error
	if u.client, err = web.Client(u.o.CAFile, u.o.Workers, u.o.Timeout); err != nil {
		return nil, err
	}
	if u.o.Auth.signed() {
		u.signer = &web.Signer{Credentials: u.o.Credentials, Service: u.o.Service, Region: u.o.Region}
	}
	u.log = u.o.Log.With("uplink", u.o.Name)
	u.state.Log, u.refused.Log = u.log, u.log
	u.refused.File, u.refused.Uplink = u.o.RefusedFile, u.o.Name
	return u, nil
}

// fillIn sets what is left out, and refuses what cannot work.
func (u *Uplink) fillIn() (err error) {
	o := &u.o
	o.Name = cmp.Or(o.Name, "rest")
	o.Auth = cmp.Or(o.Auth, None)
	o.Service = cmp.Or(o.Service, "execute-api")
	o.Workers = cmp.Or(o.Workers, defaultWorkers)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.MinBackoff = cmp.Or(o.MinBackoff, defaultMinBackoff)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, defaultMaxBackoff)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if u.url, err = web.ParseURL(o.URL, o.AllowPlain); err != nil {
		return err
	}
	o.Region = cmp.Or(o.Region, RegionOf(o.URL))
	return o.checkAuth()
}

// executeAPI is the host of an API Gateway stage (API Gateway developer guide,
// "Invoke REST APIs"), also through a VPC endpoint.
var executeAPI = regexp.MustCompile(`(?:^|\.)execute-api\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?$`)

// RegionOf reads the region from the URL of an API Gateway's route; "" is none.
func RegionOf(route string) string {
	u, err := url.Parse(route)
	if err != nil {
		return ""
	}
	if m := executeAPI.FindStringSubmatch(u.Hostname()); m != nil {
		return m[1]
	}
	return ""
}

// checkAuth checks that what the way of authentication needs is there.
func (o *Options) checkAuth() error {
	switch o.Auth {
	case None, APIKey, IAM, IAMAndAPIKey:
	default:
		return fmt.Errorf("auth %q is not known: want none, api-key, iam or iam+api-key", o.Auth)
	}
	if o.Auth.key() {
		if o.APIKey == "" {
			return fmt.Errorf("auth %q needs an API key", o.Auth)
		}
		for _, c := range []byte(o.APIKey) {
			if c <= ' ' || c >= 0x7F {
				return errors.New("the API key contains a space, a line break or another character that a key never has: check where it comes from")
			}
		}
	}
	if !o.Auth.signed() {
		return nil
	}
	if o.Credentials == nil {
		return fmt.Errorf("auth %q needs AWS credentials", o.Auth)
	}
	if o.Region == "" {
		return fmt.Errorf("auth %q needs a region, which the url does not name: set it", o.Auth)
	}
	return nil
}

// Name is the uplink's name.
func (u *Uplink) Name() string { return u.o.Name }

// Status returns the state now; Connected says that the last request was
// answered as it should.
func (u *Uplink) Status() uplink.Status {
	s := u.state.Status()
	s.InFlight, s.Delivered, s.Refused = u.acks.Len(), u.delivered.Load(), u.refused.Count()
	return s
}

// Run delivers q until ctx ends, then gives requests a second to be answered
// and returns nil. Any other error is the queue's.
func (u *Uplink) Run(ctx context.Context, q uplink.Queue) error {
	u.acks.Reset()
	q.Rewind()
	d := newDelivery(ctx, u, q)
	err := d.feed()
	d.stop()
	u.client.CloseIdleConnections()
	u.state.Down()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
