package rules

import (
	"errors"
	"fmt"

	"mote/internal/cloud/message"
	"mote/internal/cloud/table"
	"mote/internal/iotsql/eval"
)

// action is one compiled action of a rule.
type action interface {
	// name is what failedAction calls the action.
	name() string
	// run performs the action for the result of a statement. It returns what it
	// worked on (table, topic). After an error nothing of it remains.
	run(x *execution, r eval.Result) (target string, err error)
}

// effects is what the actions of one message do to the world.
type effects interface {
	// put and putMembers write an item, which is not kept.
	put(tableName string, item table.Item) error
	putMembers(tableName string, members []table.Member) error
	// update sets one attribute; key and value are kept.
	update(tableName string, key table.Item, attribute string, value table.Value) error
	// remove removes an item; the key is not kept.
	remove(tableName string, key table.Item) error
	publish(m *message.Message) error
	send(a *outgoing) error
}

// tableAction is the action dynamoDBv2: each member of the result becomes an
// attribute (AWS IoT developer guide, "DynamoDBv2").
type tableAction struct{ table *eval.Template }

func (f *fields) dynamoDBv2() action {
	f.role()
	a := &tableAction{}
	put := f.sub("putItem")
	if put == nil {
		f.fail("putItem is required")
		return a
	}
	a.table = put.required("tableName")
	f.merge(put)
	return a
}

func (a *tableAction) name() string { return "DynamoDBv2Action" }

func (a *tableAction) run(x *execution, r eval.Result) (string, error) {
	name := a.table.Text(&x.msg)
	if _, binary := r.Binary(); binary || r.Value().Kind() != eval.Object {
		return name, errors.New("the result of the statement is not a JSON object, so it has no attributes")
	}
	members := x.attributes(len(r.Value().Members()))
	defer clear(members)
	conv := converter{left: maxItemBytes}
	if err := conv.list(members, r.Value()); err != nil {
		return name, err
	}
	return name, x.do.putMembers(name, members)
}

// keyField is one key attribute of the action dynamoDB.
type keyField struct {
	field, value *eval.Template
	number       bool
}

func (f *fields) keyField(prefix string) *keyField {
	k := &keyField{field: f.template(prefix+"Field", ""), value: f.template(prefix+"Value", "")}
	k.number = f.oneOf(prefix+"Type", "STRING", "NUMBER") == "NUMBER"
	switch {
	case k.field == nil && k.value == nil:
		return nil
	case k.field == nil || k.value == nil:
		f.fail("%sField and %sValue go together", prefix, prefix)
	}
	return k
}

func (k *keyField) set(item table.Item, m *eval.Message) error {
	text := k.value.Text(m)
	v := table.String(text)
	if k.number {
		var err error
		if v, err = table.Number(text); err != nil {
			return err
		}
	}
	item[k.field.Text(m)] = v
	return nil
}

// recordAction is the action dynamoDB: one item with the keys and the whole
// result in one attribute (AWS IoT developer guide, "DynamoDB").
type recordAction struct {
	table, payload *eval.Template
	hash, sort     *keyField // sort may be nil
	operation      *eval.Template
}

// The operations of the action dynamoDB.
const (
	opInsert = "INSERT" // writes the item over one with the same key
	opUpdate = "UPDATE" // sets the attribute for the payload, the others stay
	opDelete = "DELETE" // removes the item
)

func (f *fields) dynamoDB() action {
	f.role()
	a := &recordAction{
		table: f.required("tableName"), payload: f.template("payloadField", "payload"),
		hash: f.keyField("hashKey"), sort: f.keyField("rangeKey"), operation: f.template("operation", opInsert),
	}
	if a.hash == nil {
		f.fail("hashKeyField and hashKeyValue are required")
	}
	if a.operation != nil {
		if op, constant := a.operation.Constant(); constant {
			if err := checkOperation(op); err != nil {
				f.fail("%v", err)
			}
		}
	}
	f.distinct(a)
	return a
}

func checkOperation(op string) error {
	switch op {
	case opInsert, opUpdate, opDelete:
		return nil
	}
	return fmt.Errorf("operation %.40q: want %s", op, alternatives([]string{opInsert, opUpdate, opDelete}))
}

// distinct refuses names of attributes that are known to be the same.
func (f *fields) distinct(a *recordAction) {
	seen := map[string]string{}
	check := func(member string, t *eval.Template) {
		if t == nil {
			return
		}
		name, ok := t.Constant()
		if !ok {
			return
		}
		if other := seen[name]; other != "" {
			f.fail("%s and %s are both %.60q", other, member, name)
		}
		seen[name] = member
	}
	if a.hash != nil {
		check("hashKeyField", a.hash.field)
	}
	if a.sort != nil {
		check("rangeKeyField", a.sort.field)
	}
	check("payloadField", a.payload)
}

func (a *recordAction) name() string { return "DynamoAction" }

func (a *recordAction) run(x *execution, r eval.Result) (string, error) {
	name := a.table.Text(&x.msg)
	op := a.operation.Text(&x.msg)
	if err := checkOperation(op); err != nil {
		return name, err
	}
	if op == opUpdate { // its key waits for the commit
		key := make(table.Item, 2)
		if err := a.keys(key, &x.msg); err != nil {
			return name, err
		}
		return name, a.update(x, name, key, r)
	}
	item := items.Get().(table.Item)
	defer releaseItem(item)
	if err := a.keys(item, &x.msg); err != nil {
		return name, err
	}
	if op == opDelete {
		return name, x.do.remove(name, item)
	}
	attribute, v, err := a.attribute(x, item, r)
	if err != nil {
		return name, err
	}
	item[attribute] = v
	return name, x.do.put(name, item)
}

// keys sets the key attributes in item.
func (a *recordAction) keys(item table.Item, m *eval.Message) error {
	if err := a.hash.set(item, m); err != nil {
		return fmt.Errorf("hashKeyValue: %w", err)
	}
	if a.sort == nil {
		return nil
	}
	if err := a.sort.set(item, m); err != nil {
		return fmt.Errorf("rangeKeyValue: %w", err)
	}
	return nil
}

// attribute makes the attribute that holds the result.
func (a *recordAction) attribute(x *execution, keys table.Item, r eval.Result) (name string, v table.Value, err error) {
	name = a.payload.Text(&x.msg)
	if name == "" {
		return name, v, errors.New("payloadField: the name of the attribute is empty")
	}
	if _, ok := keys[name]; ok {
		return name, v, fmt.Errorf("payloadField: %.60q is the name of a key attribute", name)
	}
	conv := converter{left: maxItemBytes}
	v, err = conv.result(r)
	return name, v, err
}

func (a *recordAction) update(x *execution, tableName string, key table.Item, r eval.Result) error {
	attribute, v, err := a.attribute(x, key, r)
	if err != nil {
		return err
	}
	return x.do.update(tableName, key, attribute, v)
}
