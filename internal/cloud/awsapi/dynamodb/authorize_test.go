package dynamodb

import (
	"reflect"
	"testing"
)

func TestWhatACallNeeds(t *testing.T) {
	one := func(action, resource string) []need { return []need{{"dynamodb:" + action, resource}} }
	for _, c := range []struct {
		operation, body string
		want            []need
	}{
		{"PutItem", `{"TableName":"air","Item":{"TableName":{"S":"x"}}}`, one("PutItem", "table/air")},
		{"GetItem", `{"TableName":"arn:aws:dynamodb:us-east-1:000000000001:table/air"}`, one("GetItem", "arn:aws:dynamodb:us-east-1:000000000001:table/air")},
		{"Query", `{"TableName":"air","IndexName":"by-time"}`, one("Query", "table/air/index/by-time")},
		// Whichever of two the operation goes by, both must be allowed.
		{"PutItem", `{"TableName":"air","TableName":"secret","tablename":"x"}`, []need{{"dynamodb:PutItem", "table/air"}, {"dynamodb:PutItem", "table/secret"}}},
		{"BatchWriteItem", `{"RequestItems":{"air":[]},"RequestItems":{"secret":[]}}`, []need{{"dynamodb:BatchWriteItem", "table/air"}, {"dynamodb:BatchWriteItem", "table/secret"}}},
		{"BatchWriteItem", `{"TableName":"air"}`, one("BatchWriteItem", "*")},
		{"TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"air"}},{"Delete":{"TableName":"rest"},"ConditionCheck":{"TableName":"air"}}]}`,
			[]need{{"dynamodb:PutItem", "table/air"}, {"dynamodb:DeleteItem", "table/rest"}, {"dynamodb:ConditionCheckItem", "table/air"}}},
		{"RestoreTableFromBackup", `{"TableName":"air","TargetTableName":"new"}`, one("RestoreTableFromBackup", "*")},
		{"ListTables", `{}`, one("ListTables", "*")},
		{"PutItem", `[]`, one("PutItem", "*")},
		{streamsPrefix + "GetRecords", `{}`, one("GetRecords", "*")},
	} {
		if got := needs(c.operation, []byte(c.body)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: %v", c.operation, c.body, got)
		}
	}
	if got := needs("ExecuteStatement", []byte(`{"Statement":"SELECT * FROM air"}`)); len(got) != 4 || got[0].resource != "*" {
		t.Errorf("a statement: %v", got)
	}
}
