package dynamodb

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/awsapi"
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

// ofTable are the operations that are about the table that TableName says. The
// others which transacted, batches and partiQL do not list are about "*".
var ofTable = []string{"PutItem", "UpdateItem", "DeleteItem", "GetItem", "Query", "Scan", "DescribeTable", "CreateTable", "DeleteTable", "UpdateTable",
	"DescribeTimeToLive", "UpdateTimeToLive", "DescribeContinuousBackups", "UpdateContinuousBackups", "CreateBackup"}

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
				out = append(out, need{"dynamodb:" + operation, tableResource(table.name)})
			}
		}
	case "TransactWriteItems", "TransactGetItems":
		out = needsOfTransaction(top)
	case "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction":
		for _, verb := range []string{"Select", "Insert", "Update", "Delete"} { // what a statement does is not looked at
			out = append(out, need{"dynamodb:PartiQL" + verb, "*"})
		}
	default:
		out = needsOfTable(operation, top)
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
	for _, raw := range named(top, "TableName") {
		resource := tableResource(plainText(raw))
		indexes := named(top, "IndexName")
		for _, index := range indexes {
			out = append(out, need{"dynamodb:" + operation, resource + "/index/" + plainText(index)})
		}
		if len(indexes) == 0 {
			out = append(out, need{"dynamodb:" + operation, resource})
		}
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
					out = append(out, need{"dynamodb:" + transacted[part.name], tableResource(plainText(table))})
				}
			}
		}
	}
	return out
}

// tableResource is a table in an ARN; a table may be given by its ARN.
func tableResource(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return "table/" + name
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

// plainText is a JSON text; "" of anything else, which names no table.
func plainText(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}
