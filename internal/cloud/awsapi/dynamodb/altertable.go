package dynamodb

import (
	"cmp"
	"encoding/json"
	"strconv"

	"mote/internal/cloud/table"
)

// indexUpdate is one element of GlobalSecondaryIndexUpdates; one member is set.
type indexUpdate struct{ create, update, drop *indexInput }

// indexUpdates takes GlobalSecondaryIndexUpdates, which is not nil.
func (s *scanner) indexUpdates() []indexUpdate {
	all := []indexUpdate{}
	s.list(func() {
		var u indexUpdate
		s.object(unexpectedValue, structureOf("GlobalSecondaryIndexUpdate"), func(member string) {
			switch {
			case s.null():
			case member == "Create":
				u.create = new(s.index("CreateGlobalSecondaryIndexAction"))
			case member == "Update":
				u.update = new(s.index("UpdateGlobalSecondaryIndexAction"))
			case member == "Delete":
				u.drop = new(s.index("DeleteGlobalSecondaryIndexAction"))
			default:
				s.skip()
			}
		})
		all = append(all, u)
	})
	return all
}

func (h *Handler) updateTable(in *input) ([]byte, error) {
	if err := in.checkUpdateTable(); err != nil {
		return nil, err
	}
	r := table.TableUpdate{Name: bareName(*in.tableName), Protected: in.protection, Attributes: in.attributes}
	if in.billing != nil {
		r.Billing = *in.billing
	}
	if in.class != nil {
		r.Class = *in.class
	}
	if t := in.throughput; t != nil {
		r.Read, r.Write, r.HasProvision = *t.read, *t.write, true
	}
	if err := in.changeIndexes(&r); err != nil {
		return nil, err
	}
	var err error
	if r.Ceiling, err = in.ceiling.request("table"); err != nil {
		return nil, err
	}
	view, err := in.stream.stream(false)
	if err != nil {
		return nil, err
	}
	r.Stream = view
	t, err := h.db.Update(r)
	if err != nil {
		return nil, err
	}
	d := h.describe(t, "")
	d["TableStatus"] = "UPDATING"
	return json.Marshal(map[string]any{"TableDescription": d})
}

// changeIndexes adds the changes of indexes to r.
func (in *input) changeIndexes(r *table.TableUpdate) error {
	for _, u := range in.indexUpdates {
		switch {
		case u.create != nil:
			x, err := u.create.request(true)
			if err != nil {
				return err
			}
			r.Create = append(r.Create, x)
		case u.update != nil:
			c, err := u.update.capacity()
			if err != nil {
				return err
			}
			r.Capacity = append(r.Capacity, c)
		default:
			r.Drop = append(r.Drop, *u.drop.name)
		}
	}
	return nil
}

func (in *input) checkUpdateTable() error {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.enum(in.billing, "billingMode", table.Provisioned, table.PayPerRequest)
	c.definitions(in)
	c.streamSpec(in.stream)
	c.throughput(in.throughput, "provisionedThroughput")
	for i := range in.indexUpdates {
		c.indexUpdate(&in.indexUpdates[i], "globalSecondaryIndexUpdates."+strconv.Itoa(i+1)+".member.")
	}
	if err := cmp.Or(c.err(), in.checkClass()); err != nil {
		return err
	}
	if in.indexUpdates != nil && len(in.indexUpdates) == 0 {
		return refused("One or more parameter values were invalid: List of GlobalSecondaryIndexUpdates is empty")
	}
	for _, u := range in.indexUpdates {
		count := 0
		for _, x := range []*indexInput{u.create, u.update, u.drop} {
			if x != nil {
				count++
			}
		}
		switch {
		case count == 0:
			return refused("One or more parameter values were invalid: One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null")
		case count > 1:
			return refused("One or more parameter values were invalid: Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object")
		}
	}
	return in.checkOffered()
}

// definitions holds AttributeDefinitions to their form.
func (c *constraints) definitions(in *input) {
	for i := range in.attributes {
		at := "attributeDefinitions." + strconv.Itoa(i+1) + ".member."
		c.word(in.typeNames[i], at+"attributeType", "B", "N", "S")
		c.given(in.attributes[i].Name, at+"attributeName", 1, 255)
	}
}

func (c *constraints) indexUpdate(u *indexUpdate, at string) {
	if u.create != nil {
		c.index(u.create, at+"create.")
	}
	for action, x := range map[string]*indexInput{"update.": u.update, "delete.": u.drop} {
		switch {
		case x == nil:
		case x.name == nil:
			c.required(false, at+action+"indexName")
		default:
			c.name(*x.name, at+action+"indexName")
		}
	}
	if x := u.update; x != nil {
		c.throughput(x.throughput, at+"update.provisionedThroughput")
	}
}

// ttlInput is a TimeToLiveSpecification; what is absent is nil.
type ttlInput struct {
	enabled   *bool
	attribute *string
}

func (s *scanner) ttl() *ttlInput {
	t := &ttlInput{}
	s.object(unexpectedValue, structureOf("TimeToLiveSpecification"), func(member string) {
		switch member {
		case "Enabled":
			t.enabled = s.boolean()
		case "AttributeName":
			t.attribute = s.text()
		default:
			s.skip()
		}
	})
	return t
}

func (h *Handler) updateTTL(in *input) ([]byte, error) {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(in.ttl != nil, "timeToLiveSpecification")
	if t := in.ttl; t != nil {
		c.required(t.enabled != nil, "timeToLiveSpecification.enabled")
		c.required(t.attribute != nil, "timeToLiveSpecification.attributeName")
		if t.attribute != nil {
			c.length(*t.attribute, "timeToLiveSpecification.attributeName", 1, 255)
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := h.db.UpdateTTL(bareName(*in.tableName), *in.ttl.attribute, *in.ttl.enabled); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"TimeToLiveSpecification": map[string]any{"Enabled": *in.ttl.enabled, "AttributeName": *in.ttl.attribute}})
}

// ttlStatus names the states of a TTL as AWS does.
var ttlStatus = map[table.IndexStatus]string{table.IndexCreating: "ENABLING", table.IndexActive: "ENABLED", table.IndexDeleting: "DISABLING"}

func (h *Handler) describeTTL(in *input) ([]byte, error) {
	t, err := h.namedTable(in)
	if err != nil {
		return nil, err
	}
	d := map[string]any{"TimeToLiveStatus": "DISABLED"}
	if e := t.TTL; e != nil {
		d["TimeToLiveStatus"], d["AttributeName"] = ttlStatus[e.Status], e.Attribute
	}
	return json.Marshal(map[string]any{"TimeToLiveDescription": d})
}
