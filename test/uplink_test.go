package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/cloud/table/tabletest"
)

// withKeys gives the processes that the test starts the cloud's access key.
func (s *site) withKeys() {
	s.t.Helper()
	s.t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(s.data, "credentials"))
	s.t.Setenv("AWS_CONFIG_FILE", filepath.Join(s.data, "config"))
	s.t.Setenv("AWS_REGION", "us-east-1")
}

func (s *site) tableUplink(addr string) string {
	return fmt.Sprintf("[uplink.dynamodb]\ntable = \"air\"\nendpoint = %q\n", "http://"+addr)
}

// TestTheTableRoadOfTheGateway cuts the network again and again, and kills the
// gateway.
func TestTheTableRoadOfTheGateway(t *testing.T) {
	s := newSite(t, "")
	s.withKeys()
	s.startCloud()
	b := startBoard(t, 2*time.Millisecond)
	net := startFlaky(t, s.web)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.tableUplink(net.listener.Addr().String()))
	s.startGateway()
	time.Sleep(1500 * time.Millisecond)
	p := s.plant()
	p.gateway.kill()
	p.readSpool()
	p.startGateway()
	before := b.sent()
	waitFor(t, "frames for the next gateway", 30*time.Second, func() error { return atLeast(b.sent(), before+700) })
	b.stop()
	net.calm.Store(true)
	p.checkAll(b)
	got := s.cloud.numbers("t")
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Fatalf("row %d is frame %d, after %d", i, got[i], got[i-1])
		}
	}
	t.Logf("%d rows of %d frames through %d troubles", len(got), b.sent(), net.cuts.Load())
	wantStop(t, p.gateway)
}

// TestATableOfAnotherMake writes into dynalite, which is killed meanwhile.
func TestATableOfAnotherMake(t *testing.T) {
	d := tabletest.StartDynalite(t, filepath.Join(t.TempDir(), "tables"))
	keys := aws.Credentials{AccessKeyID: "AKIDCLUSTER", SecretAccessKey: "of the cluster"}
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	t.Setenv("AWS_REGION", "us-east-1")
	server := tabletest.Server{URL: d.URL, Credentials: keys}
	api := server.Client()
	s := newSite(t, "")
	b := startBoard(t, 5*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.tableUplink(strings.TrimPrefix(d.URL, "http://")))
	makeAir(t, api)
	s.startGateway()
	waitFor(t, "rows", 30*time.Second, func() error { return atLeast(len(dustOf(t, api)), 50) })
	d.Kill()
	time.Sleep(500 * time.Millisecond)
	d.Start()
	time.Sleep(500 * time.Millisecond)
	b.stop()
	waitFor(t, "all rows", 60*time.Second, func() error { return atLeast(len(dustOf(t, api)), b.sent()) })
	for i, n := range dustOf(t, api) {
		if n != i {
			t.Fatalf("row %d is frame %d", i, n)
		}
	}
}

func atLeast(n, want int) error {
	if n < want {
		return fmt.Errorf("%d of %d", n, want)
	}
	return nil
}

func makeAir(t *testing.T, api *dynamodb.Client) {
	t.Helper()
	text := types.ScalarAttributeTypeS
	_, err := api.CreateTable(context.Background(), &dynamodb.CreateTableInput{
		TableName: aws.String("air"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("time"), KeyType: types.KeyTypeRange}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: text}, {AttributeName: aws.String("time"), AttributeType: text}},
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "table", 10*time.Second, func() error {
		out, err := api.DescribeTable(context.Background(), &dynamodb.DescribeTableInput{TableName: aws.String("air")})
		if err == nil && out.Table.TableStatus != types.TableStatusActive {
			err = errors.New(string(out.Table.TableStatus))
		}
		return err
	})
}

// dustOf returns the values of dust in table air in rising order.
func dustOf(t *testing.T, api *dynamodb.Client) (list []int) {
	t.Helper()
	pages := dynamodb.NewScanPaginator(api, &dynamodb.ScanInput{TableName: aws.String("air"), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			n, err := strconv.Atoi(text(item["dust"]))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
	}
	sort.Ints(list)
	return list
}

// gate is a road to an address that can be closed and opened.
type gate struct {
	listener net.Listener
	closed   atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func startGate(t *testing.T, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if g.closed.Load() {
				conn.Close()
				continue
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				conn.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, conn, out)
			g.mu.Unlock()
			serving.Go(func() { _, _ = io.Copy(out, conn); out.Close() })
			serving.Go(func() { _, _ = io.Copy(conn, out); conn.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); g.close(); serving.Wait() })
	return g
}

// close ends the connections and takes no new ones.
func (g *gate) close() {
	g.closed.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// TestFailover closes the road by MQTT, so that the one straight into the table
// takes over, and opens the first road again.
func TestFailover(t *testing.T) {
	s := newSite(t, "")
	s.withKeys()
	s.startCloud()
	b := startBoard(t, 5*time.Millisecond)
	first := startGate(t, s.mqtt)
	uplinks := "[uplink]\nfailover = [\"iot\", \"dynamodb\"]\nfailover_after = \"1s\"\n"
	s.configure(`dir = "spool"`, b.listener.Addr().String(), uplinks+s.iotUplink(first.listener.Addr().String())+s.tableUplink(s.web))
	s.startGateway()
	grows := func(what string) {
		t.Helper()
		from := len(s.cloud.numbers("t"))
		waitFor(t, "rows "+what, 20*time.Second, func() error { return atLeast(len(s.cloud.numbers("t")), from+100) })
	}
	grows("by MQTT")
	first.close()
	grows("into the table")
	waitFor(t, "change", 5*time.Second, func() error { return s.gateway.printed("uplink=dynamodb before=iot") })
	first.closed.Store(false)
	waitFor(t, "change back", 20*time.Second, func() error { return s.gateway.printed("uplink=iot before=dynamodb") })
	grows("by MQTT again")
	b.stop()
	s.wantAll(b.sent())
	wantStop(t, s.gateway)
}

// printed is nil when the process printed what.
func (p *process) printed(what string) error {
	if !strings.Contains(p.out.String(), what) {
		return fmt.Errorf("not printed: %s", what)
	}
	return nil
}
