package dynamodb

import (
	"strconv"

	"mote/internal/cloud/table"
)

// answer builds the JSON object of an answer.
type answer struct{ out []byte }

func (a *answer) member(name string) {
	if len(a.out) == 0 {
		a.out = append(a.out, '{')
	} else {
		a.out = append(a.out, ',')
	}
	a.out = append(appendString(a.out, name), ':')
}

func (a *answer) item(name string, it table.Item) {
	if it != nil {
		a.member(name)
		a.out = appendItem(a.out, it)
	}
}

func (a *answer) number(name string, n int) {
	a.member(name)
	a.out = strconv.AppendInt(a.out, int64(n), 10)
}

func (a *answer) done() []byte {
	if len(a.out) == 0 {
		return []byte("{}")
	}
	return append(a.out, '}')
}

// capacity adds ConsumedCapacity when the request asks for it.
func (a *answer) capacity(in *input, name string, units float64) {
	if in.wantsCapacity() {
		a.member("ConsumedCapacity")
		a.out = in.appendCapacity(a.out, name, units)
	}
}

func (in *input) wantsCapacity() bool {
	return in.returnCapacity != nil && *in.returnCapacity != "NONE"
}

func (in *input) appendCapacity(out []byte, name string, units float64) []byte {
	out = appendString(append(out, `{"TableName":`...), name)
	out = appendUnits(append(out, `,"CapacityUnits":`...), units)
	if *in.returnCapacity == "INDEXES" {
		out = appendUnits(append(out, `,"Table":{"CapacityUnits":`...), units)
		out = append(out, '}')
	}
	return append(out, '}')
}

func appendUnits(out []byte, units float64) []byte {
	return strconv.AppendFloat(out, units, 'f', 1, 64)
}

func isTrue(b *bool) bool { return b != nil && *b }

func is(text *string, want string) bool { return text != nil && *text == want }

// onlyOld refuses ReturnValues that a put or delete does not have.
func (in *input) onlyOld() error {
	if in.returnValues != nil && *in.returnValues != "ALL_OLD" && *in.returnValues != "NONE" {
		return refused("ReturnValues can only be ALL_OLD or NONE")
	}
	return nil
}

func (in *input) writeCondition() table.Condition {
	return table.Condition{Expression: in.condition, Names: in.names, Values: in.placeholderValues(), ReturnItem: is(in.onFailed, "ALL_OLD")}
}

// checkWrite is what PutItem and DeleteItem check alike; it is the item or key.
func (in *input) checkWrite(it *item, member string) error {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(it != nil, member)
	c.returns(in)
	if err := c.err(); err != nil {
		return err
	}
	if err := in.checkParameters(expression{"ConditionExpression", in.condition}); err != nil {
		return err
	}
	if it.fault != nil {
		return it.fault
	}
	return in.onlyOld()
}

func (h *Handler) putItem(in *input) ([]byte, error) {
	if err := in.checkWrite(in.item, "item"); err != nil {
		return nil, err
	}
	name := bareName(*in.tableName)
	r, err := h.db.PutItem(table.PutRequest{Table: name, Item: in.item.Item, Condition: in.writeCondition(), ReturnOld: is(in.returnValues, "ALL_OLD")})
	return in.written(name, r), err
}

func (h *Handler) deleteItem(in *input) ([]byte, error) {
	if err := in.checkWrite(in.key, "key"); err != nil {
		return nil, err
	}
	name := bareName(*in.tableName)
	r, err := h.db.DeleteItem(table.DeleteRequest{Table: name, Key: in.key.Item, Condition: in.writeCondition(), ReturnOld: is(in.returnValues, "ALL_OLD")})
	return in.written(name, r), err
}

func (in *input) written(name string, r table.WriteResult) []byte {
	var a answer
	a.item("Attributes", r.Old)
	a.capacity(in, name, r.Units)
	return a.done()
}

func (h *Handler) getItem(in *input) ([]byte, error) {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(in.key != nil, "key")
	c.returns(in)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := in.checkParameters(expression{"ProjectionExpression", in.projection}); err != nil {
		return nil, err
	}
	if in.key.fault != nil {
		return nil, in.key.fault
	}
	name := bareName(*in.tableName)
	r, err := h.db.GetItem(table.GetRequest{Table: name, Key: in.key.Item, Projection: in.projection, Names: in.names, Consistent: isTrue(in.consistent)})
	var a answer
	a.item("Item", r.Item)
	a.capacity(in, name, r.Units)
	return a.done(), err
}
