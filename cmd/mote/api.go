//go:build !gateway

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"mote/internal/endpoints"
)

// apiFlags choose the AWS APIs that a tool calls: the running cloud's by
// default, AWS's own with --aws.
type apiFlags struct {
	dataFlag
	AWS         bool   `name:"aws" help:"Use AWS itself, with the credentials and region of the AWS default chain."`
	EndpointURL string `name:"endpoint-url" help:"Use the AWS APIs at this URL, with the AWS default chain." placeholder:"URL"`
}

// config returns the SDK configuration for the chosen APIs.
func (f apiFlags) config(ctx context.Context) (aws.Config, error) {
	if f.AWS || f.EndpointURL != "" {
		var opts []func(*awsconfig.LoadOptions) error
		if f.EndpointURL != "" {
			opts = append(opts, awsconfig.WithBaseEndpoint(f.EndpointURL))
		}
		return awsconfig.LoadDefaultConfig(ctx, opts...)
	}
	e, err := f.endpoints()
	if err != nil {
		return aws.Config{}, err
	}
	return localAWS(ctx, f.Data, e)
}

// localAWS is the SDK configuration for the cloud that wrote e, with the
// credentials in its data directory.
func localAWS(ctx context.Context, data string, e *endpoints.Endpoints) (aws.Config, error) {
	if e.HTTP == "" {
		return aws.Config{}, errors.New("the cloud runs without its http listener: start it with --http, or use --endpoint-url")
	}
	credentials := filepath.Join(data, "credentials")
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, "default", func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{credentials}, []string{}
	})
	if err != nil {
		return aws.Config{}, fmt.Errorf("read the cloud's access key: %w", err)
	}
	return aws.Config{
		Region:       e.Region,
		BaseEndpoint: aws.String(e.HTTP),
		Credentials:  aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return profile.Credentials, nil }),
	}, nil
}
