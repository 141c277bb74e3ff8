package rules

import (
	"errors"
	"fmt"

	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/remote"
)

// put implements effects.
func (x *execution) put(tableName string, item table.Item) error {
	if x.away() {
		return x.sendWrite("DynamoAction", remote.Put(tableName, item))
	}
	return x.engine.tables.Put(x.batch, tableName, item)
}

// putMembers implements effects.
func (x *execution) putMembers(tableName string, members []table.Member) error {
	if x.away() {
		return x.sendWrite("DynamoDBv2Action", remote.Put(tableName, itemOf(members)))
	}
	return x.engine.tables.PutMembers(x.batch, tableName, members)
}

// update implements effects.
func (x *execution) update(tableName string, key table.Item, attribute string, value table.Value) error {
	if x.away() {
		return x.sendWrite("DynamoAction", remote.Set(tableName, key, attribute, value))
	}
	e, c, in := x.engine, x.rule, x.in
	late := func(err error) { // the item grew too large within one batch: the message is being acknowledged
		f := &message.Failure{Rule: c.rule.Name, Action: "DynamoAction", Target: tableName, Err: err}
		c.stats.failure(f, in)
		e.logFailure(f, in.Topic)
	}
	return e.tables.SetAttribute(x.batch, tableName, key, attribute, value, late)
}

// remove implements effects.
func (x *execution) remove(tableName string, key table.Item) error {
	if x.away() {
		return x.sendWrite("DynamoAction", remote.Remove(tableName, key))
	}
	return x.engine.tables.Remove(x.batch, tableName, key)
}

// away says whether the tables are on a cluster.
func (x *execution) away() bool { return x.engine.opt.Cluster != nil }

// errWritesFull refuses a message: as many writes wait for the cluster of the
// tables as the outbox takes.
var errWritesFull = errors.New("too many writes wait for the tables' cluster")

// sendWrite adds a write to the outbox. The row has no other place: unlike what
// other actions send, it is not given up while the cluster is away, and a
// message for whose row there is no room is refused.
func (x *execution) sendWrite(action string, w *remote.Write) error {
	o := &outgoing{kind: remote.Kind, action: action, target: w.Table, request: w, batch: remote.Batching(), across: true, keep: true}
	err := x.send(o)
	if errors.Is(err, outbox.ErrFull) {
		return fmt.Errorf("%w: %w", errWritesFull, err)
	}
	return err
}

func itemOf(members []table.Member) table.Item {
	item := make(table.Item, len(members))
	for _, m := range members {
		item[m.Name] = m.Value
	}
	return item
}
