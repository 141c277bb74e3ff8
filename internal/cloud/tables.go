package cloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/awsapi/dynamodb"
	"mote/internal/cloud/console"
	"mote/internal/cloud/rest"
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/remote"
)

// Cluster says where the tables are, when they are not in the data directory.
type Cluster struct {
	URL    string // of a cluster that speaks the DynamoDB API; "": the embedded engine
	Region string // that calls are signed for; default: the one in AWS's host names, else the cloud's
	// Credentials sign the calls.
	Credentials func(ctx context.Context) (aws.Credentials, error)
}

// openCluster makes the client of the cluster that has the tables, if one has.
func (c *Cloud) openCluster() (err error) {
	o := c.opts.Cluster
	if o.URL == "" {
		return nil
	}
	c.cluster, err = remote.Open(remote.Options{URL: o.URL, Region: o.Region, OtherRegion: c.opts.Region, Credentials: o.Credentials, Log: c.log})
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	c.log.Info("the tables are on a cluster", "url", c.cluster.URL(), "region", c.cluster.Region())
	if names, _ := c.tables.List("", 100); len(names) > 0 {
		c.log.Warn("the tables of the data directory are not used while a cluster has the tables; docs/aws.md says how to copy them", "tables", names)
	}
	return nil
}

// TablesAway returns why the cluster that has the tables gives no answer; nil
// when it does, and when the embedded engine has them.
func (c *Cloud) TablesAway(ctx context.Context) error {
	if c.cluster == nil {
		return nil
	}
	_, err := c.cluster.Call(ctx, "ListTables", []byte(`{"Limit":1}`))
	return err
}

// HasRules says whether any rule is stored, as it is after a first set-up.
func (c *Cloud) HasRules() bool { return len(c.rules.List()) > 0 }

// dynamoDB serves the DynamoDB API.
func (c *Cloud) dynamoDB() awsapi.Service {
	o := dynamodb.Options{Region: c.opts.Region, Log: c.log, Buckets: c.openBuckets}
	if c.cluster != nil {
		return dynamodb.NewForward(c.cluster, o)
	}
	return dynamodb.New(c.tables, o)
}

// readable is what the console reads.
func (c *Cloud) readable() console.Tables {
	if c.cluster != nil {
		return c.cluster
	}
	return c.tables
}

// items is where REST routes put items.
func (c *Cloud) items() rest.Items {
	if c.cluster != nil {
		return clusterItems{c.cluster}
	}
	return items{c.tables}
}

// items lets REST routes put items into tables.
type items struct{ db *table.DB }

// PutDurable puts one item; PutItem returns when it is on disk.
func (i items) PutDurable(_ context.Context, tableName string, item table.Item) error {
	_, err := i.db.PutItem(table.PutRequest{Table: tableName, Item: item})
	return err
}

// clusterItems lets REST routes put items into the tables of a cluster: the
// client gets its answer.
type clusterItems struct{ cluster *remote.Cluster }

// PutDurable puts one item, and returns when the cluster has it.
func (i clusterItems) PutDurable(ctx context.Context, tableName string, item table.Item) error {
	err := i.cluster.PutDurable(ctx, tableName, item)
	if _, ok := errors.AsType[*remote.UnavailableError](err); ok {
		return fmt.Errorf("%w: %w", rest.ErrUnavailable, err)
	}
	return err
}
