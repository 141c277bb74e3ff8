package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/destination"
	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/sink"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table/remote"
)

// Actions is what the actions of rules may reach outside the cloud.
type Actions struct {
	Buckets string            // directory of the action s3 and of exports of tables; default: buckets in the data directory
	Trust   string            // URLs that need no confirmed destination: loopback (default), all or none
	Lambda  map[string]string // function → URL that the action lambda posts to
	// Credentials sign the requests of http actions with Signature V4; nil: such
	// requests fail.
	Credentials func(ctx context.Context) (aws.Credentials, error)
}

// actions are the parts that perform what is too slow for an acknowledgement.
type actions struct {
	destinations *destination.Destinations
	outbox       *outbox.Outbox
	http         *sink.HTTPDeliverer
	lambda       *sink.LambdaDeliverer
	s3           *sink.S3Deliverer
	kafka        *sink.KafkaDeliverer
}

// openActions opens the outbox and what it delivers to. Deliveries begin with
// outbox.Start, when rules and broker can take what fails.
func (c *Cloud) openActions() (err error) {
	a := &c.actions
	o := c.opts.Actions
	a.destinations, err = destination.Open(c.store, destination.Options{
		Region: c.opts.Region, Account: c.registry.Account(), Trust: o.Trust, Base: func() string { return c.endpoints.HTTPS }, Log: c.log,
	})
	if err != nil {
		return fmt.Errorf("destinations: %w", err)
	}
	a.http = sink.NewHTTP(sink.HTTPOptions{
		Transport: sink.Transport{Control: a.destinations.DialControl}, Allow: a.destinations.Allow, Credentials: o.Credentials,
	})
	if a.lambda, err = sink.NewLambda(sink.LambdaOptions{Functions: o.Lambda}); err != nil {
		return fmt.Errorf("lambda: %w", err)
	}
	if a.s3, err = sink.NewS3(o.Buckets); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	a.kafka = sink.NewKafka(sink.KafkaOptions{Control: a.destinations.DialControl})
	deliverers := map[string]outbox.Deliverer{
		sink.KindHTTP: a.http, sink.KindLambda: a.lambda, sink.KindS3: a.s3, sink.KindKafka: a.kafka,
	}
	reserve := 0
	if c.cluster != nil {
		deliverers[remote.Kind], reserve = remote.NewDeliverer(c.cluster), rowsReserve
	}
	a.outbox, err = outbox.Open(c.store, outbox.Options{
		Deliverers: deliverers, Reserve: reserve,
		Failed: func(ctx context.Context, b *store.Batch, failures []outbox.Failure) error {
			return c.rules.GiveUp(ctx, b, failures)
		},
		Log: c.log,
	})
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

// rowsReserve is the percentage of the outbox that only rows for a cluster of
// tables may use: other actions whose destinations are away cannot stop them.
const rowsReserve = 50

// openRules opens the rules and everything that they read and act on but the
// broker, which comes after them.
func (c *Cloud) openRules() (err error) {
	options := rules.Options{
		Account: c.registry.Account(), Region: c.opts.Region, Log: c.log,
		Outbox:       c.actions.outbox,
		Publish:      func(ctx context.Context, m *message.Message) error { return c.broker.Republish(ctx, m) },
		Shadow:       c.shadows.DocumentIn,
		RegistryData: func(api, thing string) ([]byte, bool) { return c.iot.RegistryData(api, thing) },
	}
	if c.cluster != nil {
		options.Cluster = c.cluster
	}
	if c.rules, err = rules.Open(c.store, c.tables, options); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	return nil
}

// stop ends the deliveries; what is not done waits in the store.
func (a *actions) stop(ctx context.Context) error {
	if a.outbox == nil {
		return nil
	}
	err := a.outbox.Close(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil // what was cut short is performed again
	}
	return err
}

// close ends the connections, after the last delivery.
func (a *actions) close() error {
	if a.destinations != nil {
		a.destinations.Close()
	}
	if a.http != nil {
		a.http.Close()
	}
	if a.lambda != nil {
		a.lambda.Close()
	}
	if a.kafka != nil {
		a.kafka.Close()
	}
	if a.s3 != nil {
		return a.s3.Close()
	}
	return nil
}

// openBuckets opens the directory of the action s3 for an export.
func (c *Cloud) openBuckets() (*os.Root, error) { return os.OpenRoot(c.opts.Actions.Buckets) }

// buckets is the default directory of the action s3.
func (o *Options) buckets() string { return filepath.Join(o.Data, "buckets") }
