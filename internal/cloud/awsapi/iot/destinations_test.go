package iot

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// webService takes confirmation requests and hands out their tokens.
func webService(t testing.TB) (string, <-chan string) {
	tokens := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ ConfirmationToken string }
		data, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(data, &body)
		tokens <- body.ConfirmationToken
	}))
	t.Cleanup(srv.Close)
	return srv.URL, tokens
}

const vpcConfiguration = `{"subnetIds":["subnet-1"],"securityGroups":["sg-1"],"vpcId":"vpc-1","roleArn":"arn:aws:iam::1:role/x"}`

// testDestinations manages destinations with an AWS CLI.
func testDestinations(t *testing.T, aws *cli) {
	service, tokens := webService(t)
	made := aws.run(t, "IN_PROGRESS", "create-topic-rule-destination", "--destination-configuration", `{"httpUrlConfiguration":{"confirmationUrl":"`+service+`/hooks"}}`)
	d, _ := made["topicRuleDestination"].(map[string]any)
	arn, _ := d["arn"].(string)
	if p, _ := d["httpUrlProperties"].(map[string]any); p["confirmationUrl"] != service+"/hooks" || d["createdAt"] == nil || d["lastUpdatedAt"] == nil {
		t.Errorf("%v", made)
	}
	aws.run(t, "ResourceAlreadyExistsException", "create-topic-rule-destination", "--destination-configuration", `{"httpUrlConfiguration":{"confirmationUrl":"`+service+`/hooks"}}`)
	aws.run(t, "InvalidRequestException", "update-topic-rule-destination", "--arn", arn, "--status", "ENABLED")
	aws.run(t, "InvalidRequestException", "confirm-topic-rule-destination", "--confirmation-token", "wrong")
	aws.run(t, "", "confirm-topic-rule-destination", "--confirmation-token", <-tokens)
	aws.run(t, "", "update-topic-rule-destination", "--arn", arn, "--status", "ENABLED")
	aws.run(t, `"ENABLED"`, "get-topic-rule-destination", "--arn", arn)
	aws.run(t, "", "update-topic-rule-destination", "--arn", arn, "--status", "DISABLED")
	aws.run(t, "", "update-topic-rule-destination", "--arn", arn, "--status", "IN_PROGRESS")
	<-tokens
	aws.run(t, `"subnet-1"`, "create-topic-rule-destination", "--destination-configuration", `{"vpcConfiguration":`+vpcConfiguration+`}`)
	listed := aws.run(t, "vpcDestinationSummary", "list-topic-rule-destinations", "--page-size", "1")
	if all, _ := listed["destinationSummaries"].([]any); len(all) != 2 {
		t.Errorf("the CLI's own paging found %v", listed)
	}
	aws.run(t, "", "delete-topic-rule-destination", "--arn", arn)
	aws.run(t, "UnauthorizedException", "delete-topic-rule-destination", "--arn", arn)
	aws.run(t, "UnauthorizedException", "get-topic-rule-destination", "--arn", arn)
}

func TestDestinationsOnTheWire(t *testing.T) {
	srv, _, _ := newServer(t, t.TempDir())
	h := srv.Config.Handler.(*Handler)
	service, tokens := webService(t)
	status, _, body := do(t, srv, "POST", "/destinations", `{"destinationConfiguration":{"httpUrlConfiguration":{"confirmationUrl":"`+service+`"}}}`)
	if status != 200 || !strings.Contains(body, `"createdAt":1`) {
		t.Fatalf("%d %s", status, body)
	}
	var made struct{ TopicRuleDestination struct{ ARN string } }
	if err := json.Unmarshal([]byte(body), &made); err != nil {
		t.Fatal(err)
	}
	arn := made.TopicRuleDestination.ARN
	for _, path := range []string{arn, url.PathEscape(arn), strings.ReplaceAll(arn, "/", "%2F")} {
		if status, _, body := do(t, srv, "GET", "/destinations/"+path, ""); status != 200 || !strings.Contains(body, arn) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/destinations", `{}`, "one of httpUrlConfiguration and vpcConfiguration"},
		{"POST", "/destinations", `{"destinationConfiguration":{"httpUrlConfiguration":{"confirmationUrl":"http://x/"},"vpcConfiguration":` + vpcConfiguration + `}}`, "one of"},
		{"POST", "/destinations", `{"destinationConfiguration":{"httpUrlConfiguration":{"confirmationUrl":"http://169.254.169.254/"}}}`, "link-local"},
		{"POST", "/destinations", `{"destinationConfiguration":{"vpcConfiguration":{"vpcId":"v"}}}`, "subnetIds"},
		{"PATCH", "/destinations", `{"arn":"` + arn + `"}`, "status"},
		{"PATCH", "/destinations", `{"arn":"` + arn + `","status":"DELETING"}`, "DELETING"},
		{"GET", "/destinations?maxResults=1001", ``, "1001"},
		{"GET", "/destinations?nextToken=x", ``, "token"},
		{"GET", "/confirmdestination/x/y", ``, "no destination waits"},
	} {
		if status, code, body := do(t, srv, c.method, c.path, c.body); status != 400 || code != "InvalidRequestException" || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s: %d %s %s", c.method, c.path, c.body, status, code, body)
		}
	}
	if status, code, body := do(t, srv, "DELETE", "/destinations/x/y", ""); status != 401 || code != "UnauthorizedException" || body != `{"message":"Access to TopicRuleDestination 'x/y' was denied"}` {
		t.Errorf("%d %s %s", status, code, body)
	}
	open := httptest.NewServer(h.ConfirmHandler())
	defer open.Close()
	token := <-tokens
	for path, want := range map[string]int{"/confirmdestination/": 400, "/confirmdestination/" + token + "x": 400, "/destinations": 400} {
		if status, _, body := do(t, open, "GET", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, body := do(t, open, "GET", "/confirmdestination/"+token, ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if _, _, body := do(t, srv, "GET", "/destinations/"+arn, ""); !strings.Contains(body, `"ENABLED"`) {
		t.Error(body)
	}
	bare := httptest.NewServer(New(nil, &fakeRules{}, Options{}))
	defer bare.Close()
	if status, code, _ := do(t, bare, "GET", "/destinations", ""); status != 501 || code != "NotImplementedException" {
		t.Errorf("%d %s", status, code)
	}
}
