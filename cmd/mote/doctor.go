package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"mote/internal/config"
	"mote/internal/edge/doctor"
	"mote/internal/edge/uplink/dynamodb"
)

type doctorCmd struct {
	Config  string `help:"Configuration file; default: mote.toml in this directory." type:"path" default:"mote.toml" placeholder:"FILE" short:"c"`
	JSON    bool   `name:"json" help:"One JSON array of objects with level, check, text and remedy."`
	Publish bool   `help:"Send a reading of a board called doctor through each uplink: it proves policy, route, key and signature, and lands in your table."`
}

// Run prints what the gateway of the configuration has and what it lacks. It
// changes nothing, unless it is asked to publish.
func (c doctorCmd) Run(s *session) error {
	results := c.examine(s)
	if err := c.print(s, results); err != nil {
		return err
	}
	if !doctor.Healthy(results) {
		return exitStatus(1)
	}
	return nil
}

func (c doctorCmd) examine(s *session) []doctor.Result {
	const check = "configuration"
	file, err := config.Load(c.Config)
	if err != nil {
		return []doctor.Result{{Level: doctor.Fail, Check: check, Text: err.Error(), Remedy: "correct the file, or name another with --config"}}
	}
	if file.Gateway == nil {
		return []doctor.Result{{Level: doctor.Fail, Check: check, Text: c.Config + " has no [gateway]", Remedy: "give it a name: [gateway] name = \"…\""}}
	}
	first := doctor.Result{Level: doctor.OK, Check: check, Text: c.Config + " is good"}
	if _, err := newGateway(s.ctx, file, s.logger(slog.LevelError)); err != nil {
		first = doctor.Result{Level: doctor.Fail, Check: check, Text: err.Error(), Remedy: "correct " + c.Config}
	}
	if u := file.Uplink.DynamoDB; u != nil && u.Endpoint == "" {
		u.Endpoint = dynamodb.Endpoint(tableRegion(s.ctx, u))
	}
	o := doctor.Options{Credentials: credentialChecks(file), Left: leftBehind(c.Config, file.Gateway.Spool.Dir)}
	results := []doctor.Result{first}
	if c.Publish {
		dir, err := os.MkdirTemp("", "mote-doctor")
		if err != nil {
			results = append(results, doctor.Result{Level: doctor.Fail, Check: "publish", Text: err.Error(), Remedy: "set TMPDIR to a directory that can be written"})
		} else {
			defer os.RemoveAll(dir)
			o.Publish = trials(file, dir)
		}
	}
	return append(results, doctor.Examine(s.ctx, file, o)...)
}

// tableRegion is the region of a table whose endpoint is not given.
func tableRegion(ctx context.Context, u *config.UplinkDynamoDB) string {
	if u.Region != "" {
		return u.Region
	}
	_, region, _ := credentials(ctx, &u.Credentials) // without one the configuration is refused
	return region
}

// credentialChecks find the credentials of the uplinks that sign.
func credentialChecks(file *config.File) map[string]func(context.Context) (string, error) {
	checks := map[string]func(context.Context) (string, error){}
	if u := file.Uplink.REST; u != nil && strings.Contains(u.Auth, "iam") {
		checks["rest"] = func(ctx context.Context) (string, error) { return foundCredentials(ctx, &u.Credentials) }
	}
	if u := file.Uplink.DynamoDB; u != nil {
		checks["dynamodb"] = func(ctx context.Context) (string, error) { return foundCredentials(ctx, &u.Credentials) }
	}
	return checks
}

func foundCredentials(ctx context.Context, c *config.Credentials) (string, error) {
	provider, _, err := credentials(ctx, c)
	if err != nil {
		return "", err
	}
	creds, err := provider.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("access key %s from %s", creds.AccessKeyID, creds.Source), nil
}

func (c doctorCmd) print(s *session, results []doctor.Result) error {
	if c.JSON {
		data, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.stdout, "%s\n", data)
		return err
	}
	for _, r := range results {
		text := fmt.Sprintf("%-5s %s: %s\n", r.Level, r.Check, strings.ReplaceAll(r.Text, "\n", "\n      "))
		if r.Remedy != "" {
			text += "      remedy: " + r.Remedy + "\n"
		}
		if _, err := fmt.Fprint(s.stdout, text); err != nil {
			return err
		}
	}
	return nil
}
