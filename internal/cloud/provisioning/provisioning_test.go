package provisioning

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
)

func open(t testing.TB, dir string) (*Engine, *registry.Registry, *store.Store) {
	t.Helper()
	st := storetest.Open(t, dir)
	reg, err := registry.Open(st, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return New(reg, nil), reg, st
}

// fleet is the example of the AWS IoT developer guide, "Provisioning
// templates", "Fleet provisioning", with names of our own.
const fleet = `{
	"Parameters": {"ThingName": {"Type": "String"}, "SerialNumber": {"Type": "String"}, "DeviceLocation": {"Type": "String", "Default": "Berlin"}},
	"Mappings": {"LocationTable": {"Berlin": {"LocationUrl": "https://berlin.example", "Groups": ["roof"]}, "Rome": {"LocationUrl": "https://rome.example", "Groups": []}}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {
			"AttributePayload": {"version": "v1", "serialNumber": {"Ref": "SerialNumber"}},
			"ThingName": {"Fn::Join": ["", ["board_", {"Ref": "ThingName"}]]},
			"ThingTypeName": {"Fn::Select": ["1", {"Fn::Split": ["-", "x-dust"]}]},
			"ThingGroups": {"Fn::FindInMap": ["LocationTable", {"Ref": "DeviceLocation"}, "Groups"]},
			"BillingGroup": "home"},
			"OverrideSettings": {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Action": "iot:Publish", "Resource": {"Fn::Sub": "arn:aws:iot:us-east-1:000000000001:topic/${SerialNumber}/${!iot:ClientId}"}}]}}}
	},
	"DeviceConfiguration": {"FallbackUrl": "https://www.example.com/test-site", "LocationUrl": {"Fn::FindInMap": ["LocationTable", {"Ref": "DeviceLocation"}, "LocationUrl"]}, "rate": 10}
}`

// ask publishes a request as a device does, and returns the answer.
func ask(t testing.TB, e *Engine, principal, topic, payload string) (map[string]any, bool) {
	t.Helper()
	if err := e.CheckTopic(topic, true); err != nil || !e.Serves(topic) {
		t.Fatalf("%s: %v", topic, err)
	}
	out, _ := e.Apply(nil, &message.Message{Topic: topic, Payload: []byte(payload), ClientID: "dev", Principal: principal})
	if len(out) != 1 || out[0].To != "dev" || out[0].QoS != 0 {
		t.Fatalf("%s was answered with %+v", topic, out)
	}
	var body map[string]any
	if err := json.Unmarshal(out[0].Payload, &body); err != nil {
		t.Fatal(err)
	}
	return body, out[0].Topic == topic+"/accepted"
}

func makeFleet(t testing.TB, reg *registry.Registry) {
	t.Helper()
	_, err := reg.CreateThingType(registry.ThingType{Name: "dust"}, nil)
	if err == nil {
		_, err = reg.CreateThingGroup(registry.ThingGroup{Name: "roof"}, nil)
	}
	if err == nil {
		_, err = reg.CreateBillingGroup("home", "", nil)
	}
	if err == nil {
		_, err = reg.CreateTemplate(registry.Template{Name: "fleet", Enabled: true, Role: "arn:aws:iam::1:role/provision"}, fleet, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFleetProvisioning(t *testing.T) {
	dir := t.TempDir()
	e, reg, st := open(t, dir)
	makeFleet(t, reg)
	created, ok := ask(t, e, "claim", "$aws/certificates/create/json", "")
	if !ok {
		t.Fatal(created)
	}
	text := func(name string) string { s, _ := created[name].(string); return s }
	if _, err := tls.X509KeyPair([]byte(text("certificatePem")), []byte(text("privateKey"))); err != nil {
		t.Error(err)
	}
	id, token := text("certificateId"), text("certificateOwnershipToken")
	if c, err := reg.Certificate(id); err != nil || c.Status != registry.PendingActivation {
		t.Errorf("%v, %v", c, err)
	}

	const topic = "$aws/provisioning-templates/fleet/provision/json"
	request := fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": "7", "SerialNumber": "S1"}}`, token)
	for _, bad := range []struct{ principal, topic, payload, code, text string }{
		{"stranger", topic, request, "InvalidCertificateOwnershipToken", "same client certificate"},
		{"claim", topic, `{"certificateOwnershipToken": "x"}`, "InvalidCertificateOwnershipToken", "not known"},
		{"claim", topic, `{`, "InvalidPayload", "JSON"},
		{"claim", topic, `{"parameters": {"a": 1}}`, "InvalidPayload", "number"},
		{"", topic, request, "AccessDenied", "certificate"},
		{"claim", "$aws/provisioning-templates/none/provision/json", request, "ResourceNotFound", "none"},
		{"claim", topic, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": "7"}}`, token), "InvalidParameters", "SerialNumber"},
		{"claim", topic, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": "7", "SerialNumber": "S1", "DeviceLocation": "Oslo"}}`, token), "InvalidParameters", "Oslo"},
		{"claim", topic, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"AWS::IoT::Certificate::Id": "7"}}`, token), "InvalidParameters", "filled in by the server"},
		{"claim", topic, fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": "7 7", "SerialNumber": "S1"}}`, token), "InvalidParameters", "thing name"},
		{"claim", "$aws/certificates/create-from-csr/json", `{}`, "InvalidPayload", "certificateSigningRequest"},
		{"claim", "$aws/certificates/create-from-csr/json", `{"certificateSigningRequest": "x"}`, "InvalidParameters", "PEM"},
	} {
		body, ok := ask(t, e, bad.principal, bad.topic, bad.payload)
		if message, _ := body["errorMessage"].(string); ok || body["errorCode"] != bad.code || !strings.Contains(message, bad.text) {
			t.Errorf("%s %s was answered with %v, want %s: %s", bad.topic, bad.payload, body, bad.code, bad.text)
		}
	}
	if things, _, _ := reg.Things(registry.ThingFilter{}, registry.Page{}); len(things) != 0 {
		t.Errorf("refused requests left %v", things)
	}
	if policies, _, _ := reg.Policies(registry.Page{}); len(policies) != 0 {
		t.Errorf("refused requests left %v", policies)
	}
	_ = st.Close() // the token outlives a restart

	e, reg, st = open(t, dir)
	done, ok := ask(t, e, "claim", topic, request)
	config, _ := done["deviceConfiguration"].(map[string]any)
	if !ok || done["thingName"] != "board_7" || config["LocationUrl"] != "https://berlin.example" || config["rate"] != 10.0 {
		t.Fatalf("answer %v", done)
	}
	checkFleet(t, reg, id)
	_ = st.Close()
	e, reg, _ = open(t, dir)
	checkFleet(t, reg, id)

	again, ok := ask(t, e, "claim", topic, request)
	if !ok || fmt.Sprint(again) != fmt.Sprint(done) {
		t.Errorf("the same request again: %v", again)
	}
	other, ok := ask(t, e, "claim", topic, strings.Replace(request, `"7"`, `"8"`, 1))
	if ok || other["errorCode"] != "InvalidCertificateOwnershipToken" {
		t.Errorf("another request with a used token: %v", other)
	}
	off := false
	_ = reg.UpdateTemplate("fleet", registry.TemplateUpdate{Enabled: &off})
	if body, ok := ask(t, e, "claim", topic, request); ok || body["errorCode"] != "AccessDenied" {
		t.Errorf("a template that is not enabled: %v", body)
	}
}

func checkFleet(t *testing.T, reg *registry.Registry, id string) {
	t.Helper()
	thing, err := reg.Thing("board_7")
	if err != nil || thing.Attributes["serialNumber"] != "S1" || thing.Type != "dust" || thing.Billing != "home" {
		t.Errorf("thing %+v, %v", thing, err)
	}
	if groups, _, _ := reg.GroupsOfThing("board_7", registry.Page{}); len(groups) != 1 || groups[0] != "roof" {
		t.Errorf("groups %v", groups)
	}
	if c, err := reg.Certificate(id); err != nil || c.Status != registry.Active {
		t.Errorf("certificate %+v, %v", c, err)
	}
	if certs, _, _ := reg.ThingPrincipals("board_7", registry.Page{}); len(certs) != 1 || certs[0] != id {
		t.Errorf("principals %v", certs)
	}
	names, _, _ := reg.AttachedPolicies(id, false, registry.Page{})
	if len(names) != 1 || len(names[0]) != 64 {
		t.Fatalf("policies %v", names)
	}
	p, _ := reg.Policy(names[0])
	if !strings.Contains(p.Versions[0].Document, "topic/S1/${iot:ClientId}") {
		t.Errorf("the document is %s", p.Versions[0].Document)
	}
}

// TestFromCSR provisions with a key that the device keeps, over CBOR.
func TestFromCSR(t *testing.T) {
	e, reg, _ := open(t, t.TempDir())
	makeFleet(t, reg)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "own"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	call := func(topic string, in map[string]any) map[string]any {
		payload, err := appendCBOR(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := e.Apply(nil, &message.Message{Topic: topic, Payload: payload, ClientID: "dev", Principal: "claim"})
		item, err := decodeCBOR(out[0].Payload)
		if body, ok := item.(map[string]any); err == nil && ok && out[0].Topic == topic+"/accepted" {
			return body
		}
		t.Fatalf("%s: %v, %v", out[0].Topic, item, err)
		return nil
	}
	created := call("$aws/certificates/create-from-csr/cbor", map[string]any{"certificateSigningRequest": csr})
	if _, ok := created["privateKey"]; ok {
		t.Error("a private key for a signing request")
	}
	done := call("$aws/provisioning-templates/fleet/provision/cbor", map[string]any{
		"certificateOwnershipToken": created["certificateOwnershipToken"], "parameters": map[string]any{"ThingName": "7", "SerialNumber": "S1"},
	})
	if done["thingName"] != "board_7" {
		t.Errorf("answer %v", done)
	}
}

// TestExpiry: certificates that nobody provisions go, and so do claims.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, reg, _ := open(t, t.TempDir())
		makeFleet(t, reg)
		created, _ := ask(t, e, "claim", "$aws/certificates/create/json", "{}")
		used, _ := ask(t, e, "claim", "$aws/certificates/create/json", "{}")
		claim, err := reg.CreateClaim(ClaimPolicy("fleet", reg.ARN))
		if err != nil {
			t.Fatal(err)
		}
		request := func(of map[string]any) string {
			return fmt.Sprintf(`{"certificateOwnershipToken": %q, "parameters": {"ThingName": "7", "SerialNumber": "S1"}}`, of["certificateOwnershipToken"])
		}
		const topic = "$aws/provisioning-templates/fleet/provision/json"
		if body, ok := ask(t, e, "claim", topic, request(used)); !ok {
			t.Fatal(body)
		}
		exists := func(id any) bool {
			_, err := reg.Certificate(id.(string))
			return err == nil
		}
		time.Sleep(registry.ClaimLife)
		if err := reg.Sweep(); err != nil || exists(claim.Certificate.ID) || !exists(created["certificateId"]) {
			t.Errorf("after the life of a claim: %v", err)
		}
		time.Sleep(registry.TokenLife)
		if body, ok := ask(t, e, "claim", topic, request(created)); ok || body["errorCode"] != "InvalidCertificateOwnershipToken" {
			t.Errorf("an expired token: %v", body)
		}
		if err := reg.Sweep(); err != nil || exists(created["certificateId"]) || !exists(used["certificateId"]) {
			t.Errorf("after the life of a token: %v", err)
		}
	})
}

func TestFilters(t *testing.T) {
	e := New(nil, nil)
	for filter, want := range map[string]bool{
		"$aws/certificates/create/json/accepted":                true,
		"$aws/certificates/create/json/#":                       false, // # takes in its parent
		"$aws/certificates/create/json/+":                       true,
		"$aws/certificates/create/+/rejected":                   true,
		"$aws/certificates/create-from-csr/cbor/accepted":       true,
		"$aws/provisioning-templates/t/provision/json/accepted": true,
		"$aws/provisioning-templates/+/provision/json/accepted": true,
		"$aws/events/certificates/registered/#":                 true,
		"$aws/events/certificates/registered/abc":               true,
		"$aws/certificates/create/json":                         false,
		"$aws/certificates/#":                                   false,
		"$aws/certificates/create/+":                            false,
		"$aws/provisioning-templates/t/provision/#":             false,
		"$aws/provisioning-templates/t/provision/json":          false,
		"$aws/provisioning-templates/t/other":                   false,
		"$aws/things/a/shadow/get":                              false,
	} {
		if err := e.CheckFilter(filter); (err == nil) != want {
			t.Errorf("%s: %v", filter, err)
		}
	}
	for _, topic := range []string{"$aws/certificates/create/json/accepted", "$aws/events/certificates/registered/a", "$aws/certificates/create/xml", "$aws/certificates/provision/json", "$aws/provisioning-templates//provision/json"} {
		if e.CheckTopic(topic, true) == nil {
			t.Errorf("clients may publish on %s", topic)
		}
	}
	for _, topic := range requests {
		topic = strings.Replace(topic, "+", "t", 1)
		if err := e.CheckTopic(topic, false); err == nil || !strings.Contains(err.Error(), "publish on it over MQTT") {
			t.Errorf("%s without a client to answer: %v", topic, err)
		}
		if out, err := e.Apply(nil, &message.Message{Topic: topic, Principal: "claim"}); out != nil || err == nil {
			t.Errorf("%s without a client to answer: %v, %v", topic, out, err)
		}
	}
}

// TestTemplates: what is refused when a template is made.
func TestTemplates(t *testing.T) {
	const cert = `"c": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}`
	for body, want := range map[string]string{
		``:                             "0 bytes",
		`{`:                            "cannot be read",
		`{"Resources": {}} x`:          "behind",
		`{"Resources": {}}`:            "Template must have certificate resource.",
		`{"Other": 1}`:                 "Other",
		strings.Repeat(" ", maxBody+1): "10241",
		`{"Parameters": {"a": {"Type": "Number"}}, "Resources": {` + cert + `}}`:                                                                            "Type String",
		`{"Resources": {"x": {"Type": "AWS::S3::Bucket"}, ` + cert + `}}`:                                                                                   "AWS::S3::Bucket",
		`{"Resources": {"x": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "b"}}}, ` + cert + `}}`:                                        `"b"`,
		`{"Resources": {"x": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Base64": "b"}}}, ` + cert + `}}`:                                 "Fn::Base64",
		`{"Resources": {"x": {"Type": "AWS::IoT::Thing", "Properties": {"Name": "b"}}, ` + cert + `}}`:                                                      "no property Name",
		`{"Resources": {"x": {"Type": "AWS::IoT::Thing"}, ` + cert + `}}`:                                                                                   "ThingName",
		`{"Resources": {"x": {"Type": "AWS::IoT::Policy", "Properties": {}}, ` + cert + `}}`:                                                                "one of both",
		`{"Resources": {"x": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "a"}, "OverrideSettings": {"ThingTypeName": "MERGE"}}, ` + cert + `}}`: "ThingTypeName",
		`{"Resources": {"d": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificatePem": "a"}}, ` + cert + `}}`:                                      "one certificate",
	} {
		if _, err := Parse(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %v, want %s", body, err, want)
		}
	}
}

func TestFunctions(t *testing.T) {
	body := func(value string) string {
		return `{"Parameters": {"a": {"Type": "String"}, "d": {"Type": "String", "Default": "dflt"}}, "Mappings": {"m": {"k": {"v": "found", "l": ["x", "y"]}}},
			"Resources": {"c": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": ` + value + `}}}}`
	}
	for value, want := range map[string]string{
		`"plain"`:      "plain",
		`{"Ref": "d"}`: "dflt",
		`{"Fn::Join": ["-", ["a", {"Ref": "a"}, 3]]}`:                      "a-A,B-3",
		`{"Fn::Select": [1, {"Fn::Split": [",", {"Ref": "a"}]}]}`:          "B",
		`{"Fn::FindInMap": ["m", "k", "v"]}`:                               "found",
		`{"Fn::Select": ["0", {"Fn::FindInMap": ["m", "k", "l"]}]}`:        "x",
		`{"Fn::Sub": "${a}/${d}/${!d}"}`:                                   "A,B/dflt/${d}",
		`{"Fn::Sub": ["${x}${a}", {"x": {"Fn::Join": ["", ["1", "2"]]}}]}`: "12A,B",
		`{"Fn::Select": [2, ["a"]]}`:                                       "error: index",
		`{"Fn::Select": ["x", ["a"]]}`:                                     "error: index",
		`{"Fn::Split": ["", "a"]}`:                                         "error: delimiter",
		`{"Fn::FindInMap": ["m", "z", "v"]}`:                               "error: \"z\"",
		`{"Fn::Sub": "${a"}`:                                               "error: no }",
		`{"Fn::Sub": "${z}"}`:                                              "error: \"z\"",
		`{"Fn::Join": ["a"]}`:                                              "error: 2 arguments",
		`["a"]`:                                                            "error: text is needed",
		`{"Ref": "AWS::IoT::Certificate::CommonName"}`:                     "error: no CommonName",
	} {
		tpl, err := Parse(body(value))
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		p, err := tpl.plan(map[string]string{"a": "A,B"})
		if text, ok := strings.CutPrefix(want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %s", value, err, text)
			}
		} else if err != nil || p.Certificate != want {
			t.Errorf("%s: %q, %v, want %q", value, p.Certificate, err, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(fleet, "7")
	f.Add(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Sub":["${a",{}]}}}}}`, "")
	f.Fuzz(func(t *testing.T, body, value string) {
		tpl, err := Parse(body)
		if err != nil {
			return
		}
		params := map[string]string{}
		for name := range tpl.parameters {
			params[name] = value
		}
		_, _ = tpl.plan(params)
	})
}

func FuzzCBOR(f *testing.F) {
	for _, v := range []any{nil, true, -7, "text", 1.5, []any{json.Number("1"), "a", json.Number("17523559133623627824")}, map[string]any{"a": map[string]any{"b": []any{false}}}} {
		b, err := appendCBOR(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decodeCBOR(data)
		if err != nil {
			return
		}
		b, err := appendCBOR(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeCBOR(b)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(v) {
			t.Fatalf("%v became %v, %v", v, again, err)
		}
	})
}

// TestCBORExamples are examples of RFC 8949, appendix A.
func TestCBORExamples(t *testing.T) {
	for in, want := range map[string]string{
		"\x18\x64": "100", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff": "18446744073709551615", "\x39\x03\xe7": "-1000",
		"\xfa\x47\xc3\x50\x00": "100000", "\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a": "1.1", "\xf5": "true", "\x64\x49\x45\x54\x46": "IETF",
		"\x83\x01\x02\x03": "[1 2 3]", "\xa2\x61\x61\x01\x61\x62\x82\x02\x03": "map[a:1 b:[2 3]]",
	} {
		if v, err := decodeCBOR([]byte(in)); err != nil || fmt.Sprint(v) != want {
			t.Errorf("%x: %v, %v, want %s", in, v, err, want)
		}
	}
	for _, in := range []string{"", "\x18", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f", "\xa1\x01\x02", "\x41a", "\xc0\x61a", "\x01\x02", "\x62\xff\xff", "\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
		"\xa2\x61a\x01\x61a\x02", strings.Repeat("\x81", 40) + "\x01"} {
		if v, err := decodeCBOR([]byte(in)); err == nil {
			t.Errorf("%x was read as %v", in, v)
		}
	}
}
