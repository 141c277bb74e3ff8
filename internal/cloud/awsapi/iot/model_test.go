package iot

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestModelIsWhole compares the list of operations with botocore's, as far as
// the one that is installed knows them.
func TestModelIsWhole(t *testing.T) {
	const list = `
import botocore.session
m = botocore.session.get_session().get_service_model("iot")
for n in m.operation_names:
    o = m.operation_model(n).http
    print(n, o["method"], o["requestUri"].split("?")[0])
`
	out, err := exec.Command("/usr/bin/python3", "-c", list).Output()
	if err != nil {
		t.Skip("no botocore is installed")
	}
	known := "\n" + model
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(known, "\n"+line) {
			t.Errorf("the model lacks %s", line)
		}
	}
}

// TestEveryOperation calls each operation of AWS IoT: it must be served, or be
// refused by its name.
func TestEveryOperation(t *testing.T) {
	srv, _, _ := newServer(t, t.TempDir())
	served := map[string]bool{}
	for _, op := range slices.Concat(operations, unsetOperations) {
		served[op.method+" "+shape(op.path)] = true
	}
	refused := 0
	for line := range strings.Lines(strings.TrimPrefix(model, "\n")) {
		f := strings.Fields(line)
		status, code, body := do(t, srv, f[1], fill(f[2]), "")
		if served[f[1]+" "+shape(f[2])] {
			if status >= 500 {
				t.Errorf("%s: %d %s", f[0], status, body)
			}
			continue
		}
		refused++
		if want := f[0] + " is an operation of AWS IoT that this server does not have"; status != 501 || code != "NotImplementedException" || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s %s", f[0], status, code, body)
		}
	}
	for name := range insteads {
		if !strings.Contains(model, "\n"+name+" ") {
			t.Errorf("there is no operation %s", name)
		}
	}
	t.Logf("%d operations are served, %d are refused", len(served), refused)
}

// shape is a path without the names of its labels.
func shape(path string) string {
	var out []string
	for s := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(s, "{") {
			s = "{}"
		}
		out = append(out, s)
	}
	return strings.Join(out, "/")
}

// fill puts a value in place of each label.
func fill(path string) string { return strings.ReplaceAll(shape(path), "{}", "x") }

// step is one request and its expected answer.
type step struct {
	method, path, body string
	status             int
	want               string // part of the error type and body
}

func run(t *testing.T, steps []step) {
	t.Helper()
	srv, _, _ := newServer(t, t.TempDir())
	for _, s := range steps {
		status, code, body := do(t, srv, s.method, s.path, s.body)
		if got := fmt.Sprint(code, " ", body); status != s.status || !strings.Contains(got, s.want) {
			t.Errorf("%s %s %s\n got %d %s\nwant %d …%s…", s.method, s.path, s.body, status, got, s.status, s.want)
		}
	}
}

const testARN = "arn:aws:iot:us-east-1:000000000001:"

func TestThingTypes(t *testing.T) {
	run(t, []step{
		{"POST", "/thing-types/board", `{"thingTypeProperties":{"thingTypeDescription":"a board","searchableAttributes":["room"],"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"r","thingAttribute":"room"}]}},"tags":[{"Key":"a","Value":"b"}]}`, 200, `"thingTypeArn":"` + testARN + `thingtype/board"`},
		{"POST", "/thing-types/board", `{"thingTypeProperties":{"thingTypeDescription":"a board","searchableAttributes":["room"],"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"r","thingAttribute":"room"}]}}}`, 200, `"thingTypeName":"board"`},
		{"POST", "/thing-types/board", `{}`, 409, `"resourceId":"board"`},
		{"POST", "/thing-types/a%20b", `{}`, 400, "InvalidRequestException"},
		{"POST", "/thing-types/x", `{"thingTypeProperties":{"searchableAttributes":["a","b","c","d"]}}`, 400, "the limit is 3"},
		{"POST", "/thing-types/x", `{"thingTypeProperties":{"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"r"}]}}}`, 400, "either thingAttribute or connectionAttribute"},
		{"GET", "/thing-types/board", "", 200, `"thingTypeProperties":{"thingTypeDescription":"a board","searchableAttributes":["room"],"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"r","thingAttribute":"room"}]}},"thingTypeMetadata":{"deprecated":false,"creationDate":1`},
		{"GET", "/thing-types/none", "", 404, "Thing type none does not exist"},
		{"GET", "/tags?resourceArn=" + testARN + "thingtype/board", "", 200, `[{"Key":"a","Value":"b"}]`},
		{"POST", "/thing-types/boat", "", 200, "boat"},
		{"GET", "/thing-types?maxResults=1", "", 200, `"nextToken":`},
		{"GET", "/thing-types?thingTypeName=boat", "", 200, `{"thingTypes":[{"thingTypeName":"boat","thingTypeArn"`},

		{"POST", "/things/t", `{"thingTypeName":"board","attributePayload":{"attributes":{"a":"1","b":"2","c":"3","d":"4"}}}`, 200, "thingId"},
		{"POST", "/things/t", `{"thingTypeName":"boat","attributePayload":{"attributes":{"a":"1","b":"2","c":"3","d":"4"}}}`, 409, "different thing type"},
		{"GET", "/things/t", "", 200, `"thingTypeName":"board"`},
		{"GET", "/things?thingTypeName=board", "", 200, `"thingName":"t"`},
		{"GET", "/things?thingTypeName=boat", "", 200, `{"things":[]}`},
		{"PATCH", "/things/t", `{"removeThingType":true}`, 400, "a thing without a thing type can have 3"},
		{"PATCH", "/things/t", `{"removeThingType":true,"attributePayload":{"attributes":{"a":"1"}}}`, 200, "{}"},
		{"PATCH", "/things/t", `{"removeThingType":true,"thingTypeName":"boat"}`, 400, "only one of the two"},
		{"PATCH", "/things/t", `{"thingTypeName":"boat","expectedVersion":2}`, 200, "{}"},
		{"PATCH", "/things/t", `{"thingTypeName":"board","expectedVersion":2}`, 409, "VersionConflictException"},

		{"PATCH", "/thing-types/boat", `{"thingTypeProperties":{"thingTypeDescription":"floats"}}`, 200, "{}"},
		{"GET", "/thing-types/boat", "", 200, `"thingTypeDescription":"floats"`},
		{"DELETE", "/thing-types/boat", "", 400, "is not deprecated"},
		{"POST", "/thing-types/boat/deprecate", "", 200, "{}"},
		{"GET", "/thing-types/boat", "", 200, `"deprecated":true,"deprecationDate":1`},
		{"POST", "/things/u", `{"thingTypeName":"boat"}`, 400, "Can not create new thing with deprecated thing type:boat"},
		{"PATCH", "/thing-types/boat", `{}`, 400, "is deprecated"},
		{"POST", "/thing-types/boat/deprecate", `{"undoDeprecate":true}`, 200, "{}"},
		{"POST", "/things/u", `{"thingTypeName":"boat"}`, 200, "{"},
		{"POST", "/thing-types/boat/deprecate", "", 200, "{}"},
		{"DELETE", "/thing-types/boat", "", 400, "2 things have it"},
		{"DELETE", "/things/t", "", 200, "{}"},
		{"DELETE", "/things/u", "", 200, "{}"},
		{"DELETE", "/thing-types/boat", "", 200, "{}"},
		{"GET", "/thing-types/boat", "", 404, "Thing type boat"},
		{"DELETE", "/thing-types/none", "", 404, "Thing type none"},
	})
}

func TestThingGroups(t *testing.T) {
	run(t, []step{
		{"POST", "/thing-groups/house", `{"thingGroupProperties":{"thingGroupDescription":"all","attributePayload":{"attributes":{"city":"X"}}},"tags":[{"Key":"a","Value":"b"}]}`, 200, `"thingGroupArn":"` + testARN + `thinggroup/house"`},
		{"POST", "/thing-groups/house", `{}`, 409, "ResourceAlreadyExistsException"},
		{"POST", "/thing-groups/roof", `{"parentGroupName":"house"}`, 200, "roof"},
		{"POST", "/thing-groups/east", `{"parentGroupName":"roof"}`, 200, "east"},
		{"POST", "/thing-groups/cellar", `{"parentGroupName":"house"}`, 200, "cellar"},
		{"POST", "/thing-groups/lost", `{"parentGroupName":"none"}`, 404, "Thing group none does not exist"},
		{"POST", "/thing-groups/other", "", 200, "other"},
		{"GET", "/thing-groups/house", "", 200, `"version":1,"thingGroupProperties":{"thingGroupDescription":"all","attributePayload":{"attributes":{"city":"X"}}},"thingGroupMetadata":{"creationDate":1`},
		{"GET", "/thing-groups/east", "", 200, `"parentGroupName":"roof","rootToParentThingGroups":[{"groupName":"house","groupArn":"` + testARN + `thinggroup/house"},{"groupName":"roof",`},
		{"GET", "/tags?resourceArn=" + testARN + "thinggroup/house", "", 200, `[{"Key":"a","Value":"b"}]`},
		{"GET", "/thing-groups?namePrefixFilter=o", "", 200, `{"thingGroups":[{"groupName":"other","groupArn":"` + testARN + `thinggroup/other"}]}`},
		{"GET", "/thing-groups?recursive=false&namePrefixFilter=r", "", 200, `{"thingGroups":[]}`},
		{"GET", "/thing-groups?parentGroup=house&recursive=false&namePrefixFilter=r", "", 200, `[{"groupName":"roof",`},
		{"GET", "/thing-groups?parentGroup=house&namePrefixFilter=e", "", 200, `[{"groupName":"east",`},
		{"GET", "/thing-groups?parentGroup=none", "", 404, "Thing group none"},
		{"GET", "/thing-groups?maxResults=2", "", 200, `"nextToken":`},
		{"PATCH", "/thing-groups/house", `{"thingGroupProperties":{"attributePayload":{"attributes":{"zip":"1"},"merge":true}},"expectedVersion":1}`, 200, `{"version":2}`},
		{"GET", "/thing-groups/house", "", 200, `"thingGroupDescription":"all","attributePayload":{"attributes":{"city":"X","zip":"1"}}`},
		{"PATCH", "/thing-groups/house", `{"thingGroupProperties":{"attributePayload":{"attributes":{"k":"v"}}},"expectedVersion":1}`, 409, "VersionConflictException"},
		{"PATCH", "/thing-groups/house", `{}`, 400, "thingGroupProperties is missing"},

		{"POST", "/things/t", "", 200, "t"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"east","thingName":"t"}`, 200, "{}"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupArn":"` + testARN + `thinggroup/east","thingArn":"` + testARN + `thing/t","overrideDynamicGroups":true}`, 200, "{}"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupArn":"arn:aws:iot:eu-west-1:1:thinggroup/east","thingName":"t"}`, 400, "must look like"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"cellar","thingName":"t"}`, 400, "in one hierarchy, below house"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingName":"t"}`, 400, "thingGroupName is missing"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"none","thingName":"t"}`, 404, "Thing group none"},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"other","thingName":"none"}`, 404, "Thing none"},
		{"GET", "/things/t/thing-groups", "", 200, `{"thingGroups":[{"groupName":"east","groupArn":"` + testARN + `thinggroup/east"}]}`},
		{"GET", "/thing-groups/house/things", "", 200, `{"things":[]}`},
		{"GET", "/thing-groups/house/things?recursive=true", "", 200, `{"things":["t"]}`},
		{"PUT", "/thing-groups/updateThingGroupsForThing", `{"thingName":"t","thingGroupsToAdd":["cellar","other"],"thingGroupsToRemove":["east"]}`, 200, "{}"},
		{"GET", "/things/t/thing-groups", "", 200, `[{"groupName":"cellar","groupArn":"` + testARN + `thinggroup/cellar"},{"groupName":"other"`},
		{"PUT", "/thing-groups/removeThingFromThingGroup", `{"thingGroupName":"other","thingName":"t"}`, 200, "{}"},
		{"PUT", "/thing-groups/removeThingFromThingGroup", `{"thingGroupName":"other","thingName":"t"}`, 200, "{}"},

		{"DELETE", "/thing-groups/house", "", 400, "Cannot delete thing group : house when there are still child groups attached to it."},
		{"DELETE", "/thing-groups/cellar?expectedVersion=7", "", 409, "VersionConflictException"},
		{"DELETE", "/thing-groups/cellar?expectedVersion=1", "", 200, "{}"},
		{"DELETE", "/thing-groups/cellar", "", 200, "{}"},
		{"GET", "/things/t/thing-groups", "", 200, `{"thingGroups":[]}`},
	})
}

func TestBillingGroups(t *testing.T) {
	run(t, []step{
		{"POST", "/billing-groups/b", `{"billingGroupProperties":{"billingGroupDescription":"d"}}`, 200, `"billingGroupArn":"` + testARN + `billinggroup/b"`},
		{"POST", "/billing-groups/b", `{"billingGroupProperties":{"billingGroupDescription":"e"}}`, 409, "ResourceAlreadyExistsException"},
		{"POST", "/billing-groups/c", "", 200, "c"},
		{"GET", "/billing-groups/b", "", 200, `"billingGroupMetadata":{"creationDate":1`},
		{"GET", "/billing-groups/none", "", 404, "Billing group none"},
		{"GET", "/billing-groups?namePrefixFilter=b", "", 200, `{"billingGroups":[{"groupName":"b","groupArn":"` + testARN + `billinggroup/b"}]}`},
		{"PATCH", "/billing-groups/b", `{"billingGroupProperties":{"billingGroupDescription":"f"},"expectedVersion":1}`, 200, `{"version":2}`},
		{"PATCH", "/billing-groups/b", `{"billingGroupProperties":{},"expectedVersion":1}`, 409, "VersionConflictException"},
		{"POST", "/things/t", `{"billingGroupName":"b"}`, 200, "t"},
		{"POST", "/things/u", `{"billingGroupName":"none"}`, 404, "Billing group none"},
		{"GET", "/things/t", "", 200, `"billingGroupName":"b"`},
		{"PUT", "/billing-groups/addThingToBillingGroup", `{"billingGroupName":"c","thingName":"t"}`, 400, "is in the billing group b"},
		{"PUT", "/billing-groups/removeThingFromBillingGroup", `{"billingGroupArn":"` + testARN + `billinggroup/b","thingArn":"` + testARN + `thing/t"}`, 200, "{}"},
		{"PUT", "/billing-groups/addThingToBillingGroup", `{"billingGroupName":"c","thingName":"t"}`, 200, "{}"},
		{"GET", "/billing-groups/c/things", "", 200, `{"things":["t"]}`},
		{"POST", "/tags", `{"resourceArn":"` + testARN + `billinggroup/c","tags":[{"Key":"k","Value":"v"}]}`, 200, "{}"},
		{"DELETE", "/billing-groups/c?expectedVersion=2", "", 409, "VersionConflictException"},
		{"DELETE", "/billing-groups/c", "", 200, "{}"},
		{"GET", "/things/t", "", 200, `"version":1}`},
		{"DELETE", "/billing-groups/c", "", 404, "Billing group c"},
	})
}

func TestGroupPolicies(t *testing.T) {
	const group = testARN + "thinggroup/"
	allow := `{"policyDocument":"` + allowAll + `"}`
	run(t, []step{
		{"POST", "/policies/p", allow, 200, "p"},
		{"POST", "/policies/q", allow, 200, "q"},
		{"POST", "/policies/r", allow, 200, "r"},
		{"POST", "/thing-groups/top", "", 200, ""},
		{"POST", "/thing-groups/sub", `{"parentGroupName":"top"}`, 200, ""},
		{"POST", "/things/t", "", 200, ""},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"sub","thingName":"t"}`, 200, ""},
		{"PUT", "/target-policies/p", `{"target":"` + group + `top"}`, 200, "{}"},
		{"PUT", "/target-policies/q", `{"target":"` + group + `sub"}`, 200, "{}"},
		{"POST", "/attached-policies/" + group + "sub", "", 200, `"policyName":"q"`}, // as people type it
		{"POST", "/attached-policies/" + testARN + "thinggroup%2Fsub", "", 200, `{"policies":[{"policyName":"q",`},
		{"POST", "/attached-policies/" + testARN + "thinggroup%2Fsub?recursive=true", "", 200, `{"policies":[{"policyName":"p",`},
		{"POST", "/policy-targets/p", "", 200, `{"targets":["` + group + `top"]}`},
		{"POST", "/effective-policies?thingName=t", "{}", 200, `"policyName":"p"`},
		{"POST", "/effective-policies", "{}", 400, "nothing says whose policies"},
		{"POST", "/effective-policies", `{"principal":"` + group + `sub"}`, 200, `"policyName":"q"`},
		{"POST", "/test-authorization", `{"principal":"` + group + `sub","authInfos":[{"actionType":"PUBLISH","resources":["` + testARN + `topic/a"]}]}`, 200, `"authDecision":"ALLOWED"`},
		{"PUT", "/target-policies/r", `{"target":"` + group + `sub"}`, 200, "{}"},
		{"PUT", "/target-policies/p", `{"target":"` + group + `sub"}`, 410, "has 2 policies already"},
		{"DELETE", "/policies/q", "", 409, "DeleteConflictException"},
		{"PUT", "/target-policies/p", `{"target":"us-east-1:11111111-2222-3333-4444-555555555555"}`, 200, "{}"},
		{"POST", "/attached-policies/us-east-1:11111111-2222-3333-4444-555555555555", "", 200, `"policyName":"p"`},
		{"POST", "/target-policies/q", `{"target":"` + group + `sub"}`, 200, "{}"},
		{"DELETE", "/thing-groups/sub", "", 200, "{}"},
		{"DELETE", "/policies/r", "", 200, "{}"},
	})
}
