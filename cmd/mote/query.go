package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"mote/internal/reading"
)

// queryCmd prints rows of a table, from the cloud of this machine or from AWS.
type queryCmd struct {
	apiFlags
	Table  string        `arg:"" help:"Name of the table."`
	Key    string        `help:"Rows of one partition, for example id=1." placeholder:"NAME=VALUE"`
	Since  time.Duration `help:"Rows whose range key, a time, is at most this old, for example 1h." placeholder:"DURATION"`
	Limit  int           `help:"At most this many rows; 0: all." default:"0"`
	Newest bool          `help:"The newest rows first (with --key)."`
	Output string        `help:"table, json (one array) or csv." enum:"table,json,csv" default:"table" short:"o"`
}

// Run pages through the rows and prints them as they come.
func (c queryCmd) Run(s *session) error {
	if c.Limit < 0 {
		return usagef("--limit %d: want 0 or more", c.Limit)
	}
	if c.Newest && c.Key == "" {
		return usagef("--newest needs --key: only the rows of one partition have an order")
	}
	cfg, err := c.config(s.ctx)
	if err != nil {
		return err
	}
	db := dynamodb.NewFromConfig(cfg)
	keys, err := describeKeys(s.ctx, db, c.Table)
	if err != nil {
		return c.explain(s.ctx, db, err)
	}
	pages, err := c.pages(db, keys)
	if err != nil {
		return err
	}
	out := newRows(s.stdout, s.stderr, c.Output, keys.names())
	var printed atomic.Int64
	if f, ok := s.stdout.(*os.File); ok && !isTerminal(f) { // on a terminal the rows are the progress
		defer showProgress(s.stderr, func() string { return fmt.Sprintf("%d rows", printed.Load()) })()
	}
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

// explain adds to an error what the user can do about it.
func (c queryCmd) explain(ctx context.Context, db *dynamodb.Client, err error) error {
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
		return fmt.Errorf("there is no table %q, and no other", c.Table)
	}
	return fmt.Errorf("there is no table %q: there are %s", c.Table, strings.Join(list.TableNames, ", "))
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

func describeKeys(ctx context.Context, db *dynamodb.Client, name string) (tableKeys, error) {
	got, err := db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		return tableKeys{}, err
	}
	kinds := map[string]types.ScalarAttributeType{}
	for _, d := range got.Table.AttributeDefinitions {
		kinds[aws.ToString(d.AttributeName)] = d.AttributeType
	}
	var keys tableKeys
	for _, k := range got.Table.KeySchema {
		attr := &keyAttribute{aws.ToString(k.AttributeName), kinds[aws.ToString(k.AttributeName)]}
		if k.KeyType == types.KeyTypeHash {
			keys.hash = attr
		} else {
			keys.rangeKey = attr
		}
	}
	return keys, nil
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

// pages turns the flags into a Query, or a Scan when no key is given.
func (c queryCmd) pages(db *dynamodb.Client, keys tableKeys) (nextPage, error) {
	names, values, conds := map[string]string{}, map[string]types.AttributeValue{}, []string{}
	if c.Key != "" {
		name, text, ok := strings.Cut(c.Key, "=")
		if !ok || name != keys.hash.name {
			return nil, usagef("--key %q: the partition key of %s is %s: want --key %s=VALUE", c.Key, c.Table, keys.hash.name, keys.hash.name)
		}
		v, err := keys.hash.value(text)
		if err != nil {
			return nil, err
		}
		names["#h"], values[":h"] = name, v
		conds = append(conds, "#h = :h")
	}
	if c.Since != 0 {
		if keys.rangeKey == nil || keys.rangeKey.kind != types.ScalarAttributeTypeS {
			return nil, usagef("--since needs a table whose range key is a time as text, %s has none", c.Table)
		}
		names["#r"] = keys.rangeKey.name
		values[":since"] = &types.AttributeValueMemberS{Value: reading.TimeText(time.Now().Add(-c.Since))}
		conds = append(conds, "#r >= :since")
	}
	if c.Key == "" {
		return scanPages(db, c.Table, strings.Join(conds, " AND "), names, values), nil
	}
	in := &dynamodb.QueryInput{TableName: &c.Table, KeyConditionExpression: aws.String(strings.Join(conds, " AND ")),
		ExpressionAttributeNames: names, ExpressionAttributeValues: values, ScanIndexForward: aws.Bool(!c.Newest)}
	return func(ctx context.Context, limit int32) ([]map[string]types.AttributeValue, bool, error) {
		if limit > 0 {
			in.Limit = &limit
		}
		got, err := db.Query(ctx, in)
		if err != nil {
			return nil, false, err
		}
		in.ExclusiveStartKey = got.LastEvaluatedKey
		return got.Items, got.LastEvaluatedKey != nil, nil
	}, nil
}

func scanPages(db *dynamodb.Client, table, filter string, names map[string]string, values map[string]types.AttributeValue) nextPage {
	in := &dynamodb.ScanInput{TableName: &table}
	if filter != "" {
		in.FilterExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = &filter, names, values
	}
	return func(ctx context.Context, limit int32) ([]map[string]types.AttributeValue, bool, error) {
		if limit > 0 && filter == "" { // Limit counts rows before the filter
			in.Limit = &limit
		}
		got, err := db.Scan(ctx, in)
		if err != nil {
			return nil, false, err
		}
		in.ExclusiveStartKey = got.LastEvaluatedKey
		items := got.Items
		if limit > 0 && len(items) > int(limit) {
			items = items[:limit]
		}
		return items, got.LastEvaluatedKey != nil, nil
	}
}
