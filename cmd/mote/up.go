//go:build !gateway

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mote/internal/cloud"
	"mote/internal/config"
	"mote/internal/provision"
)

// upToml is what mote up makes and runs when it gets no --config.
//
//go:embed up.toml
var upToml []byte

type upCmd struct {
	cloudFlags
	Config string `help:"Make and run what this file says instead of the built-in one." type:"path" placeholder:"FILE" short:"c"`
}

// Run starts the cloud, makes what the configuration describes, starts the
// gateway, and goes on until Ctrl-C.
func (c upCmd) Run(s *session) error {
	file, err := c.load()
	if err != nil {
		return usageError{err}
	}
	log := s.logger(slog.LevelWarn)
	options := c.options(file.Cloud, log)
	if err := errors.Join(c.checkPlain(), options.Check(), checkGateway(s.ctx, file, log)); err != nil {
		return usageError{err}
	}
	running, err := cloud.Start(options)
	if err != nil {
		return err
	}
	g, err := c.prepare(s, running, file, log)
	if err != nil && s.ctx.Err() != nil {
		fmt.Fprintln(s.stderr, "stopping") // Ctrl-C came first; the next start goes on with what is made
		return stopCloud(running, nil)
	}
	if err != nil {
		return stopCloud(running, err)
	}
	if err := greet(s, c.Data, running.Endpoints(), file); err != nil {
		return stopCloud(running, err)
	}
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	ended := make(chan error, 1)
	if g != nil {
		go func() { ended <- g.run(ctx, nil) }()
	}
	select {
	case <-s.ctx.Done():
		fmt.Fprintln(s.stderr, "stopping")
	case err = <-ended:
		return stopCloud(running, fmt.Errorf("gateway ended: %w", err))
	case err = <-running.Failed():
		err = fmt.Errorf("listener ended: %w", err)
	}
	// The gateway first: what its boards said last still reaches the table.
	stop()
	if g != nil {
		err = errors.Join(err, <-ended)
	}
	return stopCloud(running, err)
}

func (c upCmd) load() (*config.File, error) {
	if c.Config != "" {
		return config.Load(c.Config)
	}
	return config.Parse("built-in mote.toml", c.Data, upToml)
}

// checkGateway finds what is wrong with the gateway before anything starts. Its
// uplink is left out when it is the cloud beside it, which is not there yet.
func checkGateway(ctx context.Context, file *config.File, log *slog.Logger) error {
	if file.Gateway == nil {
		return nil
	}
	if !file.Uplink.None() {
		_, err := newGateway(ctx, file, log)
		return err
	}
	for i := range file.Sources {
		if _, err := newLines(&file.Sources[i], file.Gateway.Name); err != nil {
			return fmt.Errorf("source %d: %w", i+1, err)
		}
	}
	return nil
}

// prepare makes the resources through the cloud's own APIs and the gateway,
// which is nil when the configuration has none, and announces the cloud.
func (c upCmd) prepare(s *session, running *cloud.Cloud, file *config.File, log *slog.Logger) (*gateway, error) {
	e := running.Endpoints()
	cfg, err := localAWS(s.ctx, c.Data, &e)
	if err != nil {
		return nil, err
	}
	things := filepath.Join(c.Data, "things")
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	made, err := withoutAway(ctx, running, file, log)
	if err != nil {
		return nil, err
	}
	if err := provision.Apply(ctx, made, provision.Options{AWS: cfg, ThingsDir: things, APIKeys: e.APIKeyFile, Log: log}); err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	if err := running.Announce(); err != nil {
		return nil, err
	}
	if file.Gateway == nil {
		return nil, nil
	}
	if file.Uplink.None() {
		if file.Uplink.IoT, err = c.localUplink(file.Gateway.Name, things, e); err != nil {
			return nil, err
		}
	}
	return newGateway(s.ctx, file, log)
}

// withoutAway returns what can be made now: while the cluster that has the tables
// is away, all but these, unless it is the first time. A later start goes on.
func withoutAway(ctx context.Context, running *cloud.Cloud, file *config.File, log *slog.Logger) (*config.File, error) {
	away := running.TablesAway(ctx)
	if away == nil {
		return file, nil
	}
	if !running.HasRules() { // their rows would come before their tables
		return nil, fmt.Errorf("set up: the tables cannot be made: %w: start it, or correct dynamodb in [cloud.table]", away)
	}
	log.Warn("the tables' cluster does not answer: rows wait for it, and tables are looked at when mote starts again", "err", away)
	made := *file
	made.Tables = nil
	return &made, nil
}

// localUplink carries the readings to the cloud that runs beside the gateway.
func (c upCmd) localUplink(name, things string, e cloud.Endpoints) (*config.UplinkIoT, error) {
	if e.MQTT == "" {
		return nil, errors.New("the gateway has no [uplink] and the mqtt listener is off: turn it on, or name an uplink")
	}
	_, port, err := net.SplitHostPort(e.MQTT)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(things, name)
	return &config.UplinkIoT{
		Endpoint: net.JoinHostPort("localhost", port), ClientID: name, Topic: "sensors/{id}/air", MQTT: "5",
		Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: e.CA,
	}, nil
}

// greet says where everything is.
func greet(s *session, data string, e cloud.Endpoints, file *config.File) error {
	flag := ""
	if data != defaultData() {
		flag = " --data " + shellQuote(data)
	}
	table := "TABLE"
	if len(file.Tables) > 0 {
		table = file.Tables[0].Name
	}
	self := os.Args[0] // as it was typed, so that the commands work when pasted
	if strings.ContainsAny(self, " '$") {
		self = shellQuote(self)
	}
	_, err := fmt.Fprintf(s.stdout, `mote is up; Ctrl-C stops it
  console  %s
  mqtt     %s   https  %s
  data     %s
try
  %[5]s query %[6]s --since 1h%[7]s
  %[5]s sub 'sensors/+/air'%[7]s
  eval "$(%[5]s env%[7]s)" && aws --endpoint-url %[1]s dynamodb scan --table-name %[6]s --max-items 5
`, e.HTTP, e.MQTT, e.HTTPS, data, self, table, flag)
	return err
}
