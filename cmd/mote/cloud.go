//go:build !gateway

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"mote/internal/cloud"
	"mote/internal/config"
)

// stopTime is how long an ordered stop may take before connections are cut.
const stopTime = time.Second

// cloudFlags are the flags of verbs that run a cloud. They win over [cloud] in
// the configuration.
type cloudFlags struct {
	dataFlag
	MQTT        string   `name:"mqtt" help:"MQTT listener, HOST:PORT, port 0 for a free one, or off (default 127.0.0.1:8883)." placeholder:"ADDR"`
	HTTPS       string   `name:"https" help:"HTTPS listener (default 127.0.0.1:8443)." placeholder:"ADDR"`
	HTTP        string   `name:"http" help:"HTTP listener, this machine only (default 127.0.0.1:8080)." placeholder:"ADDR"`
	Plain       string   `help:"MQTT listener without TLS, MQTT as the standards say it, HOST:PORT on this machine; clients give the name and password of an account." placeholder:"ADDR"`
	Anonymous   bool     `help:"With --plain: ask clients for nothing."`
	PlainPublic bool     `name:"plain-public" help:"With --plain: permit an address beyond this machine, where all can be read on the way."`
	Host        []string `help:"Further name or address for the server certificate." placeholder:"NAME"`
}

// options joins flags and configuration.
func (f cloudFlags) options(c config.Cloud, log *slog.Logger) cloud.Options {
	chain := defaultChain()
	var roles []cloud.Role
	for _, r := range c.Roles {
		roles = append(roles, cloud.Role{ARN: r.ARN, Policy: r.Document})
	}
	return cloud.Options{
		Data:   f.Data,
		MQTT:   firstSet(f.MQTT, c.MQTT),
		HTTPS:  firstSet(f.HTTPS, c.HTTPS),
		HTTP:   firstSet(f.HTTP, c.HTTP),
		Hosts:  append(append([]string{}, c.Hosts...), f.Host...),
		Region: c.Region,
		Rates:  c.Limits == "aws",
		Log:    log,

		Listeners: f.listeners(c.Listeners),
		Actions: cloud.Actions{
			Buckets: c.Buckets, Trust: c.Trust, Lambda: c.Lambda, Credentials: chain,
		},
		Cluster: cloud.Cluster{URL: c.Table.DynamoDB, Region: c.Table.Region, Credentials: chain},
		Roles:   roles,
	}
}

// listeners are those of the configuration, and the one of --plain.
func (f cloudFlags) listeners(configured []config.Listener) (out []cloud.Listener) {
	for _, l := range configured {
		out = append(out, cloud.Listener{Address: l.Address, MQTT: l.MQTT, TLS: *l.TLS, Auth: l.Auth, Public: l.Public})
	}
	if f.Plain != "" {
		auth := "password"
		if f.Anonymous {
			auth = "anonymous"
		}
		out = append(out, cloud.Listener{Address: f.Plain, MQTT: "spec", Auth: auth, Public: f.PlainPublic})
	}
	return out
}

// checkPlain refuses flags that would change nothing.
func (f cloudFlags) checkPlain() error {
	if f.Plain == "" && (f.Anonymous || f.PlainPublic) {
		return errors.New("--anonymous and --plain-public belong to --plain ADDR")
	}
	return nil
}

// defaultChain finds the credentials of the AWS default chain when somebody
// needs them first.
func defaultChain() func(ctx context.Context) (aws.Credentials, error) {
	load := sync.OnceValues(func() (aws.Config, error) {
		return awsconfig.LoadDefaultConfig(context.Background(), awsconfig.WithLogger(logging.Nop{})) // the error says it all
	})
	return func(ctx context.Context) (aws.Credentials, error) {
		cfg, err := load()
		if err != nil {
			return aws.Credentials{}, err
		}
		creds, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			err = fmt.Errorf("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for mote: %w", err)
		}
		return creds, err
	}
}

type cloudCmd struct {
	cloudFlags
	Config string `help:"Configuration file; only its [cloud] is used here." type:"path" placeholder:"FILE" short:"c"`
}

// Run serves until Ctrl-C.
func (c cloudCmd) Run(s *session) error {
	file := &config.File{}
	if c.Config != "" {
		var err error
		if file, err = config.Load(c.Config); err != nil {
			return usageError{err}
		}
	}
	log := s.logger(slog.LevelInfo)
	options := c.options(file.Cloud, log)
	if err := errors.Join(c.checkPlain(), options.Check()); err != nil {
		return usageError{err}
	}
	running, err := cloud.Start(options)
	if err != nil {
		return err
	}
	if err := running.Announce(); err != nil {
		return stopCloud(running, err)
	}
	e := running.Endpoints()
	log.Info("cloud is ready", "mqtt", e.MQTT, "https", e.HTTPS, "http", e.HTTP, "ca", e.CA)
	select {
	case <-s.ctx.Done():
		log.Info("stopping")
		return stopCloud(running, nil)
	case err := <-running.Failed():
		return stopCloud(running, fmt.Errorf("listener ended: %w", err))
	}
}

// stopCloud stops in order and returns the first thing that went wrong.
func stopCloud(c *cloud.Cloud, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	err := c.Close(ctx)
	if cause != nil {
		return cause
	}
	return err
}
