package dynamodb

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/partiql"
	"mote/internal/sigv4"
)

// need is what a call needs the permission for (DynamoDB developer guide,
// "DynamoDB API permissions: Actions, resources, and conditions reference").
type need struct{ action, resource string }

// authorize refuses a call of who has a temporary access key that may not make it.
func authorize(r *http.Request, operation string, body []byte) error {
	caller := awsapi.Caller(r.Context())
	if caller.May == nil || caller.Session == nil {
		return nil
	}
	for _, n := range needs(operation, body) {
		if caller.May(n.action, n.resource) != nil {
			return &wireError{status: http.StatusBadRequest, space: coral, code: sigv4.CodeDenied,
				message: "User: " + caller.Session.Principal + " is not authorized to perform: " + n.action + " on resource: " + n.resource + " because no identity-based policy allows the " + n.action + " action"}
		}
	}
	return nil
}

// ofTable are the operations that are about the table that TableName says.
var ofTable = []string{"PutItem", "UpdateItem", "DeleteItem", "GetItem", "Query", "Scan", "DescribeTable", "CreateTable", "DeleteTable", "UpdateTable",
	"DescribeTimeToLive", "UpdateTimeToLive", "DescribeContinuousBackups", "UpdateContinuousBackups", "CreateBackup",
	"DescribeContributorInsights", "DescribeKinesisStreamingDestination"}

// ofARN are the operations that are about what an ARN names, with the member that
// has it. Those that are listed nowhere are about "*".
var ofARN = map[string]string{
	"DescribeBackup": "BackupArn", "DeleteBackup": "BackupArn", "RestoreTableFromBackup": "BackupArn",
	"ExportTableToPointInTime": "TableArn", "DescribeExport": "ExportArn",
	"TagResource": "ResourceArn", "UntagResource": "ResourceArn", "ListTagsOfResource": "ResourceArn", "GetResourcePolicy": "ResourceArn",
	streamsPrefix + "DescribeStream": "StreamArn", streamsPrefix + "GetShardIterator": "StreamArn",
}

// listOfStatements are the members with the statements of an operation that takes
// several.
var listOfStatements = map[string]string{"BatchExecuteStatement": "Statements", "ExecuteTransaction": "TransactStatements"}

// transacted are the actions of the parts of a transaction.
var transacted = map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem"}

// needs lists what an operation needs. A body may have a member twice; then each
// of them counts, whichever the operation goes by.
func needs(operation string, body []byte) (out []need) {
	top := allMembers(body)
	switch operation {
	case "BatchWriteItem", "BatchGetItem":
		for _, m := range named(top, "RequestItems") {
			for _, table := range allMembers(m) {
				out = append(out, need{"dynamodb:" + operation, tableResource(table.name, "")})
			}
		}
	case "TransactWriteItems", "TransactGetItems":
		out = needsOfTransaction(top)
	case "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction":
		out = needsOfStatements(operation, top)
	default:
		out = append(needsOfTable(operation, top), needsOfARN(operation, top)...)
	}
	if len(out) == 0 {
		return []need{{"dynamodb:" + strings.TrimPrefix(operation, streamsPrefix), "*"}}
	}
	return out
}

func needsOfTable(operation string, top []member) (out []need) {
	if !slices.Contains(ofTable, operation) {
		return nil
	}
	indexes := []json.RawMessage{nil}
	if given := named(top, "IndexName"); given != nil && (operation == "Query" || operation == "Scan") { // to the others it means nothing
		indexes = given
	}
	for _, raw := range named(top, "TableName") {
		for _, index := range indexes {
			out = append(out, need{"dynamodb:" + operation, tableResource(plainText(raw), plainText(index))})
		}
	}
	return out
}

func needsOfARN(operation string, top []member) (out []need) {
	action := "dynamodb:" + strings.TrimPrefix(operation, streamsPrefix)
	for _, raw := range named(top, ofARN[operation]) {
		out = append(out, need{action, plainText(raw)})
	}
	if operation == "RestoreTableFromBackup" {
		for _, raw := range named(top, "TargetTableName") {
			out = append(out, need{action, tableResource(plainText(raw), "")})
		}
	}
	return out
}

func needsOfStatements(operation string, top []member) (out []need) {
	with := [][]member{top}
	if name, several := listOfStatements[operation]; several {
		with = nil
		for _, list := range named(top, name) {
			var items []json.RawMessage
			_ = json.Unmarshal(list, &items) // no list is refused by the operation
			for _, item := range items {
				with = append(with, allMembers(item))
			}
		}
	}
	for _, members := range with {
		for _, raw := range named(members, "Statement") {
			out = append(out, needsOfStatement(plainText(raw))...)
		}
	}
	return out
}

// needsOfStatement lists what a statement needs; of one that cannot be read, all.
func needsOfStatement(text string) (out []need) {
	parsed, _, err := partiql.Parse(text)
	if err != nil {
		parsed = nil
	}
	if exists, ok := parsed.(*partiql.Exists); ok {
		parsed = exists.Select
	}
	switch s := parsed.(type) {
	case *partiql.Select:
		return []need{{"dynamodb:PartiQLSelect", tableResource(s.From.Table, s.From.Index)}}
	case *partiql.Insert:
		return []need{{"dynamodb:PartiQLInsert", tableResource(s.Table, "")}}
	case *partiql.Update:
		return []need{{"dynamodb:PartiQLUpdate", tableResource(s.Table, "")}}
	case *partiql.Delete:
		return []need{{"dynamodb:PartiQLDelete", tableResource(s.Table, "")}}
	}
	for _, verb := range []string{"Select", "Insert", "Update", "Delete"} {
		out = append(out, need{"dynamodb:PartiQL" + verb, "*"})
	}
	return out
}

func needsOfTransaction(top []member) (out []need) {
	for _, list := range named(top, "TransactItems") {
		var items []json.RawMessage
		_ = json.Unmarshal(list, &items) // no list is refused by the operation
		for _, item := range items {
			for _, part := range allMembers(item) {
				for _, table := range named(allMembers(part.value), "TableName") {
					out = append(out, need{"dynamodb:" + transacted[part.name], tableResource(plainText(table), "")})
				}
			}
		}
	}
	return out
}

// tableResource is a table, or an index of it unless that is "", in an ARN. A
// table may be given by its ARN, of which only the name counts, here as there.
func tableResource(name, index string) string {
	name = "table/" + bareName(name)
	if index != "" {
		name += "/index/" + index
	}
	return name
}

// member is one member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// allMembers returns the members of an object in their order, each as often as it
// is there; none of what is no object.
func allMembers(raw []byte) (out []member) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		m := member{name: name}
		if err != nil || !ok || d.Decode(&m.value) != nil {
			return out
		}
		out = append(out, m)
	}
	return out
}

// named returns the values of the members of that name.
func named(list []member, name string) (out []json.RawMessage) {
	for _, m := range list {
		if m.name == name {
			out = append(out, m.value)
		}
	}
	return out
}

// plainText is a JSON text as the operations read it; "" of anything else, which
// names nothing.
func plainText(raw json.RawMessage) string {
	s := &scanner{data: raw}
	if text := s.text(); text != nil && s.err == nil {
		return *text
	}
	return ""
}
