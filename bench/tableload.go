package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tables is a server with DynamoDB's API that is measured.
type tables struct {
	*process
	addr  string
	keyID string
	key   []byte // derived signing key of the day
	scope string

	revisions [boards]int // of the first reading of each board; each is used by one connection at a time
}

// sign derives the key for today (AWS Signature Version 4, "Derive a signing key").
func (s *tables) sign(keyID, secret, region string) {
	day := time.Now().UTC().Format("20060102")
	s.keyID, s.scope = keyID, day+"/"+region+"/dynamodb/aws4_request"
	s.key = []byte("AWS4" + secret)
	for part := range strings.SplitSeq(s.scope, "/") {
		s.key = hash(s.key, part)
	}
}

func hash(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// credentials reads an AWS credentials file of one profile.
func credentials(file string) (keyID, secret string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			keyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	if keyID == "" || secret == "" {
		return "", "", fmt.Errorf("%s has no key", file)
	}
	return keyID, secret, nil
}

// tablesOf is the DynamoDB API of a running mote.
func tablesOf(c *cloud) (*tables, error) {
	id, secret, err := credentials(filepath.Join(c.data, "credentials"))
	if err != nil {
		return nil, err
	}
	s := &tables{process: c.process, addr: strings.TrimPrefix(c.HTTP, "http://")}
	s.sign(id, secret, "us-east-1")
	return s, nil
}

// caller is one kept-alive connection that sends signed calls, one at a time.
// It does as little as it can: it shares the machine with what it measures.
type caller struct {
	to   *tables
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte // of the call that is being made; reused
	rng  *rand.Rand

	answer []byte // of the last call
}

func (s *tables) dial(seed uint64) (*caller, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return &caller{to: s, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), rng: rand.New(rand.NewPCG(seed, 7))}, nil
}

// call sends c.body; what is not answered with 200 is an error.
func (c *caller) call(operation string) error {
	now := time.Now()
	date := now.UTC().Format("20060102T150405Z")
	sum := sha256.Sum256(c.body)
	canonical := "POST\n/\n\nhost:" + c.to.addr + "\nx-amz-date:" + date + "\nx-amz-target:DynamoDB_20120810." + operation +
		"\n\nhost;x-amz-date;x-amz-target\n" + hex.EncodeToString(sum[:])
	whole := sha256.Sum256([]byte(canonical))
	signature := hash(c.to.key, "AWS4-HMAC-SHA256\n"+date+"\n"+c.to.scope+"\n"+hex.EncodeToString(whole[:]))
	c.out = fmt.Appendf(c.out[:0], "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Date: %s\r\nX-Amz-Target: DynamoDB_20120810.%s\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=host;x-amz-date;x-amz-target, Signature=%x\r\nContent-Length: %d\r\n\r\n%s",
		c.to.addr, date, operation, c.to.keyID, c.to.scope, signature, len(c.body), c.body)
	_ = c.conn.SetDeadline(now.Add(30 * time.Second))
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	return c.receive(operation)
}

// receive reads one answer into c.answer.
func (c *caller) receive(operation string) error {
	status, err := c.in.ReadString('\n')
	if err != nil {
		return err
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer has no Content-Length")
	}
	if cap(c.answer) < length {
		c.answer = make([]byte, length)
	}
	c.answer = c.answer[:length]
	if _, err := io.ReadFull(c.in, c.answer); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return fmt.Errorf("%s was answered with %s %s", operation, strings.TrimSpace(status), c.answer)
	}
	return nil
}

// begin is when the first reading of every board was taken; they come once a
// minute.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// minute is the sort key of the n-th reading.
func minute(n int) string {
	return begin.Add(time.Duration(n) * time.Minute).Format("2006-01-02T15:04:05.000Z")
}

// appendReading appends an item of 122 bytes, as DynamoDB counts them: of 8
// bytes of id and 24 of time, numbers, a place, and 36 digits that no
// compression shortens to less than half.
func (c *caller) appendReading(out []byte, id, time string) []byte {
	r := c.rng
	return fmt.Appendf(out, `{"id":{"S":%q},"time":{"S":%q},"dust":{"N":"%d.%d"},"temp":{"N":"%d.%d"},"humid":{"N":"%d"},"rate":{"N":"7"},"site":{"S":"building-%d-nw"},"trace":{"S":"%016x%016x%03x"}}`,
		id, time, 10+r.IntN(90), 1+r.IntN(9), 10+r.IntN(30), 1+r.IntN(9), 31+r.IntN(9), r.IntN(10), r.Uint64(), r.Uint64(), r.IntN(1<<12))
}

// putReading puts one reading.
func (c *caller) putReading(id, time string) error {
	c.body = append(c.appendReading(append(c.body[:0], `{"TableName":"air","Item":`...), id, time), '}')
	return c.call("PutItem")
}

// batchSize is DynamoDB's limit of a BatchWriteItem.
const batchSize = 25

// putBatch puts a reading for each of the keys, at most batchSize.
func (c *caller) putBatch(keys [][2]string) error {
	c.body = append(c.body[:0], `{"RequestItems":{"air":[`...)
	for i, k := range keys {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		c.body = append(c.appendReading(append(c.body, `{"PutRequest":{"Item":`...), k[0], k[1]), "}}"...)
	}
	c.body = append(c.body, "]}}"...)
	if err := c.call("BatchWriteItem"); err != nil {
		return err
	}
	if !bytes.Contains(c.answer, []byte(`"UnprocessedItems":{}`)) {
		return fmt.Errorf("a batch was not taken whole: %s", c.answer)
	}
	return nil
}

// queryRange asks for the readings of a board from the first to the last
// minute, of which there are want.
func (c *caller) queryRange(id string, first, last, want int) error {
	c.body = fmt.Appendf(c.body[:0], `{"TableName":"air","KeyConditionExpression":"id = :i AND #t BETWEEN :a AND :b","ExpressionAttributeNames":{"#t":"time"},"ExpressionAttributeValues":{":i":{"S":%q},":a":{"S":%q},":b":{"S":%q}}}`,
		id, minute(first), minute(last))
	return c.counted(want)
}

// queryLast asks for the newest reading of a board.
func (c *caller) queryLast(id string) error {
	c.body = fmt.Appendf(c.body[:0], `{"TableName":"air","KeyConditionExpression":"id = :i","ExpressionAttributeValues":{":i":{"S":%q}},"ScanIndexForward":false,"Limit":1}`, id)
	return c.counted(1)
}

// counted makes a query that must find want items.
func (c *caller) counted(want int) error {
	if err := c.call("Query"); err != nil {
		return err
	}
	if !bytes.Contains(c.answer, fmt.Appendf(nil, `"Count":%d,`, want)) {
		return fmt.Errorf("a query did not find %d items: %.200s", want, c.answer)
	}
	return nil
}

// getReading gets a reading that is there.
func (c *caller) getReading(id string, n int) error {
	c.body = fmt.Appendf(c.body[:0], `{"TableName":"air","Key":{"id":{"S":%q},"time":{"S":%q}}}`, id, minute(n))
	if err := c.call("GetItem"); err != nil {
		return err
	}
	if !bytes.Contains(c.answer, []byte(`"Item":`)) {
		return fmt.Errorf("a get found nothing: %s", c.answer)
	}
	return nil
}

// updateReading counts one up on the condition that nobody else has.
func (c *caller) updateReading(id string, n, was int) error {
	condition := "#r = :was"
	if was == 0 {
		condition = "attribute_not_exists(#r) OR " + condition
	}
	c.body = fmt.Appendf(c.body[:0], `{"TableName":"air","Key":{"id":{"S":%q},"time":{"S":%q}},"UpdateExpression":"SET #r = :is","ConditionExpression":%q,"ExpressionAttributeNames":{"#r":"revision"},"ExpressionAttributeValues":{":was":{"N":"%d"},":is":{"N":"%d"}}}`,
		id, minute(n), condition, was, was+1)
	return c.call("UpdateItem")
}
