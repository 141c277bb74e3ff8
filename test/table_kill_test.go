package test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// watchTable makes the table air with a stream, expiry and rows, the first of
// which have expired.
func (h *host) watchTable(rows, expired int) {
	h.t.Helper()
	h.makeTable("air")
	c, ctx := dynamodb.NewFromConfig(h.aws()), h.t.Context()
	_, err := c.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: aws.String("air"),
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}})
	_, err2 := c.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: aws.String("air"),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}})
	if err := errors.Join(err, err2); err != nil {
		h.t.Fatal(err)
	}
	var lines strings.Builder
	for i := range rows {
		until := time.Now().Add(time.Hour)
		if i < expired {
			until = time.Now().Add(-time.Hour)
		}
		fmt.Fprintf(&lines, "{\"id\":\"%d\",\"time\":\"%d\",\"n\":%d,\"until\":%d,\"filler\":\"%0500d\"}\n", i%50, i, i, until.Unix(), i)
	}
	h.mustMote(lines.String(), "import", "air")
}

// changeIndex begins to make or to remove the index by-n.
func (h *host) changeIndex(create bool) {
	h.t.Helper()
	in := &dynamodb.UpdateTableInput{TableName: aws.String("air")}
	change := types.GlobalSecondaryIndexUpdate{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("by-n")}}
	if create {
		in.AttributeDefinitions = []types.AttributeDefinition{{AttributeName: aws.String("n"), AttributeType: types.ScalarAttributeTypeN}}
		change = types.GlobalSecondaryIndexUpdate{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("by-n"),
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("n"), KeyType: types.KeyTypeHash}}, Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}}}
	}
	in.GlobalSecondaryIndexUpdates = []types.GlobalSecondaryIndexUpdate{change}
	if _, err := dynamodb.NewFromConfig(h.aws()).UpdateTable(h.t.Context(), in); err != nil {
		h.t.Fatal(err)
	}
}

// indexSettles waits until by-n is there, or is not.
func (h *host) indexSettles(there bool) {
	h.t.Helper()
	waitFor(h.t, "settled index", 30*time.Second, func() error {
		d, err := dynamodb.NewFromConfig(h.aws()).DescribeTable(h.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("air")})
		if err != nil {
			return err
		}
		all := d.Table.GlobalSecondaryIndexes
		if there && (len(all) != 1 || all[0].IndexStatus != types.IndexStatusActive) || !there && len(all) != 0 {
			return fmt.Errorf("%d indexes", len(all))
		}
		return nil
	})
}

// TestTortureIndexesAgreeAfterKills kills the cloud with writers on it in the
// middle of the making and the removal of an index and of expiry. Whatever it
// leaves, items, index, expiry times and stream agree, also when the work is done.
func TestTortureIndexesAgreeAfterKills(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startHost(t, data, "cloud")
	h.watchTable(3000, 1500)
	for round, create := range []bool{true, false, true} {
		l := h.startLoad(2)
		h.changeIndex(create)
		time.Sleep(time.Duration(round*40) * time.Millisecond)
		h.kill()
		l.stop()
		if out, status := verify(t, data); status != 0 {
			t.Errorf("round %d, after the kill: %s", round, out)
		}
		h = startHost(t, data, "cloud")
		h.indexSettles(create)
		if out, status := verify(t, data); status != 0 {
			t.Errorf("round %d, when all is done: %s", round, out)
		}
	}
	waitFor(t, "end of expired rows", 30*time.Second, func() error {
		for _, row := range h.rows("air") {
			if n, ok := row["n"].(*types.AttributeValueMemberN); ok && len(n.Value) < 4 {
				return fmt.Errorf("row %s is there", n.Value)
			}
		}
		return nil
	})
	wantStop(t, h.process)
	if out, status := verify(t, data); status != 0 || !strings.Contains(out, "1 stream with") {
		t.Errorf("at the end: %s", out)
	}
}

// TestAFullDiskLetsGoOfStreamedItems deletes, in every way, items of a table
// with a stream on a disk that takes no writes, and exports it.
func TestAFullDiskLetsGoOfStreamedItems(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 160)
	data := filepath.Join(d.dir, "data")
	h := startHost(t, data, "cloud")
	h.watchTable(1000, 0)
	c, ctx := h.once(), t.Context()
	table, err := c.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("air")})
	if err != nil {
		t.Fatal(err)
	}
	rows := h.rows("air")
	soon := time.Now().Add(2 * time.Second).Unix()
	for _, row := range rows[10:20] {
		row["until"] = number(soon)
		if err := h.putItem(row); err != nil {
			t.Fatal(err)
		}
	}
	made, err := c.ExportTableToPointInTime(ctx, &dynamodb.ExportTableToPointInTimeInput{TableArn: table.Table.TableArn, S3Bucket: aws.String("exports")})
	if err != nil {
		t.Fatal(err)
	}
	d.fill(50 << 10) // below the reserve of 64 MiB, above half of it
	h.says("data disk is full, refusing writes")
	if err := h.putItem(rows[0]); err == nil {
		t.Error("a write on a full disk works")
	}
	key := func(i int) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"id": rows[i]["id"], "time": rows[i]["time"]}
	}
	_, err2 := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"air": {
		{DeleteRequest: &types.DeleteRequest{Key: key(1)}}, {DeleteRequest: &types.DeleteRequest{Key: key(2)}}}}})
	_, err3 := c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String("t"), TransactItems: []types.TransactWriteItem{
		{Delete: &types.Delete{TableName: aws.String("air"), Key: key(3)}}}})
	if err := errors.Join(h.remove(rows[0]), err2, err3); err != nil {
		t.Errorf("deletions on a full disk: %v", err)
	}
	waitFor(t, "expired rows to go", 20*time.Second, func() error {
		if n := len(h.rows("air")); n != 1000-4-10 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	waitFor(t, "end of the export", 20*time.Second, func() error {
		e, err := c.DescribeExport(ctx, &dynamodb.DescribeExportInput{ExportArn: made.ExportDescription.ExportArn})
		if err != nil {
			return err
		}
		switch e.ExportDescription.ExportStatus {
		case types.ExportStatusCompleted: // it was faster than the disk filled
			return nil
		case types.ExportStatusFailed:
			if !strings.Contains(aws.ToString(e.ExportDescription.FailureMessage), "data disk is full") {
				t.Errorf("the export failed with %s", aws.ToString(e.ExportDescription.FailureMessage))
			}
			return nil
		}
		return errors.New("it runs")
	})
	d.free()
	h.says("data disk has space again")
	if err := h.putItem(rows[0]); err != nil {
		t.Error(err)
	}
	wantStop(t, h.process)
	if out, status := verify(t, data); status != 0 {
		t.Errorf("mote verify: %s", out)
	}
}
