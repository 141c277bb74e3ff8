package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// framesPerTurn is how many frames the gateway gets in one turn.
const framesPerTurn = 100_000

// gateway measures a gateway that gets frames as fast as it takes them, up to
// the row in the cloud's table, beside a program that reads the same line and
// keeps what each read brings.
func (b *bench) gateway() error {
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	v, err := b.turns(b.readBare, func() (float64, error) { return b.carried(c) })
	if err != nil {
		return err
	}
	b.report.add(row{
		what: "gateway, TCP→frame→spool→MQTT→acknowledged", unit: "CPU µs/frame",
		baseline: "bare reader, append+fdatasync each read", base: median(v[0]), value: median(v[1]),
	})
	return b.intakes()
}

// board sends frames to whoever connects first.
type board struct{ listener net.Listener }

func newBoard() (*board, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return &board{l}, err
}

func (d *board) addr() string { return d.listener.Addr().String() }

// accept waits for the reader.
func (d *board) accept() (net.Conn, error) {
	_ = d.listener.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
	return d.listener.Accept()
}

// feed writes n numbered frames of the board id.
func feed(conn net.Conn, id string, n int) error {
	var buf []byte
	for i := range n {
		buf = fmt.Appendf(buf, "{%s:%d:21.5:40:1}", id, i)
		if len(buf) > 4000 || i == n-1 {
			if _, err := conn.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

// readBare measures the bare reader.
func (b *bench) readBare() (float64, error) {
	d, err := newBoard()
	if err != nil {
		return 0, err
	}
	defer d.listener.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	p, err := b.start(self, floorVerb, "tcp", d.addr(), b.dir)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	conn, err := d.accept()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return p.perItem(func() (int, error) { return framesPerTurn, feed(conn, "bare", framesPerTurn) })
}

// carried measures a new gateway until every frame is a row.
func (b *bench) carried(c *cloud) (float64, error) {
	d, err := newBoard()
	if err != nil {
		return 0, err
	}
	defer d.listener.Close()
	p, conn, err := b.startGateway(b.mote, c, d)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	defer conn.Close()
	runs++
	id := "gw" + strconv.Itoa(runs)
	return p.perItem(func() (int, error) {
		if err := feed(conn, id, framesPerTurn); err != nil {
			return 0, err
		}
		return framesPerTurn, b.awaitRows(c, id, framesPerTurn)
	})
}

// startGateway runs mote gateway with one TCP source, until it has connected
// to the board.
func (b *bench) startGateway(binary string, c *cloud, d *board) (*process, net.Conn, error) {
	dir, err := os.MkdirTemp(b.dir, "gateway")
	if err != nil {
		return nil, nil, err
	}
	config := fmt.Sprintf(`[gateway]
name = "bench"
spool = { dir = %q }
[[source]]
tcp = %q
[uplink.iot]
endpoint = %q
cert = %q
key = %q
ca = %q
`, filepath.Join(dir, "spool"), d.addr(), c.MQTT, c.certificate("cert.pem"), c.certificate("key.pem"), c.CA)
	path := filepath.Join(dir, "mote.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, nil, err
	}
	p, err := b.start(binary, "gateway", "--config", path)
	if err != nil {
		return nil, nil, err
	}
	conn, err := d.accept()
	if err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("the gateway does not connect: %w\n%s", err, p.out.String())
	}
	return p, conn, nil
}

// awaitRows waits until the table has n rows of the board.
func (b *bench) awaitRows(c *cloud, id string, n int) error {
	cfg, err := awsconfig.LoadDefaultConfig(b.ctx,
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(c.data, "credentials")}),
		awsconfig.WithSharedConfigFiles([]string{filepath.Join(c.data, "config")}),
		awsconfig.WithBaseEndpoint(c.HTTP))
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, err := b.countRows(dynamodb.NewFromConfig(cfg), id)
		if err != nil {
			return err
		}
		switch {
		case got == n:
			return nil
		case got > n:
			return fmt.Errorf("%d frames made %d rows", n, got)
		}
	}
	return errors.New("not every frame is in the table after a minute")
}

func (b *bench) countRows(db *dynamodb.Client, id string) (int, error) {
	pages := dynamodb.NewQueryPaginator(db, &dynamodb.QueryInput{
		TableName: aws.String("air"), Select: types.SelectCount, KeyConditionExpression: aws.String("id = :id"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": &types.AttributeValueMemberS{Value: id}},
	})
	sum := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(b.ctx)
		if err != nil {
			return 0, err
		}
		sum += int(page.Count)
	}
	return sum, nil
}
