// Package table is the DynamoDB engine: tables, items, conditions and queries
// over the cloud's store. It knows nothing of HTTP or JSON: package
// awsapi/dynamodb speaks the wire.
package table
