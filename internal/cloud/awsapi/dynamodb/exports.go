package dynamodb

import (
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/table"
)

// exportInput is the members of requests about exports; nil: absent.
type exportInput struct {
	tableARN, arn, bucket, prefix, format, kind, token *string
	at                                                 *time.Time // ExportTime
	max                                                *int64
	unoffered                                          []string // members that ask for what is not offered
}

func (e *exportInput) text(name string) **string {
	switch name {
	case "TableArn":
		return &e.tableARN
	case "ExportArn":
		return &e.arn
	case "S3Bucket":
		return &e.bucket
	case "S3Prefix":
		return &e.prefix
	case "ExportFormat":
		return &e.format
	case "ExportType":
		return &e.kind
	case "ClientToken":
		return &e.token
	}
	return nil
}

// takeUnoffered notes a member of an export that is not offered.
func takeUnoffered(name string) func(*scanner, *input) {
	return func(s *scanner, in *input) {
		s.skip()
		in.export.unoffered = append(in.export.unoffered, name)
	}
}

// exportNow is how far from now the ExportTime of an export may be, in either
// direction: clients' clocks and whole seconds.
const exportNow = 5 * time.Second

// exportTable begins an export (Amazon DynamoDB API reference,
// "ExportTableToPointInTime").
func (h *Handler) exportTable(in *input) ([]byte, error) {
	e := &in.export
	var c constraints
	c.required(e.tableARN != nil, "tableArn")
	c.required(e.bucket != nil, "s3Bucket")
	c.enum(e.format, "exportFormat", "DYNAMODB_JSON", "ION")
	c.enum(e.kind, "exportType", "FULL_EXPORT", "INCREMENTAL_EXPORT")
	if e.tableARN != nil {
		c.length(*e.tableARN, "tableArn", 1, 1024)
	}
	if e.token != nil {
		c.length(*e.token, "clientToken", 1, 1024)
	}
	if e.prefix != nil {
		c.length(*e.prefix, "s3Prefix", 1, 1024)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := h.checkExport(e); err != nil {
		return nil, err
	}
	name, err := h.exported(*e.tableARN)
	if err != nil {
		return nil, err
	}
	begin := table.Export{Bucket: *e.bucket, Prefix: e.prefixDir()}
	if e.token != nil {
		begin.Token = *e.token
	}
	made, err := h.db.Export(name, begin, h.writeExport)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"ExportDescription": exportDescription(made)})
}

// exported returns the name of the table with an ARN.
func (h *Handler) exported(arn string) (string, error) {
	if !tableArn.MatchString(arn) {
		return "", refused("Invalid TableArn: " + quoteless(arn))
	}
	t, err := h.db.Describe(bareName(arn))
	if err != nil || t.ARN != arn {
		return "", &table.Error{Code: table.CodeTableNotFound, Message: "Table not found: " + quoteless(arn)}
	}
	return t.Name, nil
}

// prefixDir is the directory below the bucket; "" when none was asked for.
func (e *exportInput) prefixDir() string {
	if e.prefix == nil {
		return ""
	}
	return strings.Trim(*e.prefix, "/")
}

// checkExport refuses what can not be exported, or not there.
func (h *Handler) checkExport(e *exportInput) error {
	switch {
	case h.buckets == nil:
		return refused("this DynamoDB has no directory for buckets, so it can not export")
	case e.format != nil && *e.format == "ION":
		return refused("mote does not offer the ExportFormat ION: use DYNAMODB_JSON")
	case e.kind != nil && *e.kind == "INCREMENTAL_EXPORT":
		return refused("mote does not offer incremental exports: use FULL_EXPORT")
	case len(e.unoffered) > 0:
		return refused("mote does not offer " + strings.Join(e.unoffered, ", ") + " of an export: leave it out")
	case e.at != nil && time.Since(*e.at).Abs() > exportNow:
		return &wireError{status: http.StatusBadRequest, space: service, code: "InvalidExportTimeException",
			message: "mote keeps no earlier states of a table and exports it as it is now: leave ExportTime out"}
	case !isBucket(*e.bucket):
		return refused("Invalid S3Bucket: " + quoteless(*e.bucket) + ": use 3 to 63 lower-case letters, digits, dots and hyphens")
	case !isPrefix(e.prefixDir()):
		return refused("Invalid S3Prefix: " + quoteless(e.prefixDir()) + ": it can not be a directory: use at most 512 bytes of text, without an empty part, . or .. between its slashes")
	}
	return nil
}

// isBucket holds the rules for names of buckets, which are directories here
// (Amazon S3 User Guide, "General purpose bucket naming rules").
func isBucket(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
			return false
		}
	}
	return len(name) >= 3 && len(name) <= 63 && !strings.Contains(name, "..") && net.ParseIP(name) == nil && strings.Trim(name, ".-") == name
}

func isPrefix(prefix string) bool {
	if prefix == "" {
		return true
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return false
		}
	}
	return len(prefix) <= 512 && utf8.ValidString(prefix) && !strings.ContainsRune(prefix, 0)
}

func exportDescription(e *table.Export) map[string]any {
	d := map[string]any{
		"ExportArn": e.ARN, "ExportStatus": e.Status, "TableArn": e.TableARN, "TableId": e.TableUUID, "S3Bucket": e.Bucket,
		"ExportFormat": "DYNAMODB_JSON", "ExportType": "FULL_EXPORT",
		"StartTime": epoch(e.Started), "ExportTime": epoch(e.Started), "ItemCount": e.Items, "BilledSizeBytes": e.Bytes,
	}
	for name, text := range map[string]string{"S3Prefix": e.Prefix, "ClientToken": e.Token, "ExportManifest": e.Manifest, "FailureMessage": e.Failure} {
		if text != "" {
			d[name] = text
		}
	}
	if e.Failure != "" {
		d["FailureCode"] = "InternalServerError"
	}
	if !e.Ended.IsZero() {
		d["EndTime"] = epoch(e.Ended)
	}
	return d
}

var (
	exportArn = regexp.MustCompile(`^arn:.+:table/[^/]+/export/.+$`)
	exportID  = regexp.MustCompile(`^\d{14,}-[0-9a-f]{8}$`)
)

func (h *Handler) describeExport(in *input) ([]byte, error) {
	var c constraints
	c.required(in.export.arn != nil, "exportArn")
	if in.export.arn != nil {
		c.length(*in.export.arn, "exportArn", 37, 1024)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if !exportArn.MatchString(*in.export.arn) {
		return nil, refused("Invalid Export ARN: " + quoteless(*in.export.arn))
	}
	e, err := h.db.DescribeExport(*in.export.arn)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"ExportDescription": exportDescription(e)})
}

// maxExportPage is the largest page of ListExports.
const maxExportPage = 25

func (h *Handler) listExports(in *input) ([]byte, error) {
	var c constraints
	c.atLeast(in.export.max, "maxResults", 1)
	c.atMost(in.export.max, "maxResults", maxExportPage)
	if err := c.err(); err != nil {
		return nil, err
	}
	if in.nextToken != nil && !exportID.MatchString(*in.nextToken) {
		return nil, refused("Invalid NextToken: it is of no answer to ListExports: " + quoteless(*in.nextToken))
	}
	all, err := h.db.Exports()
	if err != nil {
		return nil, err
	}
	limit, last, next := maxExportPage, "", ""
	if in.export.max != nil {
		limit = int(*in.export.max)
	}
	list := []map[string]any{}
	for _, e := range slices.Backward(all) { // the latest first, as on AWS
		if in.export.tableARN != nil && e.TableARN != *in.export.tableARN || in.nextToken != nil && e.ID >= *in.nextToken {
			continue
		}
		if len(list) == limit {
			next = last
			break
		}
		last = e.ID
		list = append(list, map[string]any{"ExportArn": e.ARN, "ExportStatus": e.Status, "ExportType": "FULL_EXPORT"})
	}
	answer := map[string]any{"ExportSummaries": list}
	if next != "" {
		answer["NextToken"] = next
	}
	return json.Marshal(answer)
}
