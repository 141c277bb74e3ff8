package dynamodb

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/table"
)

// backupInput is the members of requests about backups; nil: absent.
type backupInput struct {
	name, arn, target, start, kind, billing *string
	from, until                             *time.Time // TimeRangeLowerBound, inclusive, and TimeRangeUpperBound, exclusive
	throughput                              *throughput
	overrides                               []string // members that would change the restored table in a way that is not offered
}

func (b *backupInput) text(name string) **string {
	switch name {
	case "BackupName":
		return &b.name
	case "BackupArn":
		return &b.arn
	case "TargetTableName":
		return &b.target
	case "ExclusiveStartBackupArn":
		return &b.start
	case "BackupType":
		return &b.kind
	case "BillingModeOverride":
		return &b.billing
	}
	return nil
}

// takeOverride notes a member that is not offered.
func takeOverride(name string) func(*scanner, *input) {
	return func(s *scanner, in *input) {
		s.skip()
		in.backup.overrides = append(in.backup.overrides, name)
	}
}

// moment takes a time: seconds since 1970, with a fraction.
func (s *scanner) moment() *time.Time {
	seconds, err := strconv.ParseFloat(string(s.raw()), 64)
	if err != nil || seconds < -1e11 || seconds > 1e11 {
		s.fail(unexpectedValue)
		return nil
	}
	return new(time.UnixMilli(int64(seconds * 1000)))
}

func (h *Handler) createBackup(in *input) ([]byte, error) {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(in.backup.name != nil, "backupName")
	if in.backup.name != nil {
		c.name(*in.backup.name, "backupName")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := h.db.CreateBackup(bareName(*in.tableName), *in.backup.name)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"BackupDetails": backupDetails(k)})
}

// backupARN checks the ARN of a request.
func (in *input) backupARN() (string, error) {
	var c constraints
	c.required(in.backup.arn != nil, "backupArn")
	if in.backup.arn != nil {
		c.length(*in.backup.arn, "backupArn", 37, 1024)
	}
	if err := c.err(); err != nil {
		return "", err
	}
	return *in.backup.arn, nil
}

func (h *Handler) describeBackup(in *input) ([]byte, error) {
	return h.answerBackup(in, h.db.DescribeBackup)
}

func (h *Handler) deleteBackup(in *input) ([]byte, error) {
	return h.answerBackup(in, h.db.DeleteBackup)
}

// answerBackup describes the backup of a request as do gives it back.
func (h *Handler) answerBackup(in *input, do func(arn string) (*table.Backup, error)) ([]byte, error) {
	arn, err := in.backupARN()
	if err != nil {
		return nil, err
	}
	k, err := do(arn)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"BackupDescription": h.backupDescription(k)})
}

func backupDetails(k *table.Backup) map[string]any {
	return map[string]any{
		"BackupArn": k.ARN, "BackupName": k.Name, "BackupStatus": k.Status, "BackupType": "USER",
		"BackupSizeBytes": k.Count.Bytes, "BackupCreationDateTime": epoch(k.Created),
	}
}

func (h *Handler) backupDescription(k *table.Backup) map[string]any {
	t := k.Table
	source := map[string]any{
		"TableName": t.Name, "TableArn": t.ARN, "TableId": t.UUID, "TableCreationDateTime": epoch(t.Created), "BillingMode": t.Billing,
		"KeySchema": schemaOf(&t.Hash, t.Range), "ItemCount": k.Count.Items, "TableSizeBytes": k.Count.Bytes,
		"ProvisionedThroughput": map[string]any{"ReadCapacityUnits": t.Read, "WriteCapacityUnits": t.Write},
	}
	var local, global []map[string]any
	for _, x := range t.Indexes {
		one := map[string]any{"IndexName": x.Name, "KeySchema": schemaOf(x.Hash, x.Range), "Projection": projectionOf(x)}
		if !x.Global {
			local = append(local, one)
			continue
		}
		one["ProvisionedThroughput"] = map[string]any{"ReadCapacityUnits": x.Read, "WriteCapacityUnits": x.Write}
		global = append(global, one)
	}
	features := map[string]any{}
	if local != nil {
		features["LocalSecondaryIndexes"] = local
	}
	if global != nil {
		features["GlobalSecondaryIndexes"] = global
	}
	return map[string]any{"BackupDetails": backupDetails(k), "SourceTableDetails": source, "SourceTableFeatureDetails": features}
}

// maxBackupPage is the largest page of ListBackups.
const maxBackupPage = 100

func (h *Handler) listBackups(in *input) ([]byte, error) {
	var c constraints
	if in.tableName != nil {
		c.tableName(in.tableName, "tableName")
	}
	c.enum(in.backup.kind, "backupType", "USER", "SYSTEM", "AWS_BACKUP", "ALL")
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", maxBackupPage)
	if err := c.err(); err != nil {
		return nil, err
	}
	all, err := h.db.Backups()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(k *table.Backup) bool { return !in.wantsBackup(k) })
	page, last := in.backupPage(all)
	summaries := []map[string]any{}
	for _, k := range page {
		one := backupDetails(k)
		one["TableName"], one["TableArn"], one["TableId"] = k.Table.Name, k.Table.ARN, k.Table.UUID
		summaries = append(summaries, one)
	}
	answer := map[string]any{"BackupSummaries": summaries}
	if last != "" {
		answer["LastEvaluatedBackupArn"] = last
	}
	return json.Marshal(answer)
}

// wantsBackup says whether the filters of ListBackups let k through.
func (in *input) wantsBackup(k *table.Backup) bool {
	b := &in.backup
	return (in.tableName == nil || k.Table.Name == bareName(*in.tableName)) &&
		(b.kind == nil || *b.kind == "USER" || *b.kind == "ALL") &&
		(b.from == nil || !k.Created.Before(*b.from)) &&
		(b.until == nil || k.Created.Before(*b.until)) &&
		(b.start == nil || backupOrder(k.ARN) > backupOrder(*b.start))
}

// backupOrder is the part of a backup's ARN that sorts by time.
func backupOrder(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// backupPage cuts the page, and names where to go on.
func (in *input) backupPage(all []*table.Backup) (page []*table.Backup, last string) {
	limit := maxBackupPage
	if in.limit != nil {
		limit = int(*in.limit)
	}
	if len(all) <= limit {
		return all, ""
	}
	return all[:limit], all[limit-1].ARN
}

func (h *Handler) restoreTable(in *input) ([]byte, error) {
	b := &in.backup
	var c constraints
	c.required(b.target != nil, "targetTableName")
	if b.target != nil {
		c.name(*b.target, "targetTableName")
	}
	c.required(b.arn != nil, "backupArn")
	c.enum(b.billing, "billingModeOverride", table.Provisioned, table.PayPerRequest)
	if err := c.err(); err != nil {
		return nil, err
	}
	if len(b.overrides) > 0 {
		return nil, refused("mote does not offer " + strings.Join(b.overrides, ", ") + ": leave it out, and change the table when it is ACTIVE")
	}
	r := table.RestoreRequest{Backup: *b.arn, Target: *b.target}
	if b.billing != nil {
		r.Billing = *b.billing
	}
	if t := b.throughput; t != nil && t.read != nil && t.write != nil {
		r.Read, r.Write = *t.read, *t.write
	}
	t, err := h.db.Restore(r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"TableDescription": h.describe(t, "CREATING")})
}

// describeSource adds what a table was made of.
func describeSource(d map[string]any, t *table.Table) {
	if t.Source == "" {
		return
	}
	of, _, _ := strings.Cut(t.Source, "/backup/")
	d["RestoreSummary"] = map[string]any{
		"SourceBackupArn": t.Source, "SourceTableArn": of, "RestoreDateTime": epoch(t.Created), "RestoreInProgress": t.Restoring(),
	}
}
