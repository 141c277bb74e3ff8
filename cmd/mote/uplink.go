package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"mote/internal/config"
	"mote/internal/edge/control"
	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/dynamodb"
	"mote/internal/edge/uplink/failover"
	"mote/internal/edge/uplink/iotcore"
	"mote/internal/edge/uplink/rest"
	"mote/internal/edge/uplink/rolealias"
	"mote/internal/mqtt"
)

// sender is an uplink of any kind.
type sender interface {
	Name() string
	Run(ctx context.Context, q uplink.Queue) error
	Status() uplink.Status
}

// addUplinks makes the uplinks of file; one that old has made of the same is
// taken.
func (g *gateway) addUplinks(ctx context.Context, old *gateway, file *config.File) error {
	g.made.kinds = map[string]sender{}
	if len(file.Uplink.Failover)+len(old.made.uplink.Failover) > 0 {
		old = &gateway{work: g.work} // the group of before may still be delivering through its members
	}
	if u := file.Uplink.IoT; u != nil {
		if err := g.steer(old, file.Gateway.Thing); err != nil {
			return fmt.Errorf("gateway.thing: %w", err)
		}
		same := g.control == old.control && reflect.DeepEqual(old.made.uplink.IoT, u)
		err := g.add(old, "iot", same, func() (sender, error) { return newIoT(u, g.refused("iot"), g.control, g.log) })
		if err != nil {
			return err
		}
	}
	if u := file.Uplink.REST; u != nil {
		same := reflect.DeepEqual(old.made.uplink.REST, u)
		if err := g.add(old, "rest", same, func() (sender, error) { return newREST(ctx, u, g.refused("rest"), g.log) }); err != nil {
			return err
		}
	}
	if u := file.Uplink.DynamoDB; u != nil {
		same := reflect.DeepEqual(old.made.uplink.DynamoDB, u)
		if err := g.add(old, "dynamodb", same, func() (sender, error) { return newDynamoDB(ctx, u, g.refused("dynamodb"), g.log) }); err != nil {
			return err
		}
	}
	return g.joinUplinks(&file.Uplink)
}

// joinUplinks lets those that failover names share one place in the spool.
func (g *gateway) joinUplinks(u *config.Uplinks) error {
	if len(u.Failover) == 0 {
		return nil
	}
	o := failover.Options{After: u.FailoverAfter, Log: g.log}
	for _, name := range u.Failover {
		i := slices.IndexFunc(g.uplinks, func(s sender) bool { return s.Name() == name })
		o.Uplinks = append(o.Uplinks, g.uplinks[i]) // the configuration was checked
		g.uplinks = slices.Delete(g.uplinks, i, i+1)
	}
	group, err := failover.New(o)
	if err != nil {
		return fmt.Errorf("uplink.failover: %w", err)
	}
	g.uplinks = append(g.uplinks, group)
	return nil
}

// add makes an uplink, or takes the one of before when it is made of the same.
func (g *gateway) add(old *gateway, kind string, same bool, make func() (sender, error)) error {
	up, ok := old.made.kinds[kind]
	if !ok || !same {
		var err error
		if up, err = make(); err != nil {
			return fmt.Errorf("uplink.%s: %w", kind, err)
		}
	}
	g.uplinks = append(g.uplinks, up)
	g.made.kinds[kind] = up
	return nil
}

// steer lets the shadows of things steer the boards.
func (g *gateway) steer(old *gateway, thing string) (err error) {
	if thing == "off" {
		return nil
	}
	if old.control != nil && old.made.thing == thing {
		g.control = old.control
		return nil
	}
	work := g.work
	g.control, err = control.New(control.Options{Thing: thing, Log: g.log, Command: func(board string, rate time.Duration) bool {
		e := work.edge.Load()
		return e != nil && e.Command(board, rate)
	}})
	return err
}

// refused is the file for readings that the uplink's server will never take.
func (g *gateway) refused(uplink string) string {
	return filepath.Join(g.spool.Dir, "refused-"+uplink+".jsonl")
}

func newIoT(u *config.UplinkIoT, refused string, steering *control.Control, log *slog.Logger) (sender, error) {
	o := iotcore.Options{
		Endpoint: u.Endpoint, ClientID: u.ClientID, Topic: u.Topic, Version: mqtt.V5,
		Files: iotcore.Files{Cert: u.Cert, Key: u.Key, CA: u.CA},
		Rate:  u.MaxRate, RefusedFile: refused, Log: log,
		Renewal: iotcore.Renewal{Template: u.Renew.Template, Before: u.Renew.BeforeEnd, Parameters: u.Renew.Parameters},
	}
	if u.MQTT == "3.1.1" {
		o.Version = mqtt.V311
	}
	if steering != nil {
		o.Control = steering
	}
	return iotcore.New(o)
}

func newREST(ctx context.Context, u *config.UplinkREST, refused string, log *slog.Logger) (sender, error) {
	o := rest.Options{URL: u.URL, Auth: rest.Auth(u.Auth), CAFile: u.CA, RefusedFile: refused, Log: log}
	if strings.Contains(u.Auth, "api-key") {
		key, err := apiKey(u.APIKeyFile)
		if err != nil {
			return nil, err
		}
		o.APIKey = key
	}
	if strings.Contains(u.Auth, "iam") {
		creds, region, err := credentials(ctx, &u.Credentials)
		if err != nil {
			return nil, err
		}
		o.Credentials = creds
		if o.Region = firstSet(u.Region, firstSet(rest.RegionOf(u.URL), region)); o.Region == "" {
			return nil, errors.New("auth \"iam\" needs a region: set region here, or AWS_REGION in the environment")
		}
	}
	return rest.New(o)
}

func newDynamoDB(ctx context.Context, u *config.UplinkDynamoDB, refused string, log *slog.Logger) (sender, error) {
	creds, region, err := credentials(ctx, &u.Credentials)
	if err != nil {
		return nil, err
	}
	o := dynamodb.Options{Table: u.Table, Endpoint: u.Endpoint, CAFile: u.CA, Credentials: creds, RefusedFile: refused, Log: log}
	if o.Region = firstSet(u.Region, firstSet(dynamodb.RegionOf(u.Endpoint), region)); o.Region == "" {
		return nil, errors.New("a table needs a region: set region here, or AWS_REGION in the environment")
	}
	return dynamodb.New(o)
}

// credentials are those that c says, and the region that the AWS default chain
// names, or "".
func credentials(ctx context.Context, c *config.Credentials) (aws.CredentialsProvider, string, error) {
	if c.RoleAlias != "" {
		p, err := rolealias.New(rolealias.Options{Endpoint: c.Endpoint, RoleAlias: c.RoleAlias, Thing: c.Thing, Cert: c.Cert, Key: c.Key, CA: c.CA})
		if err != nil {
			return nil, "", fmt.Errorf("credentials: %w", err)
		}
		return p, firstSet(regionOfProvider(c.Endpoint), os.Getenv("AWS_REGION")), nil
	}
	var options []func(*awsconfig.LoadOptions) error
	if c.Profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(c.Profile))
	}
	chain, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, "", fmt.Errorf("AWS credentials: %w", err)
	}
	return chain.Credentials, chain.Region, nil
}

// apiKey is the key from the environment or else from the file.
func apiKey(file string) (string, error) {
	if key := os.Getenv("AWS_API_KEY"); key != "" {
		return key, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(data))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", fmt.Errorf("%s: want one line with the API key", file)
	}
	return key, nil
}

// regionOfProvider finds the region in an endpoint of IoT's credentials
// provider: ID.credentials.iot.REGION.amazonaws.com.
func regionOfProvider(endpoint string) string {
	labels := strings.Split(endpoint, ".")
	if len(labels) >= 6 && labels[1] == "credentials" && labels[2] == "iot" {
		return labels[3]
	}
	return ""
}
