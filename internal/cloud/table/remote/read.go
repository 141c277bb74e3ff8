package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"mote/internal/cloud/table"
	"mote/internal/cloud/table/wire"
)

var errDescription = errors.New("it described a table without a whole key")

// Time limits of reads.
const (
	getTime  = 2 * time.Second // get_dynamodb: a message waits for it
	pageTime = 5 * time.Second // the console
	putTime  = 10 * time.Second
)

// breaker keeps calls from waiting again and again for a cluster that is away:
// for a while after one that got no answer, all fail at once.
type breaker struct {
	mu    sync.Mutex
	until time.Time // guarded by mu, as err
	err   error
}

const breakTime = 5 * time.Second

// refuses returns the error of the call that got no answer a while ago.
func (b *breaker) refuses() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.until) {
		return b.err
	}
	return nil
}

func (b *breaker) note(err error) {
	if e, ok := errors.AsType[*UnavailableError](err); ok && e.noAnswer {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.until, b.err = time.Now().Add(breakTime), err
	}
}

// item is an item in requests and answers.
type item struct{ table.Item }

// MarshalJSON implements json.Marshaler.
func (i item) MarshalJSON() ([]byte, error) { return wire.AppendItem(nil, i.Item), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (i *item) UnmarshalJSON(data []byte) (err error) {
	i.Item, err = wire.ParseItem(data)
	return err
}

// GetItem reads one item by its key, as last written; projections are not
// offered. It takes 2 s at most, and nothing for 5 s after there was no answer.
func (c *Cluster) GetItem(r table.GetRequest) (table.GetResult, error) {
	if r.Projection != nil || r.Attributes != nil {
		return table.GetResult{}, errors.New("a cluster is asked for whole items only")
	}
	if err := c.reads.refuses(); err != nil {
		return table.GetResult{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), getTime)
	defer cancel()
	var got struct{ Item *item }
	err := c.ask(ctx, "GetItem", map[string]any{"TableName": r.Table, "Key": item{r.Key}, "ConsistentRead": true}, &got)
	c.reads.note(err)
	if err != nil || got.Item == nil {
		return table.GetResult{}, err
	}
	return table.GetResult{Item: got.Item.Item}, nil
}

// PutDurable puts an item, and returns when the cluster has it. The error is a
// *[table.Error] for what it refuses for good, or an [*UnavailableError].
func (c *Cluster) PutDurable(ctx context.Context, tableName string, it table.Item) error {
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	return c.ask(ctx, "PutItem", map[string]any{"TableName": tableName, "Item": item{it}}, nil)
}

// List returns up to limit names of tables after a name, and where to go on.
func (c *Cluster) List(after string, limit int) (names []string, last string) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	request := map[string]any{"Limit": limit}
	if after != "" {
		request["ExclusiveStartTableName"] = after
	}
	var got struct {
		TableNames             []string
		LastEvaluatedTableName string
	}
	if err := c.ask(ctx, "ListTables", request, &got); err != nil {
		c.log.Warn("the cluster's tables cannot be listed", "err", err)
		return nil, ""
	}
	return got.TableNames, got.LastEvaluatedTableName
}

// Describe returns the name and the key of a table, nothing else of it.
func (c *Cluster) Describe(name string) (*table.Table, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	s, err := c.describe(ctx, name)
	return s.table, err
}

// Count returns how large the cluster says that a table is; for AWS that is up
// to six hours old.
func (c *Cluster) Count(t *table.Table) table.Count {
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	s, err := c.describe(ctx, t.Name)
	if err != nil {
		c.log.Warn("a table of the cluster cannot be described", "table", t.Name, "err", err)
	}
	return s.count
}

// Query reads a page of one partition.
func (c *Cluster) Query(r table.QueryRequest) (table.Page, error) {
	if r.KeyConditions != nil {
		return table.Page{}, errors.New("a cluster is asked with key condition expressions only")
	}
	request, err := reading(&r.Reading)
	if err != nil {
		return table.Page{}, err
	}
	request["KeyConditionExpression"] = r.KeyCondition
	request["ScanIndexForward"] = !r.Descending
	return c.page("Query", request)
}

// Scan reads a page of a table.
func (c *Cluster) Scan(r table.ScanRequest) (table.Page, error) {
	request, err := reading(&r.Reading)
	if err != nil {
		return table.Page{}, err
	}
	if r.Segments > 0 {
		request["Segment"], request["TotalSegments"] = r.Segment, r.Segments
	}
	return c.page("Scan", request)
}

// reading is the request's part that Query and Scan have in common.
func reading(r *table.Reading) (map[string]any, error) {
	if r.Conditions != nil || r.Attributes != nil {
		return nil, errors.New("a cluster is asked with expressions only")
	}
	request := map[string]any{"TableName": r.Table, "ConsistentRead": r.Consistent}
	for name, text := range map[string]*string{"FilterExpression": r.Filter, "ProjectionExpression": r.Projection} {
		if text != nil {
			request[name] = *text
		}
	}
	if len(r.Names) > 0 {
		request["ExpressionAttributeNames"] = r.Names
	}
	if len(r.Values) > 0 {
		request["ExpressionAttributeValues"] = item{table.Item(r.Values)}
	}
	if r.Limit > 0 {
		request["Limit"] = r.Limit
	}
	if r.StartKey != nil {
		request["ExclusiveStartKey"] = item{r.StartKey}
	}
	switch {
	case r.CountOnly:
		request["Select"] = "COUNT"
	case r.AllAttributes:
		request["Select"] = "ALL_ATTRIBUTES"
	}
	if r.Index != "" {
		request["IndexName"] = r.Index
	}
	return request, nil
}

func (c *Cluster) page(operation string, request map[string]any) (table.Page, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	var got struct {
		Items               []item
		Count, ScannedCount int
		LastEvaluatedKey    *item
	}
	if err := c.ask(ctx, operation, request, &got); err != nil {
		return table.Page{}, err
	}
	p := table.Page{Count: got.Count, Scanned: got.ScannedCount}
	for _, one := range got.Items {
		p.Items = append(p.Items, one.Item)
	}
	if got.LastEvaluatedKey != nil {
		p.LastKey = got.LastEvaluatedKey.Item
	}
	return p, nil
}
