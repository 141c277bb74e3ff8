package guest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/sigv4"
	"mote/internal/watch"
	"mote/test/machine/inside"
	"mote/test/network"
)

func TestMain(m *testing.M) { inside.Main(m, nil) }

// within bounds waits for what takes seconds on a machine that has nothing else to do.
const within = 2 * time.Minute

// cloudConfig is the cloud's: one table, and a road into it for each uplink.
const cloudConfig = `
[[policy]]
name = "gateway"
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
[[thing]]
name = "gateway"
policy = "gateway"
[[table]]
name = "air"
hash = "id"
range = "time"
[[rule]]
name = "store_air"
sql = "SELECT * FROM 'sensors/+/air'"
table = "air"
[[route]]
method = "POST"
path = "/prod/dust"
auth = "api-key"
[[rule]]
name = "store_rest"
sql = "SELECT * FROM 'rest/prod/dust'"
table = "air"
`

const data = "/tmp/data"

// uplinks are the roads, by the ids of their boards.
var uplinks = map[string]string{
	"iot":  "[uplink.iot]\nendpoint = \"198.18.0.1:8883\"\ncert = \"/tmp/data/things/gateway/cert.pem\"\nkey = \"/tmp/data/things/gateway/key.pem\"\nca = \"/tmp/data/ca.pem\"\n",
	"rest": "[uplink.rest]\nurl = \"https://198.18.0.1:8443/prod/dust\"\nauth = \"api-key\"\napi_key_file = \"/tmp/data/api-key\"\nca = \"/tmp/data/ca.pem\"\n",
}

// TestLossAndDelay has boards send by both roads through bad weather, in which
// the network is cut for a while too. Whatever of it is repeated, late or twice
// on the way, each reading is in the table once, and some come through at once.
func TestLossAndDelay(t *testing.T) {
	inside.Need(t, "make machines")
	const frames, pause = 100, 80 * time.Millisecond
	c := network.NewCable(t)
	write(t, "/tmp/cloud.toml", cloudConfig)
	start(t, c.House, "up", "--data", data, "--config", "/tmp/cloud.toml", "--mqtt", network.HouseAddr+":8883", "--https", network.HouseAddr+":8443", "--http", "127.0.0.1:8080")
	watch.Until(t, "the cloud is ready", func() bool { _, err := os.Stat(filepath.Join(data, "endpoints.json")); return err == nil })
	bad := []string{"delay", "300ms", "200ms", "loss", "20%", "duplicate", "5%"}
	weather(c, bad...)
	for id, uplink := range uplinks {
		b := startBoard(t, c.Roof, id, frames, pause)
		config := filepath.Join(t.TempDir(), "mote.toml")
		write(t, config, fmt.Sprintf("[gateway]\nname = \"gateway\"\nspool = { dir = \"spool\" }\n[[source]]\ntcp = %q\n%s", b, uplink))
		start(t, c.Roof, "gateway", "--config", config)
	}
	for id := range uplinks {
		watch.Until(t, "readings by "+id+" in bad weather", func() bool { return len(rows(t, c.House, id)) > 0 })
	}
	weather(c, "loss", "100%")
	time.Sleep(4 * time.Second)
	weather(c, bad...)
	time.Sleep(8 * time.Second)
	for id := range uplinks {
		t.Logf("%s: %d of %d rows in bad weather", id, len(rows(t, c.House, id)), frames)
	}
	weather(c)
	want := make([]int, frames)
	for i := range want {
		want[i] = i
	}
	for id := range uplinks {
		watch.Until(t, "all readings by "+id, func() bool { return len(rows(t, c.House, id)) >= frames })
		if got := rows(t, c.House, id); !slices.Equal(got, want) {
			t.Errorf("%s: the frames in the table, in the order of time: %v", id, got)
		}
	}
}

// weather makes both ends of the cable do what netem is told, or nothing.
func weather(c network.Cable, netem ...string) {
	for _, n := range []*network.Network{c.House, c.Roof} {
		if netem == nil {
			n.Run("tc", "qdisc", "del", "dev", "eth0", "root")
			continue
		}
		n.Run("tc", append([]string{"qdisc", "replace", "dev", "eth0", "root", "netem", "limit", "10000"}, netem...)...)
	}
}

// startBoard makes a board that sends numbered frames on its one connection, and
// then nothing. It returns its address.
func startBoard(t *testing.T, at *network.Network, id string, frames int, pause time.Duration) string {
	t.Helper()
	var ln net.Listener
	var err error
	at.Do(func() { ln, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for i := 0; i < frames && err == nil; i++ {
			_, err = fmt.Fprintf(conn, "{%s:%d:21.5:40:1}", id, i)
			time.Sleep(pause)
		}
		_, _ = conn.Read(make([]byte, 1)) // until the gateway goes
	})
	t.Cleanup(func() { ln.Close(); sending.Wait() })
	return ln.Addr().String()
}

// start runs mote in a network until the test ends.
func start(t *testing.T, at *network.Network, args ...string) {
	t.Helper()
	cmd := exec.Command("/bin/mote", args...)
	log, err := os.CreateTemp("", "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment
	at.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		text, _ := os.ReadFile(log.Name())
		t.Logf("mote %s printed:\n%s", args[0], text)
	})
}

var environment = append(os.Environ(), "HOME=/tmp", "AWS_EC2_METADATA_DISABLED=true")

// rows are the numbers of a board's frames in the table, in the order of time. It
// asks the API itself: a program for it would take the machine some seconds.
func rows(t *testing.T, at *network.Network, id string) (numbers []int) {
	t.Helper()
	body := fmt.Appendf(nil, `{"TableName":"air","KeyConditionExpression":"id = :id","ExpressionAttributeValues":{":id":{"S":%q}}}`, id)
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:8080/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.Query")
	if err := sigv4.Sign(t.Context(), req, body, accessKey(t), "dynamodb", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: at.Dial, DisableKeepAlives: true}, Timeout: within}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Items []struct{ Dust struct{ N, S string } } // a number by MQTT, text by HTTPS
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("query: %s, %v", resp.Status, err)
	}
	for _, item := range got.Items {
		n, err := strconv.Atoi(item.Dust.N + item.Dust.S)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

var keyLine = regexp.MustCompile(`(?m)^(aws_\w+)\s*=\s*(\S+)$`)

// accessKey is the cloud's, from the file that AWS tools read.
func accessKey(t *testing.T) aws.Credentials {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range keyLine.FindAllStringSubmatch(string(text), -1) {
		found[m[1]] = m[2]
	}
	return aws.Credentials{AccessKeyID: found["aws_access_key_id"], SecretAccessKey: found["aws_secret_access_key"]}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
