//go:build !gateway

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// rowFlags choose rows of a table.
type rowFlags struct {
	apiFlags
	Table string   `arg:"" help:"Name of the table."`
	Index string   `help:"Read through this secondary index." placeholder:"NAME"`
	Key   string   `help:"Rows of one partition, for example id=1." placeholder:"NAME=VALUE"`
	Range string   `help:"Condition on the range key (with --key): time>=2026-11-22, time^=2026-11 for a beginning." placeholder:"CONDITION"`
	Since string   `help:"Rows whose range key, a time, is not older than this: 1h, or 2026-11-22T10:00:00Z." placeholder:"AGE|TIME"`
	Until string   `help:"Rows whose range key, a time, is not newer than this." placeholder:"AGE|TIME"`
	Where []string `help:"Condition on another attribute: dust>35, place=roof, place^=ro (begins), place*=oo (contains), dust (is there), !dust. Repeat for more." sep:"none" placeholder:"CONDITION"`
}

// queryCmd prints rows of a table, from the cloud of this machine or from AWS.
type queryCmd struct {
	rowFlags
	Columns []string `help:"Only these attributes." placeholder:"NAME"`
	Limit   int      `help:"At most this many rows; 0: all." default:"0"`
	Newest  bool     `help:"The newest rows first (with --key)."`
	Count   bool     `help:"Print only how many rows there are."`
	Plot    string   `help:"Draw this attribute over the range key instead of printing rows." placeholder:"NAME"`
	Output  string   `help:"table, json (one array) or csv." enum:"table,json,csv" default:"table" short:"o"`
}

// printer takes the rows of a query as they come.
type printer interface {
	write(items []map[string]types.AttributeValue) error
	close() error
}

// Run pages through the rows and prints them as they come.
func (c queryCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	cfg, err := c.config(s.ctx)
	if err != nil {
		return err
	}
	db := dynamodb.NewFromConfig(cfg)
	keys, err := describeKeys(s.ctx, db, c.Table, c.Index)
	if err != nil {
		return c.explain(s.ctx, db, err)
	}
	conds, err := c.conditions(keys, time.Now())
	if err != nil {
		return err
	}
	var printed atomic.Int64
	if f, ok := s.stdout.(*os.File); ok && (c.Plot != "" || c.Count || !isTerminal(f)) { // else the rows are the progress
		defer showProgress(s.stderr, func() string { return fmt.Sprintf("%d rows", printed.Load()) })()
	}
	pages, out := c.pages(db, conds, c.Newest), c.printer(s, keys)
	for left := c.Limit; ; {
		items, more, err := pages(s.ctx, int32(left))
		if err != nil {
			return c.explain(s.ctx, db, err)
		}
		if err := out.write(items); err != nil {
			return err
		}
		printed.Add(int64(len(items)))
		if left -= len(items); !more || c.Limit > 0 && left <= 0 {
			return out.close()
		}
	}
}

func (c queryCmd) check() error {
	switch {
	case c.Limit < 0 || c.Limit > 1<<30:
		return usagef("--limit %d: want 0 to %d", c.Limit, 1<<30)
	case c.Newest && c.Key == "":
		return usagef("--newest needs --key: only the rows of one partition have an order")
	case c.Plot != "" && (c.Count || c.Output != "table" || len(c.Columns) > 0):
		return usagef("--plot draws; it goes without --count, --columns and --output")
	}
	return c.rowFlags.check()
}

func (f rowFlags) check() error {
	switch {
	case f.Range != "" && f.Key == "":
		return usagef("--range needs --key; without it, --where takes conditions on every attribute")
	case f.Range != "" && (f.Since != "" || f.Until != ""):
		return usagef("--range, or --since and --until: a range key takes one condition")
	}
	return nil
}

func (c queryCmd) printer(s *session, keys tableKeys) printer {
	switch {
	case c.Plot != "":
		return newPlot(s.stdout, s.stderr, c.Plot, keys.names(), terminalWidth(s.stdout))
	case c.Count:
		return &counter{out: s.stdout}
	}
	r := newRows(s.stdout, s.stderr, c.Output, keys.names())
	r.chosen = c.Columns
	return r
}

// counter prints how many rows there were.
type counter struct {
	out io.Writer
	n   int64
}

func (c *counter) write(items []map[string]types.AttributeValue) error {
	c.n += int64(len(items))
	return nil
}

func (c *counter) close() error {
	_, err := fmt.Fprintln(c.out, c.n)
	return err
}

// explain adds to an error what the user can do about it.
func (f rowFlags) explain(ctx context.Context, db *dynamodb.Client, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped")
	}
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		var api smithy.APIError
		if errors.As(err, &api) {
			return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
		}
		return err
	}
	list, lerr := db.ListTables(ctx, &dynamodb.ListTablesInput{})
	if lerr != nil || len(list.TableNames) == 0 {
		return fmt.Errorf("there is no table %q, and no other", f.Table)
	}
	return fmt.Errorf("there is no table %q: there are %s", f.Table, strings.Join(list.TableNames, ", "))
}

// tableKeys are the key attributes of a table; rangeKey is nil when it has none.
type tableKeys struct{ hash, rangeKey *keyAttribute }

type keyAttribute struct {
	name string
	kind types.ScalarAttributeType
}

func (k tableKeys) names() []string {
	if k.rangeKey == nil {
		return []string{k.hash.name}
	}
	return []string{k.hash.name, k.rangeKey.name}
}

// describeKeys returns the keys of a table, or of one of its indexes.
func describeKeys(ctx context.Context, db *dynamodb.Client, name, index string) (tableKeys, error) {
	got, err := db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		return tableKeys{}, err
	}
	kinds := map[string]types.ScalarAttributeType{}
	for _, d := range got.Table.AttributeDefinitions {
		kinds[aws.ToString(d.AttributeName)] = d.AttributeType
	}
	schema, err := schemaOf(got.Table, index)
	if err != nil {
		return tableKeys{}, err
	}
	var keys tableKeys
	for _, k := range schema {
		attr := &keyAttribute{aws.ToString(k.AttributeName), kinds[aws.ToString(k.AttributeName)]}
		if k.KeyType == types.KeyTypeHash {
			keys.hash = attr
		} else {
			keys.rangeKey = attr
		}
	}
	return keys, nil
}

func schemaOf(t *types.TableDescription, index string) ([]types.KeySchemaElement, error) {
	if index == "" {
		return t.KeySchema, nil
	}
	var names []string
	for _, x := range t.GlobalSecondaryIndexes {
		if aws.ToString(x.IndexName) == index {
			return x.KeySchema, nil
		}
		names = append(names, aws.ToString(x.IndexName))
	}
	for _, x := range t.LocalSecondaryIndexes {
		if aws.ToString(x.IndexName) == index {
			return x.KeySchema, nil
		}
		names = append(names, aws.ToString(x.IndexName))
	}
	if len(names) == 0 {
		return nil, usagef("--index %q: the table has no index", index)
	}
	return nil, usagef("--index %q: there are %s", index, strings.Join(names, ", "))
}

// value makes the attribute value of a key from text.
func (k *keyAttribute) value(text string) (types.AttributeValue, error) {
	switch k.kind {
	case types.ScalarAttributeTypeS:
		return &types.AttributeValueMemberS{Value: text}, nil
	case types.ScalarAttributeTypeN:
		return &types.AttributeValueMemberN{Value: text}, nil
	}
	return nil, usagef("the key %s is binary, which cannot be given on the command line", k.name)
}

// nextPage returns the next rows, at most limit when that is over 0, and
// whether there are more.
type nextPage func(ctx context.Context, limit int32) (items []map[string]types.AttributeValue, more bool, err error)

// pages turns the conditions into a Query, or a Scan when no key is given.
func (f rowFlags) pages(db *dynamodb.Client, conds *conditions, newest bool) nextPage {
	var index *string
	if f.Index != "" {
		index = &f.Index
	}
	if f.Key == "" {
		in := &dynamodb.ScanInput{TableName: &f.Table, IndexName: index, FilterExpression: conds.filterText(),
			ExpressionAttributeNames: conds.names, ExpressionAttributeValues: conds.values}
		return func(ctx context.Context, limit int32) ([]map[string]types.AttributeValue, bool, error) {
			in.Limit = pageLimit(limit, conds)
			got, err := db.Scan(ctx, in)
			if err != nil {
				return nil, false, err
			}
			in.ExclusiveStartKey = got.LastEvaluatedKey
			return atMost(got.Items, limit), got.LastEvaluatedKey != nil, nil
		}
	}
	in := &dynamodb.QueryInput{TableName: &f.Table, IndexName: index, KeyConditionExpression: conds.keyText(), FilterExpression: conds.filterText(),
		ExpressionAttributeNames: conds.names, ExpressionAttributeValues: conds.values, ScanIndexForward: aws.Bool(!newest)}
	return func(ctx context.Context, limit int32) ([]map[string]types.AttributeValue, bool, error) {
		in.Limit = pageLimit(limit, conds)
		got, err := db.Query(ctx, in)
		if err != nil {
			return nil, false, err
		}
		in.ExclusiveStartKey = got.LastEvaluatedKey
		return atMost(got.Items, limit), got.LastEvaluatedKey != nil, nil
	}
}

// pageLimit is the Limit of a request: it counts rows before the filter, so
// that it says nothing where there is one.
func pageLimit(limit int32, conds *conditions) *int32 {
	if limit <= 0 || len(conds.filter) > 0 {
		return nil
	}
	return &limit
}

func atMost(items []map[string]types.AttributeValue, limit int32) []map[string]types.AttributeValue {
	if limit > 0 && len(items) > int(limit) {
		return items[:limit]
	}
	return items
}
