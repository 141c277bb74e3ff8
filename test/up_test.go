package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// query returns the readings of one board, oldest first.
func (h *host) query(id string) []map[string]types.AttributeValue {
	h.t.Helper()
	got, err := dynamodb.NewFromConfig(h.aws()).Query(context.Background(), &dynamodb.QueryInput{
		TableName: aws.String("air"), KeyConditionExpression: aws.String("id = :id"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": &types.AttributeValueMemberS{Value: id}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return got.Items
}

func TestUpCarriesReadingsOfTwoBoardsIntoTheTable(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	h := startHost(t, data, "up")
	for _, id := range []string{"1", "2"} {
		waitFor(t, "reading of board "+id, 30*time.Second, func() error {
			if n := len(h.query(id)); n == 0 {
				return fmt.Errorf("%d rows", n)
			}
			return nil
		})
	}
	item := h.query("1")[0]
	for _, field := range []string{"dust", "temp", "humid"} {
		if _, ok := item[field].(*types.AttributeValueMemberN); !ok {
			t.Errorf("%s is %T, want a number", field, item[field])
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, text(item["time"])); err != nil {
		t.Errorf("time: %v", err)
	}
	if _, found := item["rate"]; found {
		t.Error("rate is the board's state, it does not belong into the row")
	}
	checkPrivate(t, data)
	wantStop(t, h.process)
	if _, err := os.Stat(filepath.Join(data, "endpoints.json")); !os.IsNotExist(err) {
		t.Errorf("endpoints.json is still there after the stop: %v", err)
	}
	secondStart(t, data, text(item["time"]))
}

// secondStart goes on with the same data.
func secondStart(t *testing.T, data, firstTime string) {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(data, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	h := startHost(t, data, "up")
	rows := h.query("1")
	if len(rows) == 0 || text(rows[0]["time"]) != firstTime {
		t.Errorf("the first reading is gone after a second start: %v", rows)
	}
	waitFor(t, "new reading", 30*time.Second, func() error {
		if n := len(h.query("1")); n <= len(rows) {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	if after, _ := os.ReadFile(filepath.Join(data, "credentials")); string(after) != string(before) {
		t.Error("the second start made another access key")
	}
	h.interrupt()
}

// checkPrivate fails for every file under dir that others may read.
func checkPrivate(t *testing.T, dir string) {
	t.Helper()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v, want mode 0700", info.Mode(), err)
	}
	for _, secret := range []string{"credentials", "api-key", "things/gateway/key.pem", "things/tools/key.pem", "endpoints.json"} {
		info, err := os.Stat(filepath.Join(dir, secret))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", secret, info.Mode())
		}
	}
}

func TestUpPrintsWhereTheConsoleIsAndThreeCommands(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	waitFor(t, "greeting", 10*time.Second, func() error {
		if !strings.Contains(h.out.String(), h.ep.HTTP) {
			return fmt.Errorf("printed %q", h.out)
		}
		return nil
	})
	if n := strings.Count(h.out.String(), "\n"); n > 15 {
		t.Errorf("mote up greets with %d lines:\n%s", n, h.out)
	}
	if took := h.interrupt(); h.err != nil {
		t.Errorf("ended after %v with %v", took, h.err)
	}
}

func TestASecondCloudOnTheSameDataIsRefused(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	out, err := h.run(binary, append([]string{"cloud", "--data", h.data}, freePorts...)...)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %q, %v", out, err)
	}
}

// history is every reading of one board in the order of time, page by page.
func (h *host) history(id string) (items []map[string]types.AttributeValue) {
	h.t.Helper()
	pages := dynamodb.NewQueryPaginator(dynamodb.NewFromConfig(h.aws()), &dynamodb.QueryInput{
		TableName: aws.String("air"), KeyConditionExpression: aws.String("id = :id"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": &types.AttributeValueMemberS{Value: id}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			h.t.Fatal(err)
		}
		items = append(items, page.Items...)
	}
	return items
}
