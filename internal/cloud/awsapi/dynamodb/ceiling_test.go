package dynamodb

import (
	"encoding/json"
	"strings"
	"testing"
)

// described are the ceilings that DescribeTable tells, of the table and of its
// only global index.
func described(t *testing.T, answer string) (ofTable, ofIndex string) {
	t.Helper()
	type part struct{ OnDemandThroughput json.RawMessage }
	var d struct {
		Table struct {
			part
			GlobalSecondaryIndexes []part
		}
	}
	if err := json.Unmarshal([]byte(answer), &d); err != nil || len(d.Table.GlobalSecondaryIndexes) != 1 {
		t.Fatalf("%v: %s", err, answer)
	}
	return string(d.Table.OnDemandThroughput), string(d.Table.GlobalSecondaryIndexes[0].OnDemandThroughput)
}

func TestCeilingsAreKeptAndDescribed(t *testing.T) {
	server, _ := serve(t)
	const keys = `"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}]`
	index := func(more string) string {
		return `"GlobalSecondaryIndexes":[{"IndexName":"gsi","KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"Projection":{"ProjectionType":"ALL"}` + more + `}]`
	}
	must(t, server, "CreateTable", `{"TableName":"air","BillingMode":"PAY_PER_REQUEST",`+keys+`,"OnDemandThroughput":{"MaxReadRequestUnits":-1,"MaxWriteRequestUnits":7},`+
		index(`,"OnDemandThroughput":{"MaxReadRequestUnits":-1,"MaxWriteRequestUnits":-1}`)+`}`)
	for _, c := range []struct{ change, ofTable, ofIndex string }{
		{"", `{"MaxWriteRequestUnits":7}`, ``},
		{`"OnDemandThroughput":{"MaxReadRequestUnits":9}`, `{"MaxReadRequestUnits":9,"MaxWriteRequestUnits":7}`, ``},
		{`"OnDemandThroughput":{"MaxWriteRequestUnits":-1}`, `{"MaxReadRequestUnits":9}`, ``},
		{`"GlobalSecondaryIndexUpdates":[{"Update":{"IndexName":"gsi","OnDemandThroughput":{"MaxReadRequestUnits":3}}}]`, `{"MaxReadRequestUnits":9}`, `{"MaxReadRequestUnits":3}`},
		{`"BillingMode":"PROVISIONED","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1},
			"GlobalSecondaryIndexUpdates":[{"Update":{"IndexName":"gsi","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}}}]`, ``, ``},
	} {
		if c.change != "" {
			must(t, server, "UpdateTable", `{"TableName":"air",`+c.change+`}`)
		}
		ofTable, ofIndex := described(t, must(t, server, "DescribeTable", `{"TableName":"air"}`))
		if ofTable != c.ofTable || ofIndex != c.ofIndex {
			t.Errorf("after %s: %s, index %s; want %s, index %s", c.change, ofTable, ofIndex, c.ofTable, c.ofIndex)
		}
	}
	const provisioned = `"ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`
	for _, c := range []struct{ op, body, want string }{
		{"UpdateTable", `{"TableName":"air","OnDemandThroughput":{"MaxWriteRequestUnits":5}}`, "invalid: MaxWriteRequestUnits for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED"},
		{"UpdateTable", `{"TableName":"air","OnDemandThroughput":{"MaxReadRequestUnits":0}}`, "Requested MaxReadRequestUnits for OnDemandThroughput for table is outside of valid range"},
		{"UpdateTable", `{"TableName":"air","GlobalSecondaryIndexUpdates":[{"Update":{"IndexName":"gsi","OnDemandThroughput":{"MaxReadRequestUnits":5}}}]}`, "MaxReadRequestUnits for OnDemandThroughput for index : gsi cannot be specified when the table BillingMode is PROVISIONED"},
		{"CreateTable", `{"TableName":"new",` + provisioned + `,` + keys + `,"OnDemandThroughput":{"MaxReadRequestUnits":5}}`, "cannot be specified when table BillingMode is PROVISIONED."},
		{"CreateTable", `{"TableName":"new","BillingMode":"PAY_PER_REQUEST",` + keys + `,"OnDemandThroughput":{"MaxReadRequestUnits":-2}}`, "for table is outside of valid range"},
		{"CreateTable", `{"TableName":"new","BillingMode":"PAY_PER_REQUEST",` + keys + `,` + index(`,"OnDemandThroughput":{"MaxReadRequestUnits":0}`) + `}`, "for index : gsi is outside of valid range"},
		{"CreateTable", `{"TableName":"new","BillingMode":"PAY_PER_REQUEST",` + keys + `,` + index(`,"WarmThroughput":{"ReadUnitsPerSecond":12000}`) + `}`, "mote does not offer WarmThroughput of an index"},
	} {
		if status, answer := call(t, server, c.op, c.body); status != 400 || !strings.Contains(answer, c.want) {
			t.Errorf("%s %s\n got %d %s\nwant %s", c.op, c.body, status, answer, c.want)
		}
	}
}
