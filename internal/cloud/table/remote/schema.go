package remote

import (
	"context"
	"time"

	"mote/internal/cloud/table"
)

// schemaFresh is for how long a description is used again.
const schemaFresh = 30 * time.Second

// maxSchemas is of how many tables descriptions are kept.
const maxSchemas = 1000

// schema is what the cluster told of a table.
type schema struct {
	table *table.Table
	count table.Count
	until time.Time
}

// describe returns the description of a table, at most schemaFresh old.
func (c *Cluster) describe(ctx context.Context, name string) (schema, error) {
	c.mu.Lock()
	s, ok := c.schemas[name]
	c.mu.Unlock()
	if ok && time.Now().Before(s.until) {
		return s, nil
	}
	var got struct{ Table description }
	if err := c.ask(ctx, "DescribeTable", map[string]string{"TableName": name}, &got); err != nil {
		return schema{}, err
	}
	s, err := got.Table.schema()
	if err != nil {
		return schema{}, c.noAnswer(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.schemas) >= maxSchemas {
		clear(c.schemas)
	}
	c.schemas[name] = s
	return s, nil
}

// forget makes the next describe ask the cluster.
func (c *Cluster) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.schemas, name)
}

// description is a TableDescription (DynamoDB API Reference).
type description struct {
	TableName            string
	KeySchema            []struct{ AttributeName, KeyType string }
	AttributeDefinitions []struct {
		AttributeName string
		AttributeType table.Kind
	}
	ItemCount, TableSizeBytes int64
}

func (d *description) schema() (schema, error) {
	t := &table.Table{Name: d.TableName}
	for _, k := range d.KeySchema {
		attr := table.KeyAttr{Name: k.AttributeName}
		for _, def := range d.AttributeDefinitions {
			if def.AttributeName == attr.Name {
				attr.Kind = def.AttributeType
			}
		}
		if k.KeyType == "RANGE" {
			t.Range = &attr
		} else {
			t.Hash = attr
		}
	}
	if t.Name == "" || t.Hash.Kind == 0 || t.Range != nil && t.Range.Kind == 0 {
		return schema{}, errDescription
	}
	return schema{t, table.Count{Items: d.ItemCount, Bytes: d.TableSizeBytes}, time.Now().Add(schemaFresh)}, nil
}

// keyOf returns the key attributes of an item.
func (s *schema) keyOf(item table.Item) table.Item {
	key := table.Item{s.table.Hash.Name: item[s.table.Hash.Name]}
	if r := s.table.Range; r != nil {
		key[r.Name] = item[r.Name]
	}
	return key
}
