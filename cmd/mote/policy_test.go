//go:build !gateway

package main

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"mote/internal/cloud/awsapi/iot"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/store/storetest"
)

// TestPolicyTestOfAServer asks a registry through the AWS APIs.
func TestPolicyTestOfAServer(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	reg, err := registry.Open(st, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rules.Open(st, nil, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(iot.New(reg, engine, iot.Options{Endpoint: "mote.example"}))
	t.Cleanup(srv.Close)
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(k, v)
	}
	ask := func(args ...string) (int, string) {
		var out strings.Builder
		code := run(context.Background(), append([]string{"policy", "test", "--endpoint-url", srv.URL}, args...), strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	want := func(status int, text string, args ...string) {
		t.Helper()
		if code, out := ask(args...); code != status || !strings.Contains(out, text) {
			t.Errorf("mote policy test %s: status %d, want %d with %q\n%s", strings.Join(args, " "), code, status, text, out)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := []string{"--thing", "pi", "--action", "iot:Publish", "--resource", "topic/pi/roof"}
	want(2, "ResourceNotFoundException: Thing pi does not exist", publish...)
	_, err = reg.CreateThing("pi", map[string]string{"site": "roof"})
	must(err)
	want(2, "thing pi has no certificate", publish...)
	cert, _, err := reg.CreateKeysAndCertificate(true)
	must(err)
	must(reg.AttachThingPrincipal("pi", cert.ID, false))
	want(1, "no statement of any policy allows anything", publish...)

	_, err = reg.CreatePolicy("site", `{"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}/${iot:Connection.Thing.Attributes[site]}"}]}`, nil)
	must(err)
	_, err = reg.CreateThingGroup(registry.ThingGroup{Name: "roofs"}, nil)
	must(err)
	must(reg.ChangeGroups("pi", []string{"roofs"}, nil))
	must(reg.AttachPolicy("site", "thinggroup/roofs"))
	want(0, "decided by policy site, version 1, statement 0 (s)", publish...)
	want(0, `"decision":"allowed"`, append(publish, "-o", "json")...)
	want(0, "allowed", "--certificate", cert.ID, "--action", "iot:Publish", "--resource", "topic/pi/roof")
	want(1, "would allow it but for its action", "--thing", "pi", "--action", "iot:GetThingShadow", "--resource", "arn:aws:iot:us-east-1:000000000001:topic/pi/roof")
	_, err = reg.CreatePolicyVersion("site", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`, true)
	must(err)
	want(1, "decided by policy site, version 2, statement 0", publish...)

	other, _, err := reg.CreateKeysAndCertificate(true)
	must(err)
	must(reg.AttachThingPrincipal("pi", other.ID, false))
	want(2, "choose with --certificate, one of\n  arn:aws:iot:us-east-1:000000000001:cert/", publish...)
	want(1, "denied", append(publish, "--certificate", reg.ARN("cert/"+other.ID))...)
}
