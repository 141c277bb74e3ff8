package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// keylessConfig is a cloud for a gateway that has a certificate and no keys.
const keylessConfig = `
[[policy]]
name = "gateway"
document = '''{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate", "Resource": "arn:aws:iot:*:*:rolealias/gateways"},
  {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/own/*"}]}'''

[[role_alias]]
name = "gateways"
role = "arn:aws:iam::000000000001:role/gateway"

[[role_alias]]
name = "readers"
role = "arn:aws:iam::000000000001:role/reader"
duration = "15m"

[[cloud.role]]
arn = "arn:aws:iam::000000000001:role/reader"
document = '''{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "arn:aws:dynamodb:*:*:table/air"}]}'''

[[thing]]
name = "gateway"
policy = "gateway"

[[table]]
name = "air"
hash = "id"
range = "time"

[[table]]
name = "rest"
hash = "id"
range = "time"

[[rule]]
name = "store_rest"
sql = "SELECT * FROM 'rest/prod/dust'"
table = "rest"

[[route]]
path = "/prod/dust"
auth = "iam"
`

// temporaryKey is what the credentials provider answers.
type temporaryKey struct {
	Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }
}

// env are the settings of AWS tools.
func (k temporaryKey) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + k.Credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + k.Credentials.SecretAccessKey, "AWS_SESSION_TOKEN=" + k.Credentials.SessionToken}
}

// TestAGatewayWithoutKeys walks the road of temporary credentials: the gateway's
// uplinks, curl, the AWS command lines and boto3, through a restart of the cloud,
// until the certificate is taken away.
func TestAGatewayWithoutKeys(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "cloud.toml")
	if err := os.WriteFile(config, []byte(keylessConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, data: filepath.Join(dir, "data")}
	web, secure := freeAddr(t), freeAddr(t)
	up := func() {
		s.cloud = startHostOn(t, s.data, "up", "--config", config, "--mqtt", freeAddr(t), "--https", secure, "--http", web)
	}
	up()
	b := startBoard(t, 20*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.keylessUplinks(secure))
	s.startGateway()
	for _, table := range []string{"air", "rest"} {
		waitFor(t, "rows in "+table, 30*time.Second, func() error {
			if err := atLeast(len(s.cloud.rows(table)), 10); err != nil {
				return fmt.Errorf("%w: %s", err, s.gateway.out)
			}
			return nil
		})
	}
	key := s.temporaryKey(secure)
	s.cloud.kill()
	up()
	s.toolsWithKey(key)
	from := len(s.cloud.rows("air"))
	waitFor(t, "rows after the restart", 30*time.Second, func() error { return atLeast(len(s.cloud.rows("air")), from+5) })

	id := s.certificateOfGateway()
	s.cloud.mustRun("/usr/bin/aws", "--endpoint-url", s.cloud.ep.HTTP, "iot", "update-certificate", "--certificate-id", id, "--new-status", "INACTIVE")
	out, err := s.withKey(key, "/usr/bin/aws", "dynamodb", "put-item", "--table-name", "air", "--item", `{"id":{"S":"x"},"time":{"S":"9"}}`)
	if err == nil || !strings.Contains(out, "UnrecognizedClientException") {
		t.Errorf("after the certificate was deactivated: %v, %s", err, out)
	}
	if out, _ := s.askForKey(secure, "gateways", "gateway"); strings.Contains(out, "accessKeyId") {
		t.Errorf("an inactive certificate got credentials: %s", out)
	}
	waitFor(t, "the gateway says why", 30*time.Second, func() error {
		if !strings.Contains(s.gateway.out.String(), "role alias gateways") {
			return fmt.Errorf("it says %s", s.gateway.out)
		}
		return nil
	})
}

// keylessUplinks sign with temporary credentials of the cloud at addr.
func (s *site) keylessUplinks(addr string) string {
	files := filepath.Join(s.data, "things/gateway")
	ca := filepath.Join(s.data, "ca.pem")
	credentials := fmt.Sprintf("credentials = { role_alias = \"gateways\", endpoint = %q, cert = %q, key = %q, ca = %q }\n", addr, files+"/cert.pem", files+"/key.pem", ca)
	return fmt.Sprintf("[uplink.dynamodb]\ntable = \"air\"\nregion = \"us-east-1\"\nendpoint = \"https://%[1]s\"\nca = %[2]q\n%[3]s"+
		"[uplink.rest]\nurl = \"https://%[1]s/prod/dust\"\nauth = \"iam\"\nregion = \"us-east-1\"\nca = %[2]q\n%[3]s", addr, ca, credentials)
}

// askForKey asks the credentials provider with curl.
func (s *site) askForKey(addr, alias, thing string) (string, error) {
	files := filepath.Join(s.data, "things/gateway")
	return s.cloud.run(tool(s.t, "curl"), "-sS", "--cacert", filepath.Join(s.data, "ca.pem"), "--cert", files+"/cert.pem", "--key", files+"/key.pem",
		"-H", "x-amzn-iot-thingname: "+thing, "https://"+addr+"/role-aliases/"+alias+"/credentials")
}

func (s *site) temporaryKey(addr string) (k temporaryKey) {
	s.t.Helper()
	for _, c := range []struct{ alias, thing, want string }{
		{"gateways", "another", `"message":"Invalid thing name passed"`},
		{"readers", "gateway", `"message":"Access Denied"`}, // the policy names another alias
	} {
		if out, err := s.askForKey(addr, c.alias, c.thing); err != nil || !strings.Contains(out, c.want) {
			s.t.Errorf("%s as %s: %v, %s", c.alias, c.thing, err, out)
		}
	}
	out, err := s.askForKey(addr, "gateways", "gateway")
	if err != nil || json.Unmarshal([]byte(out), &k) != nil || k.Credentials.SessionToken == "" {
		s.t.Fatalf("%v, %s", err, out)
	}
	return k
}

// withKey runs a tool with the key and no other, and returns all that it says.
func (s *site) withKey(k temporaryKey, name string, args ...string) (string, error) {
	if strings.HasSuffix(name, "aws") {
		args = append([]string{"--endpoint-url", s.cloud.ep.HTTP}, args...)
	}
	out, err := s.cloud.run("env", slices.Concat(k.env(), []string{"AWS_ENDPOINT_URL=" + s.cloud.ep.HTTP, name}, args)...)
	if err != nil {
		out += err.Error()
	}
	return out, err
}

// toolsWithKey does with AWS tools what the key may and may not do.
func (s *site) toolsWithKey(k temporaryKey) {
	s.t.Helper()
	for i, cli := range awsCLIs(s.t) {
		for j, c := range []struct{ args, want string }{
			{`sts|get-caller-identity|--query|Arn`, "arn:aws:sts::000000000001:assumed-role/gateway/"},
			{`dynamodb|put-item|--table-name|air|--item|{"id":{"S":"cli"},"time":{"S":"1"}}|--return-consumed-capacity|TOTAL`, `"CapacityUnits": 1`},
			{`iot-data|publish|--topic|own/t|--payload|aGVsbG8=`, ""},
			{`iot-data|publish|--topic|others/t|--payload|aGVsbG8=`, "ForbiddenException"},
			{`dynamodb|scan|--table-name|air`, "AccessDeniedException"},
			{`dynamodb|delete-table|--table-name|air`, "AccessDeniedException"},
			{`iot|list-things`, "AccessDeniedException"},
			{`apigateway|get-rest-apis`, "AccessDeniedException"},
		} {
			if i > 0 && j > 2 { // the server is the same; clients differ in what they sign
				break
			}
			out, err := s.withKey(k, cli, strings.Split(c.args, "|")...)
			if refused := strings.Contains(c.want, "Exception"); (err != nil) != refused || !strings.Contains(out, c.want) {
				s.t.Errorf("%s %s: %v, %s", cli, c.args, err, out)
			}
		}
	}
	const script = `
import boto3, os
table = boto3.resource("dynamodb", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1").Table("air")
with table.batch_writer() as b:
    for i in range(30):
        b.put_item(Item={"id": "boto3", "time": "%03d" % i})
try:
    table.get_item(Key={"id": "boto3", "time": "000"})
except table.meta.client.exceptions.ClientError as e:
    print(e.response["Error"]["Code"])
`
	if out, err := s.withKey(k, "/usr/bin/python3", "-c", script); err != nil || strings.TrimSpace(out) != "AccessDeniedException" {
		s.t.Errorf("boto3: %v, %s", err, out)
	}
	if n := len(s.cloud.history("boto3")); n != 30 {
		s.t.Errorf("boto3 put %d rows", n)
	}
}

// certificateOfGateway is the id of the gateway's certificate.
func (s *site) certificateOfGateway() string {
	out := s.cloud.mustRun("/usr/bin/aws", "--endpoint-url", s.cloud.ep.HTTP, "--output", "text", "iot", "list-thing-principals", "--thing-name", "gateway", "--query", "principals[0]")
	return strings.TrimSpace(out[strings.LastIndex(out, "/")+1:])
}
