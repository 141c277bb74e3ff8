package dynamodb

import (
	"net/http"

	"mote/internal/cloud/table"
)

// input is the members of all requests that the handler knows; one that is
// absent or null is nil. Unknown members are passed over, as AWS does.
type input struct {
	op   string
	host string // that the client came to

	tableName, indexName, resourceArn, startTable         *string
	keyCondition, filter, condition, projection, update   *string
	conditionalOperator                                   *string
	returnValues, returnCapacity, returnMetrics, onFailed *string
	selects, billing, class                               *string
	limit, segment, segments                              *int64
	consistent, forward, protection                       *bool

	item, key, startKey *item
	names               map[string]string // nil: absent
	values              *placeholders
	requestItems        []byte   // decoded by the operation
	notOffered          []string // members of CreateTable that mote can not do

	// The parameters from before expressions; nil: absent.
	expected, keyConditions, queryFilter, scanFilter []condition
	updates                                          []attributeUpdate
	attributesToGet                                  []string

	attributes                                                                  []table.KeyAttr
	typeNames                                                                   []string // of attributes, as written
	schema                                                                      []table.KeyElement
	local, global                                                               []indexInput  // nil: absent
	indexUpdates                                                                []indexUpdate // nil: absent
	stream                                                                      *streamSpec
	streamArn, startStream, startShard, shard, iteratorType, iterator, sequence *string
	ttl                                                                         *ttlInput
	throughput                                                                  *throughput
	ceiling                                                                     *ceilingInput
	tags                                                                        []table.Tag
	tagKeys                                                                     []string

	transactItems      []byte // as requestItems, as the two that follow
	statements         []byte
	transactStatements []byte
	statement          *string
	parameters         []attribute // nil: absent
	nextToken          *string
	token              *string // ClientRequestToken

	backup backupInput
	export exportInput

	recovery      *bool // PointInTimeRecoveryEnabled
	recoveryGiven bool
}

type throughput struct{ read, write *int64 }

// placeholders are ExpressionAttributeValues in the order of the request.
type placeholders struct {
	table.Item
	order  []string
	faults map[string]error
}

// members says how the members with a structure of their own are taken.
var members = map[string]func(*scanner, *input){
	"ExpressionAttributeNames":         func(s *scanner, in *input) { in.names = s.stringMap() },
	"ExpressionAttributeValues":        (*scanner).takeValues,
	"AttributeDefinitions":             (*scanner).takeAttributes,
	"KeySchema":                        func(s *scanner, in *input) { in.schema = s.schema() },
	"ProvisionedThroughput":            func(s *scanner, in *input) { in.throughput = s.throughput() },
	"OnDemandThroughput":               func(s *scanner, in *input) { in.ceiling = s.ceiling() },
	"LocalSecondaryIndexes":            func(s *scanner, in *input) { in.local = s.indexes("LocalSecondaryIndex") },
	"GlobalSecondaryIndexes":           func(s *scanner, in *input) { in.global = s.indexes("GlobalSecondaryIndex") },
	"GlobalSecondaryIndexUpdates":      func(s *scanner, in *input) { in.indexUpdates = s.indexUpdates() },
	"StreamSpecification":              func(s *scanner, in *input) { in.stream = s.streamSpec() },
	"TimeToLiveSpecification":          func(s *scanner, in *input) { in.ttl = s.ttl() },
	"Tags":                             (*scanner).takeTags,
	"PointInTimeRecoverySpecification": (*scanner).takeRecovery,
	"TagKeys":                          func(s *scanner, in *input) { in.tagKeys = s.texts() },
	"Expected":                         func(s *scanner, in *input) { in.expected = s.conditions("ExpectedAttributeValue") },
	"KeyConditions":                    func(s *scanner, in *input) { in.keyConditions = s.conditions("Condition") },
	"QueryFilter":                      func(s *scanner, in *input) { in.queryFilter = s.conditions("Condition") },
	"ScanFilter":                       func(s *scanner, in *input) { in.scanFilter = s.conditions("Condition") },
	"AttributeUpdates":                 func(s *scanner, in *input) { in.updates = s.attributeUpdates() },
	"AttributesToGet":                  func(s *scanner, in *input) { in.attributesToGet = s.texts() },
	"RequestItems":                     func(s *scanner, in *input) { in.requestItems = s.raw() },
	"TransactItems":                    func(s *scanner, in *input) { in.transactItems = s.raw() },
	"TimeRangeLowerBound":              func(s *scanner, in *input) { in.backup.from = s.moment() },
	"TimeRangeUpperBound":              func(s *scanner, in *input) { in.backup.until = s.moment() },
	"ExportTime":                       func(s *scanner, in *input) { in.export.at = s.moment() },
	"S3BucketOwner":                    takeUnoffered("S3BucketOwner"),
	"S3SseAlgorithm":                   takeUnoffered("S3SseAlgorithm"),
	"S3SseKmsKeyId":                    takeUnoffered("S3SseKmsKeyId"),
	"IncrementalExportSpecification":   takeUnoffered("IncrementalExportSpecification"),
	"ProvisionedThroughputOverride":    func(s *scanner, in *input) { in.backup.throughput = s.throughput() },
	"GlobalSecondaryIndexOverride":     takeOverride("GlobalSecondaryIndexOverride"),
	"LocalSecondaryIndexOverride":      takeOverride("LocalSecondaryIndexOverride"),
	"SSESpecificationOverride":         takeOverride("SSESpecificationOverride"),
	"OnDemandThroughputOverride":       takeOverride("OnDemandThroughputOverride"),
	"Statements":                       func(s *scanner, in *input) { in.statements = s.raw() },
	"TransactStatements":               func(s *scanner, in *input) { in.transactStatements = s.raw() },
	"Parameters":                       func(s *scanner, in *input) { in.parameters = s.attributes() },
}

// decode takes a request apart. Wrong JSON types are a SerializationException.
func decode(op string, body []byte) (*input, error) {
	in := &input{op: op}
	s := &scanner{data: body, falseNull: op == "PutItem"} // as DynamoDB does since June 2026
	s.object(unexpectedValue, unexpectedValue, func(name string) { s.member(in, name) })
	return in, s.err
}

func (s *scanner) member(in *input, name string) {
	if p := in.text(name); p != nil {
		*p = s.text()
	} else if p := in.integer(name); p != nil {
		*p = s.integer("Integer")
	} else if p := in.boolean(name); p != nil {
		*p = s.boolean()
	} else if p := in.itemMember(name); p != nil {
		*p = s.item(maxNesting)
	} else if take := members[name]; take != nil {
		if !s.null() {
			take(s, in)
		}
	} else {
		s.other(in, name)
	}
}

func (in *input) text(name string) **string {
	switch name {
	case "TableName":
		return &in.tableName
	case "IndexName":
		return &in.indexName
	case "ResourceArn":
		return &in.resourceArn
	case "ExclusiveStartTableName":
		return &in.startTable
	case "KeyConditionExpression":
		return &in.keyCondition
	case "FilterExpression":
		return &in.filter
	case "ConditionExpression":
		return &in.condition
	case "ProjectionExpression":
		return &in.projection
	case "UpdateExpression":
		return &in.update
	case "ConditionalOperator":
		return &in.conditionalOperator
	case "ReturnValues":
		return &in.returnValues
	case "ReturnConsumedCapacity":
		return &in.returnCapacity
	case "ReturnItemCollectionMetrics":
		return &in.returnMetrics
	case "ReturnValuesOnConditionCheckFailure":
		return &in.onFailed
	case "Select":
		return &in.selects
	case "StreamArn":
		return &in.streamArn
	case "ExclusiveStartStreamArn":
		return &in.startStream
	case "ExclusiveStartShardId":
		return &in.startShard
	case "ShardId":
		return &in.shard
	case "ShardIteratorType":
		return &in.iteratorType
	case "ShardIterator":
		return &in.iterator
	case "SequenceNumber":
		return &in.sequence
	case "BillingMode":
		return &in.billing
	case "TableClass":
		return &in.class
	case "ClientRequestToken":
		return &in.token
	case "Statement":
		return &in.statement
	case "NextToken":
		return &in.nextToken
	}
	if p := in.backup.text(name); p != nil {
		return p
	}
	return in.export.text(name)
}

func (in *input) integer(name string) **int64 {
	switch name {
	case "Limit":
		return &in.limit
	case "Segment":
		return &in.segment
	case "TotalSegments":
		return &in.segments
	case "MaxResults":
		return &in.export.max
	}
	return nil
}

func (in *input) boolean(name string) **bool {
	switch name {
	case "ConsistentRead":
		return &in.consistent
	case "ScanIndexForward":
		return &in.forward
	case "DeletionProtectionEnabled":
		return &in.protection
	}
	return nil
}

func (in *input) itemMember(name string) **item {
	switch name {
	case "Item":
		return &in.item
	case "Key":
		return &in.key
	case "ExclusiveStartKey":
		return &in.startKey
	}
	return nil
}

// other passes over a member that is not taken, and notes those that must not
// be ignored.
func (s *scanner) other(in *input, name string) {
	switch raw := string(s.raw()); {
	case raw == "null":
	case in.op != "CreateTable" && in.op != "UpdateTable":
	case name == "SSESpecification":
		if switchedOn([]byte(raw)) {
			in.notOffered = append(in.notOffered, name)
		}
	case name == "ReplicaUpdates" && raw == "[]":
	case name == "ResourcePolicy" || name == "ReplicaUpdates" || name == "WarmThroughput":
		in.notOffered = append(in.notOffered, name)
	}
}

// switchedOn says whether {"StreamEnabled":…} or {"Enabled":…} is true.
func switchedOn(raw []byte) (on bool) {
	s := &scanner{data: raw}
	s.object(unexpectedValue, unexpectedValue, func(name string) {
		if name == "StreamEnabled" || name == "Enabled" {
			on = s.truth()
			return
		}
		s.skip()
	})
	return on || s.err != nil
}

func (s *scanner) stringMap() map[string]string {
	m := map[string]string{}
	s.object(unexpectedField, "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>", func(key string) {
		m[key] = s.str()
	})
	return m
}

// texts takes a list of strings, which is not nil.
func (s *scanner) texts() []string {
	list := []string{}
	s.list(func() { list = append(list, s.str()) })
	return list
}

func (s *scanner) takeValues(in *input) {
	in.values = &placeholders{Item: table.Item{}, faults: map[string]error{}}
	s.object(unexpectedField, notAnItem, func(key string) {
		a := s.attribute(maxNesting, unexpectedValue)
		in.values.Item[key] = a.Value
		in.values.order = append(in.values.order, key)
		if a.fault != nil {
			in.values.faults[key] = a.fault
		}
	})
}

func structureOf(name string) string {
	return "Unrecognized collection type class com.amazonaws.dynamodb.v20120810." + name
}

func (s *scanner) takeAttributes(in *input) {
	in.attributes = []table.KeyAttr{}
	s.list(func() {
		name, kind := absent, absent
		s.object(unexpectedValue, structureOf("AttributeDefinition"), func(member string) {
			switch member {
			case "AttributeName":
				name = s.str()
			case "AttributeType":
				kind = s.str()
			default:
				s.skip()
			}
		})
		k, _ := table.KindOf(kind)
		in.attributes = append(in.attributes, table.KeyAttr{Name: name, Kind: k})
		in.typeNames = append(in.typeNames, kind)
	})
}

func (s *scanner) takeTags(in *input) {
	in.tags = []table.Tag{}
	s.list(func() {
		t := table.Tag{Key: absent, Value: absent}
		s.object(unexpectedValue, structureOf("Tag"), func(member string) {
			switch member {
			case "Key":
				t.Key = s.str()
			case "Value":
				t.Value = s.str()
			default:
				s.skip()
			}
		})
		in.tags = append(in.tags, t)
	})
}

// refused returns a ValidationException.
func refused(message string) error {
	return &wireError{status: http.StatusBadRequest, space: validation, code: table.CodeValidation, message: message}
}
