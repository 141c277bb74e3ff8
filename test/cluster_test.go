package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/cloud/table/tabletest"
)

// clusterToml has the tables on a cluster: %s is its URL.
const clusterToml = `
[cloud.table]
dynamodb = "%s"

[gateway]
name = "gateway"
[[source]]
sim = 2

[[policy]]
name = "all"
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
[[thing]]
name = "gateway"
policy = "all"
[[thing]]
name = "tools"
policy = "all"

[[table]]
name = "air"
hash = "id"
range = "time"
[[table]]
name = "numbers"
hash = "n"
hash_type = "N"
[[table]]
name = "failures"
hash = "ruleName"

[[rule]]
name = "store_air"
sql = "SELECT * FROM 'sensors/+/air'"
table = "air"
[[rule]]
name = "store_numbers"
sql = "SELECT * FROM 'numbers'"
table = "numbers"
error_action = '{"dynamoDBv2": {"roleArn": "arn:aws:iam::000000000001:role/r", "putItem": {"tableName": "failures"}}}'

[[route]]
path = "/prod/number"
auth = "none"
table = "numbers"
`

// cluster is dynalite with a mote before it.
type cluster struct {
	*tabletest.Dynalite
	t            *testing.T
	config, data string
	api          *dynamodb.Client
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Dynalite: tabletest.StartDynalite(t, filepath.Join(t.TempDir(), "tables")), t: t, data: t.TempDir()}
	keys := aws.Credentials{AccessKeyID: "AKIDCLUSTER", SecretAccessKey: "of the cluster"}
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	server := tabletest.Server{URL: c.URL, Credentials: keys}
	c.api = server.Client()
	c.config = filepath.Join(t.TempDir(), "mote.toml")
	if err := os.WriteFile(c.config, fmt.Appendf(nil, clusterToml, c.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) up() *host { return startHost(c.t, c.data, "up", "--config", c.config) }

// count is how many rows the cluster has in a table; -1 when it does not answer.
func (c *cluster) count(table string) int {
	n := 0
	pages := dynamodb.NewScanPaginator(c.api, &dynamodb.ScanInput{TableName: &table, Select: types.SelectCount, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(context.Background())
		if err != nil {
			c.t.Logf("scan: %v", err)
			return -1
		}
		n += int(p.Count)
	}
	return n
}

func (c *cluster) wait(table string, n int) {
	c.t.Helper()
	waitFor(c.t, fmt.Sprintf("%d rows in %s", n, table), 60*time.Second, func() error {
		if got := c.count(table); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// publish publishes {"n":from} to {"n":to-1}; mote pub ends well when all are
// acknowledged.
func (c *cluster) publish(h *host, from, to int) {
	c.t.Helper()
	var lines strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", n)
	}
	pub := exec.Command(binary, "pub", "--data", h.data, "--lines", "numbers")
	pub.Stdin = strings.NewReader(lines.String())
	if out, err := pub.CombinedOutput(); err != nil {
		c.t.Fatalf("pub: %v\n%s", err, out)
	}
}

// TestTablesOnACluster takes the cluster away, kills both, and expects every
// acknowledged row in the cluster.
func TestTablesOnACluster(t *testing.T) {
	c := startCluster(t)
	h := c.up()
	c.wait("air", 2)
	c.publish(h, 0, 200)
	c.wait("numbers", 200)
	if rows := h.rows("numbers"); len(rows) != 200 { // mote's own API shows the cluster's rows
		t.Errorf("%d rows", len(rows))
	}

	c.Kill()
	before := time.Now()
	c.publish(h, 200, 400) // acknowledged although the cluster is away
	if _, err := dynamodb.NewFromConfig(h.aws(), func(o *dynamodb.Options) { o.RetryMaxAttempts = 1 }).ListTables(t.Context(), &dynamodb.ListTablesInput{}); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("a call while the cluster is away: %v", err)
	}
	if status, body := h.post("/prod/number", `{"n":-1}`); status != 503 || !strings.Contains(body, "cannot be reached") {
		t.Errorf("a REST item while the cluster is away: %d %s", status, body)
	}
	h.kill()
	h = c.up() // and starts without it
	c.publish(h, 400, 600)
	t.Logf("the cluster was away for %v", time.Since(before))
	c.Start()
	readings := c.count("air")
	c.wait("numbers", 600)
	if status, body := h.post("/prod/number", `{"n":-1}`); status != 200 {
		t.Errorf("a REST item: %d %s", status, body)
	}
	if n := c.count("numbers"); n != 601 {
		t.Errorf("%d rows, want 601", n)
	}
	if n := c.count("failures"); n != 0 {
		t.Errorf("%d failures: the cluster's absence is none", n)
	}
	h.mustRun(binary, "pub", "--data", h.data, "numbers", `{"n":"no number"}`) // the cluster refuses it
	c.wait("failures", 1)
	c.wait("air", readings+2)
}

// post posts to a REST route and returns status and body.
func (h *host) post(path, body string) (int, string) {
	h.t.Helper()
	resp, err := http.Post(h.ep.HTTP+path, "application/json", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
