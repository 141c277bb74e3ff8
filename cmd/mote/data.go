package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"mote/internal/cloud"
)

// defaultData is where the cloud of this user keeps everything.
func defaultData() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "mote")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "mote-data" // no home: beside where mote was started
	}
	return filepath.Join(home, ".local", "state", "mote")
}

// dataFlag finds the cloud of this machine.
type dataFlag struct {
	Data string `help:"Data directory of the cloud." default:"${data}" type:"path" placeholder:"DIR" env:"MOTE_DATA"`
}

// endpoints reads what the running cloud has written about itself.
func (d dataFlag) endpoints() (*cloud.Endpoints, error) {
	path := filepath.Join(d.Data, "endpoints.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no cloud is running with the data directory %s: start one with mote up, or name it with --data", d.Data)
	}
	if err != nil {
		return nil, err
	}
	e := &cloud.Endpoints{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if errors.Is(syscall.Kill(e.PID, 0), syscall.ESRCH) {
		return nil, fmt.Errorf("the cloud of %s is not running any more: start it again with mote up or mote cloud", d.Data)
	}
	return e, nil
}

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
func localAWS(ctx context.Context, data string, e *cloud.Endpoints) (aws.Config, error) {
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
