package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/watch"
)

// awsCLIs are the AWS command line tools of this machine: Debian's (2.9, which
// signs IoT calls as "execute-api") and whatever else is first in the path
// (current ones sign as "iot").
func awsCLIs(t *testing.T) []string {
	t.Helper()
	clis := []string{"/usr/bin/aws"}
	if first := tool(t, "aws"); first != clis[0] {
		clis = append(clis, first)
	}
	return clis
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// device is the files of one certificate.
type device struct{ arn, cert, key string }

// makeDevice makes a thing with an active certificate and a policy by the AWS
// command line.
func (h *host) makeDevice(cli, name, policy string) device {
	h.t.Helper()
	aws := func(args ...string) string {
		h.t.Helper()
		return h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json"}, args...)...)
	}
	dir := h.t.TempDir()
	d := device{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	aws("iot", "create-thing", "--thing-name", name)
	var made struct {
		CertificateArn string
	}
	out := aws("iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", d.cert, "--private-key-outfile", d.key)
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		h.t.Fatalf("%v in %s", err, out)
	}
	d.arn = made.CertificateArn
	aws("iot", "create-policy", "--policy-name", name+"-policy", "--policy-document", policy)
	aws("iot", "attach-policy", "--policy-name", name+"-policy", "--target", d.arn)
	aws("iot", "attach-thing-principal", "--thing-name", name, "--principal", d.arn)
	return d
}

// mosquitto returns the arguments by which the mosquitto clients connect as d.
func (h *host) mosquitto(d device, args ...string) []string {
	hostname, port, _ := strings.Cut(h.ep.MQTT, ":")
	return append([]string{"-h", hostname, "-p", port, "--cafile", h.ep.CA, "--cert", d.cert, "--key", d.key}, args...)
}

func TestAWSCommandLineToItem(t *testing.T) {
	for _, cli := range awsCLIs(t) {
		version, _ := exec.Command(cli, "--version").Output()
		t.Run(strings.Fields(string(version) + " ?")[0], func(t *testing.T) {
			h := startHost(t, t.TempDir(), "cloud")
			d := h.makeDevice(cli, "dev1", allowAll)
			aws := func(args ...string) string {
				t.Helper()
				return h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json"}, args...)...)
			}
			aws("dynamodb", "create-table", "--table-name", "dust", "--billing-mode", "PAY_PER_REQUEST",
				"--attribute-definitions", "AttributeName=id,AttributeType=S", "AttributeName=time,AttributeType=S",
				"--key-schema", "AttributeName=id,KeyType=HASH", "AttributeName=time,KeyType=RANGE")
			aws("dynamodb", "wait", "table-exists", "--table-name", "dust")
			aws("iot", "create-topic-rule", "--rule-name", "store", "--topic-rule-payload",
				`{"sql":"SELECT * FROM 'a/+'","awsIotSqlVersion":"2016-03-23","actions":[{"dynamoDBv2":{"roleArn":"arn:aws:iam::1:role/r","putItem":{"tableName":"dust"}}}]}`)
			if got := aws("iot", "get-topic-rule", "--rule-name", "store"); !strings.Contains(got, `"tableName": "dust"`) {
				t.Errorf("get-topic-rule: %s", got)
			}
			h.mustRun(tool(t, "mosquitto_pub"), h.mosquitto(d, "-i", "dev1", "-q", "1", "-t", "a/b", "-m", `{"id":"7","time":"2026-01-01T00:00:00.000Z","dust":35.20}`)...)
			got := aws("dynamodb", "get-item", "--table-name", "dust", "--key", `{"id":{"S":"7"},"time":{"S":"2026-01-01T00:00:00.000Z"}}`)
			if !strings.Contains(got, `"N": "35.2"`) {
				t.Errorf("get-item: %s", got)
			}
			got = aws("dynamodb", "query", "--table-name", "dust", "--key-condition-expression", "id = :i", "--expression-attribute-values", `{":i":{"S":"7"}}`)
			if !strings.Contains(got, `"Count": 1`) {
				t.Errorf("query: %s", got)
			}
		})
	}
}

func TestBoto3(t *testing.T) {
	script := `
import boto3, sys
iot = boto3.client("iot", endpoint_url=sys.argv[1])
ddb = boto3.resource("dynamodb", endpoint_url=sys.argv[1])
iot.create_thing(thingName="t1", attributePayload={"attributes": {"room": "roof"}})
keys = iot.create_keys_and_certificate(setAsActive=True)
iot.create_policy(policyName="p1", policyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}')
iot.attach_policy(policyName="p1", target=keys["certificateArn"])
iot.attach_thing_principal(thingName="t1", principal=keys["certificateArn"])
assert iot.list_thing_principals(thingName="t1")["principals"] == [keys["certificateArn"]]
assert iot.describe_thing(thingName="t1")["attributes"] == {"room": "roof"}
table = ddb.create_table(TableName="air", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "time", "KeyType": "RANGE"}],
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "time", "AttributeType": "S"}])
table.wait_until_exists()
iot.create_topic_rule(ruleName="r1", topicRulePayload={"sql": "SELECT *, topic(2) AS t FROM 'a/+'", "awsIotSqlVersion": "2016-03-23",
    "actions": [{"dynamoDBv2": {"roleArn": "arn:aws:iam::1:role/r", "putItem": {"tableName": "air"}}}]})
with table.batch_writer() as b:
    for i in range(60):
        b.put_item(Item={"id": "1", "time": "%03d" % i, "n": i})
from boto3.dynamodb.conditions import Key
got = table.query(KeyConditionExpression=Key("id").eq("1") & Key("time").between("010", "019"), ScanIndexForward=False)
assert [int(i["n"]) for i in got["Items"]] == list(range(19, 9, -1)), got
page = table.query(KeyConditionExpression=Key("id").eq("1"), Limit=7)
assert page["LastEvaluatedKey"] == {"id": "1", "time": "006"}, page
table.delete_item(Key={"id": "1", "time": "000"})
assert "Item" not in table.get_item(Key={"id": "1", "time": "000"})
print(boto3.__version__)
`
	// Debian's Python, whose packages test/install-tools installs, and the one in the path.
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(python); err != nil || exec.Command(path, "-c", "import boto3").Run() != nil {
			if python == "/usr/bin/python3" {
				t.Fatalf("%s has no boto3: run test/install-tools", python)
			}
			continue
		}
		t.Run(python, func(t *testing.T) {
			h := startHost(t, t.TempDir(), "cloud")
			t.Logf("boto3 %s", h.mustRun(python, "-c", script, h.ep.HTTP))
		})
	}
}

func TestMosquittoSeesWhatPubSends(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	tools := device{cert: filepath.Join(h.data, "things/tools/cert.pem"), key: filepath.Join(h.data, "things/tools/key.pem")}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		sub := exec.Command(tool(t, "mosquitto_sub"), h.mosquitto(tools, "-V", version, "-q", "1", "-t", "hello/#", "-C", "1", "-W", "20")...)
		out := &watch.Log{}
		sub.Stdout, sub.Stderr = out, out
		ended := make(chan error, 1)
		go func() { ended <- sub.Run() }()
		waitFor(t, "message", 20*time.Second, func() error {
			h.mustRun(binary, "pub", "--data", h.data, "hello/world", `{"n":1}`)
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("%s: mosquitto_sub: %v\n%s", version, err, out)
				}
				return nil
			default:
				return errors.New("mosquitto_sub still waits")
			}
		})
		if strings.TrimSpace(out.String()) != `{"n":1}` {
			t.Errorf("%s: mosquitto_sub printed %q", version, out)
		}
	}
}

func TestSubSeesWhatMosquittoSends(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	tools := device{cert: filepath.Join(h.data, "things/tools/cert.pem"), key: filepath.Join(h.data, "things/tools/key.pem")}
	sub := start(t, "sub", "--data", h.data, "hello/+", "--count", "1", "--output", "json")
	waitFor(t, "message", 20*time.Second, func() error {
		h.mustRun(tool(t, "mosquitto_pub"), h.mosquitto(tools, "-q", "1", "-t", "hello/you", "-m", `{"n":1.50}`)...)
		if !strings.Contains(sub.out.String(), `"payload":{"n":1.50}`) {
			return fmt.Errorf("%q", sub.out)
		}
		return nil
	})
	<-sub.done
	if sub.err != nil {
		t.Error(sub.err)
	}
}

func TestMQTTOnTheHTTPSPort(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	tools := device{cert: filepath.Join(h.data, "things/tools/cert.pem"), key: filepath.Join(h.data, "things/tools/key.pem")}
	h.ep.MQTT = strings.TrimPrefix(h.ep.HTTPS, "https://")
	h.mustRun(tool(t, "mosquitto_pub"), h.mosquitto(tools, "--tls-alpn", "x-amzn-mqtt-ca", "-q", "1", "-t", "sensors/alpn/air",
		"-m", `{"id":"alpn","time":"2026-01-01T00:00:00.000Z"}`)...)
	if h.item("alpn", "2026-01-01T00:00:00.000Z") == nil {
		t.Error("the message is not in the table")
	}
	out := h.mustRun("curl", "-s", "--cacert", h.ep.CA, h.ep.HTTPS+"/prod/nosuch")
	if !strings.Contains(out, "Missing Authentication Token") {
		t.Errorf("HTTPS beside it: %s", out)
	}
}

func TestQueryPrintsRows(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	waitFor(t, "rows", 30*time.Second, func() error {
		if len(h.query("1")) < 2 {
			return fmt.Errorf("too few")
		}
		return nil
	})
	table := h.mustRun(binary, "query", "air", "--data", h.data, "--key", "id=1", "--since", "1h")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) < 3 || strings.Join(strings.Fields(lines[0]), " ") != "id time dust humid temp" {
		t.Errorf("table:\n%s", table)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(h.mustRun(binary, "query", "air", "--data", h.data, "--limit", "2", "-o", "json")), &rows); err != nil || len(rows) != 2 {
		t.Errorf("json: %v %v", rows, err)
	}
	csv := h.mustRun(binary, "query", "air", "--data", h.data, "--key", "id=2", "--newest", "--limit", "1", "-o", "csv")
	if !strings.HasPrefix(csv, "id,time,dust,humid,temp\n2,") {
		t.Errorf("csv:\n%s", csv)
	}
	if _, err := h.run(binary, "query", "nosuch", "--data", h.data); err == nil || !strings.Contains(err.Error(), `there is no table "nosuch": there are air`) {
		t.Errorf("missing table: %v", err)
	}
	if _, err := h.run(binary, "query", "air", "--data", h.data, "--key", "name=1"); err == nil || !strings.Contains(err.Error(), "partition key of air is id") {
		t.Errorf("wrong key: %v", err)
	}
}

func TestEnvPointsToolsAtTheCloud(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	out := h.mustRun("sh", "-c", fmt.Sprintf(`eval "$('%s' env --data '%s')" && /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" dynamodb list-tables --output text`, binary, h.data))
	if !strings.Contains(out, "air") {
		t.Errorf("got %q", out)
	}
}

// item reads one item of air by its keys.
func (h *host) item(id, at string) map[string]types.AttributeValue {
	h.t.Helper()
	for _, row := range h.query(id) {
		if text(row["time"]) == at {
			return row
		}
	}
	return nil
}

func apiKey(t *testing.T, h *host) string {
	t.Helper()
	key, err := os.ReadFile(h.ep.APIKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}
