// Package dynamodb is the uplink straight into a table of DynamoDB, of AWS or of
// anything that speaks its API: a mote cloud, ScyllaDB Alternator, dynalite. It
// puts each record of a queue with BatchWriteItem, as the item that the rule
// SELECT * with the action dynamoDBv2 makes of it: text is S, a number is N with
// the digits that the board sent, and the item's key is the reading's id and
// time. A retry therefore never makes a second item.
//
// A record leaves the queue only when the table has it, or after it was written
// to the file of refused records because the table will never take it. Items
// that a batch was refused for are found by halving it, so that one that is bad
// costs only itself. Whatever else goes wrong, the records are tried again: what
// the server left unprocessed alone, with growing pauses.
//
// Up to four batches are on their way at a time; readings of different times may
// therefore come into the table in another order than they were taken.
package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/web"
)

// Options configure an uplink. Table, Region and Credentials are required;
// without Endpoint the table is in AWS's Region.
type Options struct {
	Name     string // of the uplink, in logs; default "dynamodb"
	Table    string // its keys are the text id, and the text time as sort key
	Endpoint string // https://HOST, or http to this machine only; default that of AWS
	Region   string // default: the one in AWS's host names
	CAFile   string // the CAs that the server's certificate may come from; "" for those of the system

	Credentials aws.CredentialsProvider // see [web.Signer]

	Timeout time.Duration // of one request; default 30 s

	// RefusedFile is where records go that the table will never take; "" means
	// the log only. See [uplink.Refused].
	RefusedFile string
	MinBackoff  time.Duration // first pause after a failure; default 1 s
	MaxBackoff  time.Duration // longest pause; default 1 min. What needs a person is tried at a tenth of the pace
	Log         *slog.Logger  // default: discard
}

// The defaults and bounds.
const (
	defaultTimeout    = 30 * time.Second
	defaultMinBackoff = time.Second
	defaultMaxBackoff = time.Minute
	slower            = 10                     // how much slower what needs a person is tried
	farewell          = time.Second            // how long requests may go on when Run ends
	workers           = 4                      // batches on their way
	batchItems        = 25                     // Amazon DynamoDB API Reference, "BatchWriteItem"
	batchBytes        = 1 << 20                // of one request, unless one item has more; DynamoDB takes 16 MB
	linger            = 10 * time.Millisecond  // how long a batch waits for one record more
	maxAnswer         = 8 << 20                // bytes of an answer that are read; unprocessed items come back in it
	maxAhead          = 100_000                // records that others may be ahead of one that is not delivered
	unprocessedPause  = 100 * time.Millisecond // first pause before what was left unprocessed
)

// Uplink delivers one queue.
type Uplink struct {
	o       Options
	url     *url.URL
	client  *http.Client
	signer  *web.Signer
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
	if u.client, err = web.Client(u.o.CAFile, workers, u.o.Timeout); err != nil {
		return nil, err
	}
	u.signer = &web.Signer{Credentials: u.o.Credentials, Service: "dynamodb", Region: u.o.Region}
	u.log = u.o.Log.With("uplink", u.o.Name)
	u.state.Log, u.refused.Log = u.log, u.log
	u.refused.File, u.refused.Uplink = u.o.RefusedFile, u.o.Name
	return u, nil
}

// fillIn sets what is left out, and refuses what cannot work.
func (u *Uplink) fillIn() (err error) {
	o := &u.o
	o.Name = cmp.Or(o.Name, "dynamodb")
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.MinBackoff = cmp.Or(o.MinBackoff, defaultMinBackoff)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, defaultMaxBackoff)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if !tableName.MatchString(o.Table) || len(o.Table) < 3 || len(o.Table) > 255 {
		return fmt.Errorf("table %.300q: want 3 to 255 letters, digits and _.-", o.Table)
	}
	if o.Endpoint == "" && o.Region != "" {
		o.Endpoint = Endpoint(o.Region)
	}
	if o.Endpoint == "" {
		return errors.New("a table on AWS needs its region, another its endpoint: set one of them")
	}
	if u.url, err = web.ParseURL(o.Endpoint, false); err != nil {
		return err
	}
	if u.url.Path != "/" || u.url.RawQuery != "" {
		return fmt.Errorf("endpoint %q: the DynamoDB API has no path: want %s://%s", o.Endpoint, u.url.Scheme, u.url.Host)
	}
	if o.Region = cmp.Or(o.Region, RegionOf(o.Endpoint)); o.Region == "" {
		return errors.New("signatures need a region, which the endpoint does not name: set it")
	}
	if o.Credentials == nil {
		return errors.New("a table needs AWS credentials")
	}
	return nil
}

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// Endpoint is AWS's in a region (AWS general reference, "Amazon DynamoDB
// endpoints and quotas").
func Endpoint(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "https://dynamodb." + region + ".amazonaws.com.cn"
	}
	return "https://dynamodb." + region + ".amazonaws.com"
}

// RegionOf reads the region from an endpoint of AWS; "" is none.
func RegionOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	labels := strings.Split(u.Hostname(), ".")
	if len(labels) >= 4 && labels[0] == "dynamodb" && labels[2] == "amazonaws" {
		return labels[1]
	}
	return ""
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
