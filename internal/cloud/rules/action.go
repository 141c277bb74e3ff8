package rules

import (
	"errors"
	"fmt"

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
	return name, x.engine.tables.PutMembers(x.batch, name, members)
}

// keyField is one key attribute of the action dynamoDB.
type keyField struct {
	field, value *eval.Template
	number       bool
}

func (f *fields) keyField(prefix string) *keyField {
	k := &keyField{field: f.template(prefix+"Field", ""), value: f.template(prefix+"Value", "")}
	switch t := f.text(prefix + "Type"); t {
	case "", "STRING":
	case "NUMBER":
		k.number = true
	default:
		f.fail("%sType %.40q: want STRING or NUMBER", prefix, t)
	}
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
}

func (f *fields) dynamoDB() action {
	f.role()
	a := &recordAction{
		table: f.required("tableName"), payload: f.template("payloadField", "payload"),
		hash: f.keyField("hashKey"), sort: f.keyField("rangeKey"),
	}
	if a.hash == nil {
		f.fail("hashKeyField and hashKeyValue are required")
	}
	if op := f.text("operation"); op != "" && op != "INSERT" {
		f.fail("operation %.40q is not supported: use INSERT, or leave it out", op)
	}
	f.distinct(a)
	return a
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
	item := items.Get().(table.Item)
	defer releaseItem(item)
	conv := converter{left: maxItemBytes}
	v, err := conv.result(r)
	if err != nil {
		return name, err
	}
	item[a.payload.Text(&x.msg)] = v
	if err := a.hash.set(item, &x.msg); err != nil {
		return name, fmt.Errorf("hashKeyValue: %w", err)
	}
	if a.sort != nil {
		if err := a.sort.set(item, &x.msg); err != nil {
			return name, fmt.Errorf("rangeKeyValue: %w", err)
		}
	}
	return name, x.engine.tables.Put(x.batch, name, item)
}
