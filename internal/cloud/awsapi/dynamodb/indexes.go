package dynamodb

import (
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// indexInput is one secondary index of a request; what is absent is nil.
type indexInput struct {
	name       *string
	schema     []table.KeyElement
	projection *projectionInput
	throughput *throughput
	ceiling    *ceilingInput
	warm       bool // WarmThroughput was given
}

type projectionInput struct {
	kind    *string
	nonKeys []string // nil: absent
}

// schema takes a KeySchema, which is not nil.
func (s *scanner) schema() []table.KeyElement {
	all := []table.KeyElement{}
	s.list(func() {
		k := table.KeyElement{Name: absent, Type: absent}
		s.object(unexpectedValue, structureOf("KeySchemaElement"), func(member string) {
			switch member {
			case "AttributeName":
				k.Name = s.str()
			case "KeyType":
				k.Type = s.str()
			default:
				s.skip()
			}
		})
		all = append(all, k)
	})
	return all
}

func (s *scanner) throughput() *throughput {
	return s.units("ProvisionedThroughput", "ReadCapacityUnits", "WriteCapacityUnits")
}

// units takes a structure of two numbers of units.
func (s *scanner) units(structure, read, write string) *throughput {
	t := &throughput{}
	s.object(unexpectedValue, structureOf(structure), func(member string) {
		switch member {
		case read:
			t.read = s.integer("Long")
		case write:
			t.write = s.integer("Long")
		default:
			s.skip()
		}
	})
	return t
}

// indexes takes a list of indexes, which is not nil.
func (s *scanner) indexes(structure string) []indexInput {
	all := []indexInput{}
	s.list(func() { all = append(all, s.index(structure)) })
	return all
}

func (s *scanner) index(structure string) (x indexInput) {
	s.object(unexpectedValue, structureOf(structure), func(member string) {
		switch {
		case s.null():
		case member == "IndexName":
			x.name = s.text()
		case member == "KeySchema":
			x.schema = s.schema()
		case member == "Projection":
			x.projection = s.projection()
		case member == "ProvisionedThroughput" && structure != "LocalSecondaryIndex":
			x.throughput = s.throughput()
		case member == "OnDemandThroughput" && structure != "LocalSecondaryIndex":
			x.ceiling = s.ceiling()
		case member == "WarmThroughput":
			s.skip()
			x.warm = true
		default:
			s.skip()
		}
	})
	return x
}

func (s *scanner) projection() *projectionInput {
	p := &projectionInput{}
	s.object(unexpectedValue, structureOf("Projection"), func(member string) {
		switch {
		case s.null():
		case member == "ProjectionType":
			p.kind = s.text()
		case member == "NonKeyAttributes":
			p.nonKeys = s.texts()
		default:
			s.skip()
		}
	})
	return p
}

// schema holds a KeySchema to its form.
func (c *constraints) schema(schema []table.KeyElement, member string) {
	for i := range schema {
		at := member + "." + strconv.Itoa(i+1) + ".member."
		c.given(schema[i].Name, at+"attributeName", 1, 255)
		c.word(schema[i].Type, at+"keyType", "HASH", "RANGE")
	}
	switch {
	case schema != nil && len(schema) == 0:
		c.add("'[]'", member, "have length greater than or equal to 1")
	case len(schema) > 2:
		c.add(quote(showSchema(schema)), member, "have length less than or equal to 2")
	}
}

// showSchema is a KeySchema as AWS shows it.
func showSchema(schema []table.KeyElement) string {
	var text strings.Builder
	for i, k := range schema {
		if text.Len() > 1024 {
			break // it is cut anyway
		}
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString("KeySchemaElement(attributeName=" + k.Name + ", keyType=" + k.Type + ")")
	}
	return "[" + text.String() + "]"
}

func (c *constraints) throughput(t *throughput, member string) {
	if t == nil {
		return
	}
	c.required(t.read != nil, member+".readCapacityUnits")
	c.required(t.write != nil, member+".writeCapacityUnits")
	c.atLeast(t.read, member+".readCapacityUnits", 1)
	c.atLeast(t.write, member+".writeCapacityUnits", 1)
}

// index holds one index of a request to its form.
func (c *constraints) index(x *indexInput, at string) {
	if x.name == nil {
		c.required(false, at+"indexName")
	} else {
		c.name(*x.name, at+"indexName")
	}
	c.required(x.schema != nil, at+"keySchema")
	c.schema(x.schema, at+"keySchema")
	c.required(x.projection != nil, at+"projection")
	c.throughput(x.throughput, at+"provisionedThroughput")
	if p := x.projection; p != nil {
		c.enum(p.kind, at+"projection.projectionType", "ALL", "INCLUDE", "KEYS_ONLY")
		if p.nonKeys != nil && (len(p.nonKeys) == 0 || len(p.nonKeys) > 20) {
			c.add("'["+strconv.Itoa(len(p.nonKeys))+" names]'", at+"projection.nonKeyAttributes", "have length between 1 and 20")
		}
		for i, name := range p.nonKeys {
			c.length(name, at+"projection.nonKeyAttributes."+strconv.Itoa(i+1)+".member", 1, 255)
		}
	}
}

// request is the index for the engine.
func (x *indexInput) request(global bool) (table.IndexRequest, error) {
	r := table.IndexRequest{Name: *x.name, Global: global, Schema: x.schema, Include: x.projection.nonKeys}
	if x.projection.kind != nil {
		r.Projection = *x.projection.kind
	}
	if t := x.throughput; t != nil {
		r.Read, r.Write, r.HasProvision = *t.read, *t.write, true
	}
	var err error
	r.Ceiling, err = x.ceiling.request("index : " + *x.name)
	return r, err
}

// capacity is the change of an index for the engine.
func (x *indexInput) capacity() (c table.IndexCapacity, err error) {
	c.Name = *x.name
	if t := x.throughput; t != nil {
		c.Read, c.Write, c.HasProvision = *t.read, *t.write, true
	}
	c.Ceiling, err = x.ceiling.request("index : " + c.Name)
	return c, err
}

// requests are indexes for the engine; nil stays nil.
func requests(list []indexInput, global bool) (out []table.IndexRequest, err error) {
	if list == nil {
		return nil, nil
	}
	out = make([]table.IndexRequest, len(list))
	for i := range list {
		if out[i], err = list[i].request(global); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// describeIndexes adds the indexes of a table to its description. status is
// shown instead of their own while the table itself comes or goes.
func (h *Handler) describeIndexes(d map[string]any, t *table.Table, status string) {
	var local, global []map[string]any
	for _, x := range t.Indexes {
		n := table.Count{}
		if status == "" {
			n = h.db.CountIndex(x)
		}
		one := map[string]any{
			"IndexName": x.Name, "IndexArn": t.ARNOf(x), "KeySchema": schemaOf(x.Hash, x.Range), "Projection": projectionOf(x),
			"ItemCount": n.Items, "IndexSizeBytes": n.Bytes,
		}
		if !x.Global {
			local = append(local, one)
			continue
		}
		one["IndexStatus"] = string(x.Status)
		if status != "" {
			one["IndexStatus"] = status
		}
		if x.Status == table.IndexCreating {
			one["Backfilling"] = true
		}
		one["ProvisionedThroughput"] = map[string]any{"NumberOfDecreasesToday": 0, "ReadCapacityUnits": x.Read, "WriteCapacityUnits": x.Write}
		describeCeiling(one, x.Ceiling)
		global = append(global, one)
	}
	if local != nil {
		d["LocalSecondaryIndexes"] = local
	}
	if global != nil {
		d["GlobalSecondaryIndexes"] = global
	}
}

func schemaOf(hash, rng *table.KeyAttr) []map[string]string {
	schema := []map[string]string{{"AttributeName": hash.Name, "KeyType": "HASH"}}
	if rng != nil {
		schema = append(schema, map[string]string{"AttributeName": rng.Name, "KeyType": "RANGE"})
	}
	return schema
}

func projectionOf(x *table.Index) map[string]any {
	p := map[string]any{"ProjectionType": x.Projection}
	if x.Include != nil {
		p["NonKeyAttributes"] = x.Include
	}
	return p
}
