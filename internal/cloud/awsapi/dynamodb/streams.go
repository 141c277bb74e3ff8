package dynamodb

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/table"
)

// streamsPrefix opens the targets of the streams API (api version 2012-08-10).
const streamsPrefix = "DynamoDBStreams_20120810."

// streamSpec is a StreamSpecification; what is absent is nil.
type streamSpec struct {
	enabled *bool
	view    *string
}

func (s *scanner) streamSpec() *streamSpec {
	spec := &streamSpec{}
	s.object(unexpectedValue, structureOf("StreamSpecification"), func(member string) {
		switch member {
		case "StreamEnabled":
			spec.enabled = s.boolean()
		case "StreamViewType":
			spec.view = s.text()
		default:
			s.skip()
		}
	})
	return spec
}

func (c *constraints) streamSpec(spec *streamSpec) {
	if spec != nil {
		c.required(spec.enabled != nil, "streamSpecification.streamEnabled")
		c.enum(spec.view, "streamSpecification.streamViewType", table.ViewOld, table.ViewKeys, table.ViewBoth, table.ViewNew)
	}
}

// stream returns the view that the specification asks for: nil for no change,
// "" to disable. AWS words the refusals of a new table and of a change apart.
func (spec *streamSpec) stream(isNew bool) (*string, error) {
	const invalid = "One or more parameter values were invalid: "
	noView, needless := "If stream is being enabled then UpdateViewType is required", "If stream is being disabled, then UpdateViewType must not be specified"
	if isNew {
		noView, needless = "Table is being created with a stream enabled, UpdateViewType is required", "Table is being created with a stream disabled, UpdateViewType should not be specified"
	}
	switch {
	case spec == nil:
		return nil, nil
	case *spec.enabled && spec.view == nil:
		return nil, refused(invalid + noView)
	case !*spec.enabled && spec.view != nil:
		return nil, refused(invalid + needless)
	case *spec.enabled:
		return spec.view, nil
	}
	return new(""), nil
}

// describeStream adds the latest stream of a table to its description.
func describeStream(d map[string]any, s *table.Stream) {
	if s == nil {
		return
	}
	d["LatestStreamArn"], d["LatestStreamLabel"] = s.ARN, s.Label
	if s.Closed.IsZero() {
		d["StreamSpecification"] = map[string]any{"StreamEnabled": true, "StreamViewType": s.View}
	}
}

func (h *Handler) listStreams(in *input) ([]byte, error) {
	var c constraints
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 100)
	if in.tableName != nil {
		c.tableName(in.tableName, "tableName")
	}
	if in.startStream != nil {
		c.length(*in.startStream, "exclusiveStartStreamArn", 37, 1024)
	}
	if err := cmp.Or(c.err(), checkStream(in.startStream)); err != nil {
		return nil, err
	}
	name, limit := "", 100
	if in.tableName != nil {
		name = bareName(*in.tableName)
	}
	if in.limit != nil {
		limit = int(*in.limit)
	}
	answer := map[string]any{}
	streams := []map[string]string{}
	for _, s := range h.db.Streams(name) {
		if in.startStream != nil && s.ARN <= *in.startStream {
			continue
		}
		if len(streams) == limit {
			answer["LastEvaluatedStreamArn"] = streams[limit-1]["StreamArn"]
			break
		}
		streams = append(streams, map[string]string{"StreamArn": s.ARN, "StreamLabel": s.Label, "TableName": s.Table})
	}
	answer["Streams"] = streams
	return json.Marshal(answer)
}

// streamARN holds the ARN of a stream to its length.
func (c *constraints) streamARN(arn *string) {
	c.required(arn != nil, "streamArn")
	if arn != nil {
		c.length(*arn, "streamArn", 37, 1024)
	}
}

var streamArn = regexp.MustCompile(`^arn:aws[a-z-]*:dynamodb:[^:]+:\d+:table/[^/]+/stream/.+$`)

// checkStream refuses what is no ARN of a stream; nil is absent.
func checkStream(arn *string) error {
	if arn != nil && !streamArn.MatchString(*arn) {
		return refused("Invalid StreamArn: " + quoteless(*arn) + " is the ARN of no stream")
	}
	return nil
}

// shardOf is the one shard of a stream.
func shardOf(s *table.Stream) string {
	sum := sha256.Sum256([]byte(s.ARN))
	return fmt.Sprintf("shardId-%020d-%s", s.Created.UnixMilli(), hex.EncodeToString(sum[:4]))
}

func (h *Handler) describeStream(in *input) ([]byte, error) {
	var c constraints
	c.streamARN(in.streamArn)
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 100)
	if err := cmp.Or(c.err(), checkStream(in.streamArn)); err != nil {
		return nil, err
	}
	s, err := h.db.Stream(*in.streamArn)
	if err != nil {
		return nil, err
	}
	numbers := map[string]string{"StartingSequenceNumber": table.SequenceText(s.First)}
	status := "ENABLED"
	if !s.Closed.IsZero() {
		status = "DISABLED"
		numbers["EndingSequenceNumber"] = table.SequenceText(max(s.First, s.Last))
	}
	shards := []map[string]any{{"ShardId": shardOf(s), "SequenceNumberRange": numbers}}
	if in.startShard != nil && *in.startShard >= shardOf(s) {
		shards = []map[string]any{}
	}
	return json.Marshal(map[string]any{"StreamDescription": map[string]any{
		"StreamArn": s.ARN, "StreamLabel": s.Label, "StreamStatus": status, "StreamViewType": s.View, "TableName": s.Table,
		"CreationRequestDateTime": epoch(s.Created), "KeySchema": schemaOf(&s.Hash, s.Range), "Shards": shards,
	}})
}

func (h *Handler) getShardIterator(in *input) ([]byte, error) {
	var c constraints
	c.streamARN(in.streamArn)
	c.required(in.shard != nil, "shardId")
	c.required(in.iteratorType != nil, "shardIteratorType")
	c.enum(in.iteratorType, "shardIteratorType", "AFTER_SEQUENCE_NUMBER", "LATEST", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON")
	if err := cmp.Or(c.err(), checkStream(in.streamArn)); err != nil {
		return nil, err
	}
	s, err := h.db.Stream(*in.streamArn)
	if err != nil {
		return nil, err
	}
	if *in.shard != shardOf(s) {
		return nil, &table.Error{Code: table.CodeNotFound, Message: "Requested resource not found: Shard does not exist"}
	}
	at, err := h.startAt(in, s)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"ShardIterator": iterator{s.ARN, at, time.Now()}.String()})
}

// startAt is the sequence number that a new iterator begins with.
func (h *Handler) startAt(in *input, s *table.Stream) (uint64, error) {
	placed := *in.iteratorType == "TRIM_HORIZON" || *in.iteratorType == "LATEST"
	switch {
	case placed && in.sequence != nil:
		return 0, refused("One or more parameter values were invalid: SequenceNumber must not be given with ShardIteratorType " + *in.iteratorType)
	case *in.iteratorType == "TRIM_HORIZON":
		return s.Oldest(), nil
	case placed:
		return h.db.NextSequence(), nil
	case in.sequence == nil:
		return 0, refused("One or more parameter values were invalid: SequenceNumber is required for ShardIteratorType " + *in.iteratorType)
	}
	seq, err := table.ParseSequence(*in.sequence)
	if err != nil || seq < s.First || seq > h.db.NextSequence() {
		return 0, refused("Invalid SequenceNumber: it is none of this shard")
	}
	if *in.iteratorType == "AFTER_SEQUENCE_NUMBER" {
		seq++
	}
	if seq < s.Oldest() {
		return 0, &table.Error{Code: table.CodeTrimmed, Message: "The operation attempted to read past the oldest stream record in a shard: records are kept for 24 hours"}
	}
	return seq, nil
}

// iterator is a place in a stream, as clients keep it for a while.
type iterator struct {
	arn  string
	at   uint64
	made time.Time
}

// iteratorLife is how long an iterator can be used (API reference, GetRecords).
const iteratorLife = 15 * time.Minute

const maxIterator = 2048 // bytes

func (i iterator) String() string {
	place := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, i.at), uint64(i.made.UnixMilli()))
	return i.arn + "|1|" + base64.StdEncoding.EncodeToString(place)
}

// parseIterator reads what String wrote.
func parseIterator(text string) (i iterator, ok bool) {
	if len(text) > maxIterator {
		return i, false
	}
	arn, place, ok := strings.Cut(text, "|1|")
	if !ok {
		return i, false
	}
	data, err := base64.StdEncoding.DecodeString(place)
	if err != nil || len(data) != 16 {
		return i, false
	}
	made := int64(binary.BigEndian.Uint64(data[8:]))
	return iterator{arn, binary.BigEndian.Uint64(data), time.UnixMilli(made)}, true
}

func (h *Handler) getRecords(in *input) ([]byte, error) {
	var c constraints
	c.required(in.iterator != nil, "shardIterator")
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 1000)
	if err := c.err(); err != nil {
		return nil, err
	}
	i, ok := parseIterator(*in.iterator)
	if !ok {
		return nil, refused("Invalid ShardIterator")
	}
	if age := time.Since(i.made); age > iteratorLife || age < -iteratorLife {
		return nil, &table.Error{Code: "ExpiredIteratorException", Message: "Iterator expired. The iterator was created at time " + i.made.UTC().Format(time.RFC3339) + " which is more than 15 minutes ago"}
	}
	s, err := h.db.Stream(i.arn)
	if err != nil {
		return nil, err
	}
	limit := 0
	if in.limit != nil {
		limit = int(*in.limit)
	}
	list, next, err := h.db.Changes(s, i.at, limit)
	if err != nil {
		return nil, err
	}
	var a answer
	a.member("Records")
	a.out = appendList(a.out, list, func(out []byte, r table.Change) []byte { return h.appendRecord(out, s, &r) })
	if next != 0 {
		a.member("NextShardIterator")
		a.out = appendString(a.out, iterator{s.ARN, next, time.Now()}.String())
	}
	return a.done(), nil
}

// appendRecord appends one record (API reference, "Record").
func (h *Handler) appendRecord(out []byte, s *table.Stream, r *table.Change) []byte {
	var d answer
	d.member("ApproximateCreationDateTime")
	d.out = strconv.AppendInt(d.out, r.At.Unix(), 10)
	d.item("Keys", r.Keys)
	d.item("NewImage", r.New)
	d.item("OldImage", r.Old)
	d.text("SequenceNumber", table.SequenceText(r.Sequence))
	d.number("SizeBytes", r.Size)
	d.text("StreamViewType", s.View)
	id := sha256.Sum256(strconv.AppendUint([]byte(s.ARN+"/"), r.Sequence, 10))
	var a answer
	a.text("awsRegion", h.region)
	a.member("dynamodb")
	a.out = append(a.out, d.done()...)
	a.text("eventID", hex.EncodeToString(id[:16]))
	a.text("eventName", r.Event)
	a.text("eventSource", "aws:dynamodb")
	a.text("eventVersion", "1.1")
	if r.Expired {
		a.member("userIdentity")
		a.out = append(a.out, `{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}`...)
	}
	return append(out, a.done()...)
}

func (a *answer) text(name, text string) {
	a.member(name)
	a.out = appendString(a.out, text)
}
