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
		{"GetItem", `{"TableName":"arn:aws:dynamodb:us-east-1:000000000001:table/air"}`, one("GetItem", "table/air")},
		// Of an ARN only the name counts, so that no other spelling of it passes a Deny.
		{"GetItem", `{"TableName":"arn:x:table/secret"}`, one("GetItem", "table/secret")},
		{"BatchGetItem", `{"RequestItems":{"arn:x:table/secret":{}}}`, one("BatchGetItem", "table/secret")},
		{"Query", `{"TableName":"air","IndexName":"by-time"}`, one("Query", "table/air/index/by-time")},
		{"Query", `{"TableName":"air","IndexName":null}`, one("Query", "table/air")},
		{"Scan", `{"TableName":"air","IndexName":"by-time","IndexName":null}`, []need{{"dynamodb:Scan", "table/air/index/by-time"}, {"dynamodb:Scan", "table/air"}}},
		// PutItem passes an index over: the table is what is written.
		{"PutItem", `{"TableName":"air","IndexName":"by-time"}`, one("PutItem", "table/air")},
		// Whichever of two the operation goes by, both must be allowed.
		{"PutItem", `{"TableName":"air","TableName":"secret","tablename":"x"}`, []need{{"dynamodb:PutItem", "table/air"}, {"dynamodb:PutItem", "table/secret"}}},
		{"BatchWriteItem", `{"RequestItems":{"air":[]},"RequestItems":{"secret":[]}}`, []need{{"dynamodb:BatchWriteItem", "table/air"}, {"dynamodb:BatchWriteItem", "table/secret"}}},
		{"BatchWriteItem", `{"TableName":"air"}`, one("BatchWriteItem", "*")},
		{"TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"air"}},{"Delete":{"TableName":"rest"},"ConditionCheck":{"TableName":"air"}}]}`,
			[]need{{"dynamodb:PutItem", "table/air"}, {"dynamodb:DeleteItem", "table/rest"}, {"dynamodb:ConditionCheckItem", "table/air"}}},
		{"RestoreTableFromBackup", `{"TableName":"air","BackupArn":"arn:b","TargetTableName":"new"}`, []need{{"dynamodb:RestoreTableFromBackup", "arn:b"}, {"dynamodb:RestoreTableFromBackup", "table/new"}}},
		{"ExportTableToPointInTime", `{"TableArn":"arn:t"}`, one("ExportTableToPointInTime", "arn:t")},
		{streamsPrefix + "GetShardIterator", `{"StreamArn":"arn:s"}`, one("GetShardIterator", "arn:s")},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM \"air\".\"by-time\""}`, one("PartiQLSelect", "table/air/index/by-time")},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM air","Statement":"INSERT INTO \"secret\" VALUE {'h':'1'}"}`,
			[]need{{"dynamodb:PartiQLSelect", "table/air"}, {"dynamodb:PartiQLInsert", "table/secret"}}},
		{"BatchExecuteStatement", `{"Statement":"SELECT * FROM air","Statements":[{"Statement":"DELETE FROM secret WHERE h='1'"}]}`, one("PartiQLDelete", "table/secret")},
		{"ExecuteTransaction", `{"TransactStatements":[{"Statement":"EXISTS(SELECT * FROM air WHERE h='1')"},{"Statement":"UPDATE secret SET a=1 WHERE h='1'"}]}`,
			[]need{{"dynamodb:PartiQLSelect", "table/air"}, {"dynamodb:PartiQLUpdate", "table/secret"}}},
		{"ListTables", `{}`, one("ListTables", "*")},
		{"PutItem", `[]`, one("PutItem", "*")},
		{streamsPrefix + "GetRecords", `{}`, one("GetRecords", "*")},
	} {
		if got := needs(c.operation, []byte(c.body)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: %v", c.operation, c.body, got)
		}
	}
	if got := needs("ExecuteStatement", []byte(`{"Statement":"SELECT"}`)); len(got) != 4 || got[0].resource != "*" {
		t.Errorf("a statement that cannot be read: %v", got)
	}
}
