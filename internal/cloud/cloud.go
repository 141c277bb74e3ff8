// Package cloud joins the parts of the back end into one running server: the
// store, the registry, the tables, the rules, the broker, the REST routes, the
// AWS APIs and the console, behind three listeners. It never imports the edge;
// the two halves meet on the wire.
package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/awsapi/iot"
	"mote/internal/cloud/backup"
	"mote/internal/cloud/broker"
	"mote/internal/cloud/console"
	"mote/internal/cloud/credentials"
	"mote/internal/cloud/jobs"
	"mote/internal/cloud/provisioning"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rest"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/shadow"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/remote"
	"mote/internal/endpoints"
)

// Options configure a cloud. Only Data is required.
type Options struct {
	Data   string   // directory for everything, mode 0700
	MQTT   string   // listener, HOST:PORT or "off"; default 127.0.0.1:8883
	HTTPS  string   // default 127.0.0.1:8443
	HTTP   string   // default 127.0.0.1:8080; loopback only
	Hosts  []string // further names and addresses for the server certificate
	Region string   // default us-east-1
	Rates  bool     // AWS's rates are kept, see broker.Limits
	Log    *slog.Logger

	Listeners []Listener // of MQTT, beside the one that MQTT says

	Actions Actions
	Cluster Cluster
	Roles   []Role // that may something else than the default of temporary credentials
}

// Role says what temporary credentials of a role may do.
type Role = credentials.Role

// Off turns a listener off.
const Off = "off"

// Endpoints is what a running cloud tells other programs of this machine, in
// the file endpoints.json of its data directory.
type Endpoints = endpoints.Endpoints

// Cloud is a running back end.
type Cloud struct {
	opts      Options
	log       *slog.Logger
	endpoints Endpoints

	store    *store.Store
	registry *registry.Registry
	tables   *table.DB
	cluster  *remote.Cluster // that has the tables; nil: tables has them
	rules    *rules.Engine
	shadows  *shadow.Engine
	jobs     *jobs.Engine
	devices  *provisioning.Engine
	events   *registryEvents

	credentials *credentials.Provider
	serverCert  *serverCertificate
	expiring    atomic.Pointer[[]registry.Expiring] // certificates that end soon
	actions     actions
	iot         *iot.Handler
	broker      *broker.Broker
	routes      *rest.Engine
	refusals    *refusal.Log
	console     *console.Console
	backups     *backup.Server

	servers []*http.Server
	serving sync.WaitGroup // the goroutines that serve the listeners
	failed  chan error     // the first listener that ended by itself
	streams context.CancelFunc
}

// Start opens the data directory and the listeners. Nothing is left open when
// it returns an error.
func Start(o Options) (c *Cloud, err error) {
	o.setDefaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := endpoints.Access(o.Data); err != nil {
		return nil, err
	}
	c = &Cloud{opts: o, log: o.Log, failed: make(chan error, 3), refusals: refusal.New(o.Log)}
	defer func() {
		if err != nil {
			_ = c.Close(context.Background())
			c = nil
		}
	}()
	if err := c.openEngines(); err != nil {
		return c, err
	}
	if err := c.writeFiles(); err != nil {
		return c, err
	}
	if c.backups, err = backup.Serve(o.Data, c.store, c.log); err != nil {
		return c, err
	}
	c.backups.Handle("account", c.answerAccounts)
	return c, c.listen()
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		value *string
		def   string
	}{{&o.MQTT, "127.0.0.1:8883"}, {&o.HTTPS, "127.0.0.1:8443"}, {&o.HTTP, "127.0.0.1:8080"}, {&o.Region, "us-east-1"}} {
		if *d.value == "" {
			*d.value = d.def
		}
	}
	if o.Actions.Buckets == "" {
		o.Actions.Buckets = o.buckets()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Check says whether the listeners' addresses are good, before anything is
// opened. APIs and console without TLS are for this machine only.
func (o Options) Check() error {
	for _, l := range []struct{ name, addr string }{{"mqtt", o.MQTT}, {"https", o.HTTPS}, {"http", o.HTTP}} {
		if l.addr == "" || l.addr == Off {
			continue
		}
		host, port, err := net.SplitHostPort(l.addr)
		if n, nerr := strconv.Atoi(port); err != nil || nerr != nil || n < 0 || n > 65535 {
			return fmt.Errorf("bad %s address %q: want HOST:PORT, or off", l.name, l.addr)
		}
		if ip := net.ParseIP(host); l.name == "http" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("http address %q is not on this machine: the listener without TLS is for 127.0.0.1 only, use https for the network", l.addr)
		}
	}
	for _, l := range o.Listeners {
		if err := l.Check(); err != nil {
			return err
		}
	}
	return nil
}

// openEngines opens the store and what lives in it, lowest first.
func (c *Cloud) openEngines() (err error) {
	dir, root := filepath.Join(c.opts.Data, "store"), filepath.Join(c.opts.Data, "ca.pem")
	if _, err := os.Stat(root); err == nil && !store.IsStore(dir) {
		return fmt.Errorf("the store of this cloud is missing: there is %s, and nothing in %s: restore the last good backup (mote restore), or choose another directory with --data for a new cloud", root, dir)
	}
	if c.store, err = store.Open(dir, store.Options{Log: c.log}); err != nil {
		return err
	}
	if c.registry, err = registry.Open(c.store, registry.Options{Region: c.opts.Region, Log: c.log}); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if c.tables, err = table.Open(c.store, table.Options{Log: c.log, Region: c.opts.Region, Account: c.registry.Account()}); err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	if err := c.openCluster(); err != nil {
		return err
	}
	c.shadows = shadow.New(c.store, shadow.Options{Log: c.log})
	c.openJobs()
	c.devices = provisioning.New(c.registry, c.log)
	c.credentials, err = credentials.New(c.registry, credentials.Options{Region: c.opts.Region, Roles: c.opts.Roles, Refusals: c.refusals, Log: c.log})
	if err != nil {
		return fmt.Errorf("temporary credentials: %w", err)
	}
	if err := c.openActions(); err != nil {
		return err
	}
	if err := c.openRules(); err != nil {
		return err
	}
	c.iot = iot.New(c.registry, c.rules, iot.Options{Endpoint: deviceHost(c.opts.MQTT), Destinations: c.actions.destinations, Jobs: c.jobs, Provisioning: c.devices, Fleet: found{c}, Log: c.log})
	if err := c.openBroker(); err != nil {
		return err
	}
	c.jobs.Start(c.broker.Transact)
	return c.actions.outbox.Start()
}

// Account is the account number, twelve digits.
func (c *Cloud) Account() string { return c.registry.Account() }

// Endpoints says where the listeners are.
func (c *Cloud) Endpoints() Endpoints { return c.endpoints }

// Announce writes endpoints.json: from now on other programs of this machine
// find the cloud.
func (c *Cloud) Announce() error {
	data, err := json.MarshalIndent(c.endpoints, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.announcement(), append(data, '\n'))
}

func (c *Cloud) announcement() string { return filepath.Join(c.opts.Data, endpoints.Name) }

// Failed delivers the error of a listener that ended by itself.
func (c *Cloud) Failed() <-chan error { return c.failed }

// requestsGrace is how long a stop waits for HTTP requests: a connection that
// has not sent its first one counts as such, and must not use up the time of
// the parts that come after.
const requestsGrace = 400 * time.Millisecond

// Close stops in order: no new work, then what is under way, then the store.
// It ends connections that are still open when ctx ends.
func (c *Cloud) Close(ctx context.Context) error {
	var errs []error
	if c.store != nil { // without it, the announcement is that of the cloud that has the directory
		if err := os.Remove(c.announcement()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if c.streams != nil {
		c.streams()
	}
	requests, cancel := context.WithTimeout(ctx, requestsGrace)
	defer cancel()
	for _, s := range c.servers {
		if s.Shutdown(requests) != nil {
			_ = s.Close()
		}
	}
	if c.backups != nil {
		errs = append(errs, c.backups.Close())
	}
	if c.console != nil {
		errs = append(errs, c.console.Close())
	}
	errs = append(errs, c.actions.stop(ctx)) // before the broker, into which error actions publish
	if c.jobs != nil {
		c.jobs.Close()
	}
	if c.broker != nil {
		errs = append(errs, c.broker.Close(ctx))
	}
	c.serving.Wait()
	errs = append(errs, c.actions.close())
	if c.cluster != nil {
		c.cluster.Close()
	}
	if c.tables != nil {
		errs = append(errs, c.tables.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}
