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

func (in *input) wantsCapacity() bool {
	return in.returnCapacity != nil && *in.returnCapacity != "NONE"
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

// writeCondition returns the condition of a write.
func (in *input) writeCondition() (table.Condition, error) {
	c := table.Condition{
		Expression: in.condition, Names: in.names, Values: in.placeholderValues(),
		ReturnItem: is(in.onFailed, "ALL_OLD"), AnyOf: is(in.conditionalOperator, "OR"),
	}
	var err error
	c.Expected, err = in.expectations()
	return c, err
}

// expectedStyle are the parameters for conditions from before expressions.
func (in *input) expectedStyle() []parameter {
	return []parameter{{"Expected", in.expected != nil}, {"ConditionalOperator", in.conditionalOperator != nil}}
}

// checkWrite is what PutItem and DeleteItem check alike, after the constraints.
func (in *input) checkWrite(it *item) (cond table.Condition, err error) {
	if err := in.checkStyle([]parameter{expression("ConditionExpression", in.condition)}, in.expectedStyle()); err != nil {
		return cond, err
	}
	if it.fault != nil {
		return cond, it.fault
	}
	if err := in.onlyOld(); err != nil {
		return cond, err
	}
	if cond, err = in.writeCondition(); err != nil {
		return cond, err
	}
	return cond, in.checkPlaceholders()
}

func (h *Handler) putItem(in *input) ([]byte, error) {
	if err := in.checkTable(); err != nil {
		return nil, err
	}
	var c constraints
	c.capacity(in)
	c.tableName(in.tableName, "tableName")
	c.required(in.item != nil, "item")
	c.conditionalOperator(in)
	c.conditions(in.expected, "expected", false)
	c.returnValues(in)
	c.metrics(in)
	c.onFailed(in)
	if err := c.err(); err != nil {
		return nil, err
	}
	cond, err := in.checkWrite(in.item)
	if err != nil {
		return nil, err
	}
	name := bareName(*in.tableName)
	r, err := h.db.PutItem(table.PutRequest{Table: name, Item: in.item.Item, Condition: cond, ReturnOld: is(in.returnValues, "ALL_OLD"), Measure: in.wantsCapacity()})
	if err != nil {
		return nil, err
	}
	return h.written(in, touched{name, in.item.Item}, r.Old, &r)
}

func (h *Handler) deleteItem(in *input) ([]byte, error) {
	if err := in.checkTable(); err != nil {
		return nil, err
	}
	var c constraints
	c.capacity(in)
	c.tableName(in.tableName, "tableName")
	c.returnValues(in)
	c.metrics(in)
	c.required(in.key != nil, "key")
	c.conditionalOperator(in)
	c.conditions(in.expected, "expected", false)
	c.onFailed(in)
	if err := c.err(); err != nil {
		return nil, err
	}
	cond, err := in.checkWrite(in.key)
	if err != nil {
		return nil, err
	}
	name := bareName(*in.tableName)
	r, err := h.db.DeleteItem(table.DeleteRequest{Table: name, Key: in.key.Item, Condition: cond, ReturnOld: is(in.returnValues, "ALL_OLD"), Measure: in.wantsCapacity()})
	if err != nil {
		return nil, err
	}
	return h.written(in, touched{name, in.key.Item}, r.Old, &r)
}

func (h *Handler) updateItem(in *input) ([]byte, error) {
	if err := in.checkTable(); err != nil {
		return nil, err
	}
	var c constraints
	if c.returnValues(in); len(c.faults) > 0 {
		return nil, c.err() // of UpdateItem, alone
	}
	c.capacity(in)
	c.tableName(in.tableName, "tableName")
	c.metrics(in)
	c.required(in.key != nil, "key")
	c.conditionalOperator(in)
	c.conditions(in.expected, "expected", false)
	for _, u := range in.updates {
		c.enum(u.action, "attributeUpdates."+u.name+".member.action", "ADD", "PUT", "DELETE")
	}
	c.onFailed(in)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := in.updateRequest()
	if err != nil {
		return nil, err
	}
	done, err := h.db.UpdateItem(r)
	if err != nil {
		return nil, err
	}
	return h.written(in, touched{r.Table, r.Key}, done.Attributes, &done)
}

var returnValues = map[string]table.ReturnValues{
	"ALL_OLD": table.ReturnAllOld, "UPDATED_OLD": table.ReturnUpdatedOld,
	"ALL_NEW": table.ReturnAllNew, "UPDATED_NEW": table.ReturnUpdatedNew,
}

func (in *input) updateRequest() (r table.UpdateRequest, err error) {
	expressions := []parameter{expression("UpdateExpression", in.update), expression("ConditionExpression", in.condition)}
	legacy := append([]parameter{{"AttributeUpdates", in.updates != nil}}, in.expectedStyle()...)
	if err := in.checkStyle(expressions, legacy); err != nil {
		return r, err
	}
	if in.key.fault != nil {
		return r, in.key.fault
	}
	r = table.UpdateRequest{Table: bareName(*in.tableName), Key: in.key.Item, Expression: in.update}
	if r.Updates, err = in.engineUpdates(); err != nil {
		return r, err
	}
	if r.Condition, err = in.writeCondition(); err != nil {
		return r, err
	}
	if in.returnValues != nil {
		r.Return = returnValues[*in.returnValues]
	}
	return r, in.checkPlaceholders()
}

// written is the answer to a write that has something to give back, or nil.
func (h *Handler) written(in *input, what touched, attributes table.Item, r *table.WriteResult) ([]byte, error) {
	var a answer
	a.item("Attributes", attributes)
	a.capacity(in, what.table, r.Units, r.Indexes...)
	err := h.collectionMetrics(&a, in, what.table, what.item)
	return a.done(), err
}

func (h *Handler) getItem(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	c.attributesToGet(in.attributesToGet, "attributesToGet")
	c.tableName(in.tableName, "tableName")
	c.required(in.key != nil, "key")
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := in.checkStyle([]parameter{expression("ProjectionExpression", in.projection)}, []parameter{{"AttributesToGet", in.attributesToGet != nil}}); err != nil {
		return nil, err
	}
	if in.key.fault != nil {
		return nil, in.key.fault
	}
	if err := in.checkPlaceholders(); err != nil {
		return nil, err
	}
	name := bareName(*in.tableName)
	r, err := h.db.GetItem(table.GetRequest{Table: name, Key: in.key.Item, Projection: in.projection, Names: in.names, Attributes: in.attributesToGet, Consistent: isTrue(in.consistent)})
	var a answer
	a.item("Item", r.Item)
	a.capacity(in, name, r.Units)
	return a.done(), err
}
