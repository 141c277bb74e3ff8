// Package provision makes what a mote.toml describes: policies, role
// aliases, things with their certificates, tables, topic rules and REST routes. It speaks only AWS
// APIs (AWS IoT, DynamoDB, API Gateway), so that the same file works against
// mote's own cloud and against AWS. Everything that is there already, as
// described, is left alone: [Apply] may run at every start.
package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigateway"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/smithy-go"

	"mote/internal/config"
)

// Options say where and how to provision.
type Options struct {
	AWS       aws.Config // credentials, region, base endpoint
	ThingsDir string     // certificates and keys are kept in ThingsDir/<name>/{cert,key}.pem
	APIKeys   string     // the API key for routes that need one is kept in this file
	Log       *slog.Logger
}

// Apply makes everything that f describes and that is not there yet. It stops
// at the first failure, whose error names the resource; a second run goes on.
func Apply(ctx context.Context, f *config.File, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &applier{
		Options: o,
		iot:     iot.NewFromConfig(o.AWS),
		ddb:     dynamodb.NewFromConfig(o.AWS),
		api:     apigateway.NewFromConfig(o.AWS),
	}
	for _, p := range f.Policies {
		if err := a.policy(ctx, p); err != nil {
			return fmt.Errorf("policy %s: %w", p.Name, err)
		}
	}
	for _, r := range f.RoleAliases {
		if err := a.roleAlias(ctx, r); err != nil {
			return fmt.Errorf("role alias %s: %w", r.Name, err)
		}
	}
	for _, t := range f.Things {
		if err := a.thing(ctx, t); err != nil {
			return fmt.Errorf("thing %s: %w", t.Name, err)
		}
	}
	for _, t := range f.Tables {
		if err := a.table(ctx, t); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	for _, r := range f.Rules {
		if err := a.rule(ctx, r); err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
	}
	if err := a.routes(ctx, f.Routes); err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	return nil
}

// applier carries the clients of one Apply. Their paginators and waiters are
// not used: a client that becomes an interface keeps all its operations in the
// binary, some megabytes each.
type applier struct {
	Options
	iot *iot.Client
	ddb *dynamodb.Client
	api *apigateway.Client
}

// made says that a resource was not there and is now.
func (a *applier) made(kind, name string) { a.Log.Info("made", "kind", kind, "name", name) }

// hasCode says whether err is an AWS error of one of the codes.
func hasCode(err error, codes ...string) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, c := range codes {
		if api.ErrorCode() == c {
			return true
		}
	}
	return false
}
