package dynamodb

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/table"
)

func (h *Handler) createTable(in *input) ([]byte, error) {
	if err := in.checkCreate(); err != nil {
		return nil, err
	}
	r, err := in.createRequest()
	if err != nil {
		return nil, err
	}
	t, err := h.db.Create(r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"TableDescription": h.describe(t, "CREATING")})
}

func (in *input) createRequest() (r table.CreateRequest, err error) {
	r = table.CreateRequest{Name: *in.tableName, Attributes: in.attributes, Schema: in.schema, Tags: in.tags, Protected: isTrue(in.protection)}
	if err := checkTagMembers(in.tags); err != nil {
		return r, err
	}
	if r.Local, err = requests(in.local, false); err != nil {
		return r, err
	}
	if r.Global, err = requests(in.global, true); err != nil {
		return r, err
	}
	if r.Ceiling, err = in.ceiling.request("table"); err != nil {
		return r, err
	}
	if in.billing != nil {
		r.Billing = *in.billing
	}
	if in.class != nil {
		r.Class = *in.class
	}
	if in.throughput != nil {
		r.Read, r.Write = *in.throughput.read, *in.throughput.write
	}
	view, err := in.stream.stream(true)
	if view != nil {
		r.Stream = *view
	}
	return r, err
}

// checkCreate checks the members by themselves, then what mote can not do.
func (in *input) checkCreate() error {
	if in.tableName == nil {
		return refused("The parameter 'TableName' is required but was not present in the request")
	}
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(in.attributes != nil, "attributeDefinitions")
	c.required(in.schema != nil, "keySchema")
	c.enum(in.billing, "billingMode", table.Provisioned, table.PayPerRequest)
	c.definitions(in)
	c.streamSpec(in.stream)
	c.schema(in.schema, "keySchema")
	c.throughput(in.throughput, "provisionedThroughput")
	for i := range in.local {
		c.index(&in.local[i], "localSecondaryIndexes."+strconv.Itoa(i+1)+".member.")
	}
	for i := range in.global {
		c.index(&in.global[i], "globalSecondaryIndexes."+strconv.Itoa(i+1)+".member.")
	}
	if err := cmp.Or(c.err(), in.checkClass()); err != nil {
		return err
	}
	return in.checkOffered()
}

// checkClass holds TableClass to the classes there are, with words of its own.
func (in *input) checkClass() error {
	if in.class == nil || *in.class == "STANDARD" || *in.class == "STANDARD_INFREQUENT_ACCESS" {
		return nil
	}
	return refused("Invalid table-class parameter provided. Please try again with a valid table-class value: [STANDARD, STANDARD_INFREQUENT_ACCESS].")
}

// checkOffered refuses members that must not be ignored.
func (in *input) checkOffered() error {
	warm := slices.ContainsFunc(slices.Concat(in.global, in.local), func(x indexInput) bool { return x.warm })
	for _, u := range in.indexUpdates {
		warm = warm || u.create != nil && u.create.warm || u.update != nil && u.update.warm
	}
	if warm {
		in.notOffered = append(in.notOffered, "WarmThroughput of an index")
	}
	if len(in.notOffered) > 0 {
		return refused("mote does not offer " + strings.Join(in.notOffered, ", ") + " yet: leave it out of the request")
	}
	return nil
}

// checkTableName is what the operations on one table check.
func (in *input) checkTableName() (name string, err error) {
	var c constraints
	c.tableName(in.tableName, "tableName")
	if err := c.err(); err != nil {
		return "", err
	}
	return bareName(*in.tableName), nil
}

// namedTable returns the table that the operations on one table name.
func (h *Handler) namedTable(in *input) (*table.Table, error) {
	name, err := in.checkTableName()
	if err != nil {
		return nil, err
	}
	return h.db.Describe(name)
}

func (h *Handler) describeTable(in *input) ([]byte, error) {
	t, err := h.namedTable(in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"Table": h.describe(t, "")})
}

func (h *Handler) deleteTable(in *input) ([]byte, error) {
	name, err := in.checkTableName()
	if err != nil {
		return nil, err
	}
	t, err := h.db.Delete(name)
	if err != nil {
		return nil, err
	}
	d := h.describe(t, "DELETING")
	for _, gone := range []string{"CreationDateTime", "KeySchema", "AttributeDefinitions", "LocalSecondaryIndexes", "GlobalSecondaryIndexes"} {
		delete(d, gone) // as on AWS
	}
	return json.Marshal(map[string]any{"TableDescription": d})
}

func (h *Handler) listTables(in *input) ([]byte, error) {
	var c constraints
	limit, after := 0, ""
	if in.startTable != nil {
		c.tableName(in.startTable, "exclusiveStartTableName")
		after = *in.startTable
	}
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 100)
	if err := c.err(); err != nil {
		return nil, err
	}
	if in.limit != nil {
		limit = int(*in.limit)
	}
	names, last := h.db.List(after, limit)
	var a answer
	a.member("TableNames")
	a.out = appendList(a.out, names, appendString)
	if last != "" {
		a.member("LastEvaluatedTableName")
		a.out = appendString(a.out, last)
	}
	return a.done(), nil
}

// describe returns the TableDescription of a table. status is "" for a table
// as it is, else what it is shown as while it comes or goes.
func (h *Handler) describe(t *table.Table, status string) map[string]any {
	definitions := []map[string]string{}
	for _, k := range t.Attributes() {
		definitions = append(definitions, definition(&k))
	}
	n, shown := table.Count{}, status
	if status == "" {
		n, shown = h.db.Count(t), "ACTIVE"
		if t.Restoring() {
			shown = "CREATING"
		}
	}
	d := map[string]any{
		"TableName": t.Name, "TableArn": t.ARN, "TableId": t.UUID, "TableStatus": shown,
		"AttributeDefinitions": definitions, "KeySchema": schemaOf(&t.Hash, t.Range),
		"CreationDateTime": epoch(t.Created), "ItemCount": n.Items, "TableSizeBytes": n.Bytes,
		"ProvisionedThroughput":     map[string]any{"NumberOfDecreasesToday": 0, "ReadCapacityUnits": t.Read, "WriteCapacityUnits": t.Write},
		"DeletionProtectionEnabled": t.Protected,
	}
	describeStream(d, t.Stream)
	h.describeIndexes(d, t, status)
	describeSource(d, t)
	describeCeiling(d, t.Ceiling)
	if t.Billing == table.PayPerRequest {
		d["BillingModeSummary"] = map[string]any{"BillingMode": t.Billing, "LastUpdateToPayPerRequestDateTime": epoch(t.Created)}
	}
	if t.Class != "" {
		d["TableClassSummary"] = map[string]any{"TableClass": t.Class}
	}
	return d
}

func definition(k *table.KeyAttr) map[string]string {
	return map[string]string{"AttributeName": k.Name, "AttributeType": k.Kind.String()}
}

// epoch is a time as the wire has it: seconds with a fraction.
func epoch(t time.Time) json.Number {
	return json.Number(strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64))
}
