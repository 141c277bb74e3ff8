package iot

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fakeFleet has the shadows and the connections that it is given.
type fakeFleet struct {
	shadows   map[string]string // by "thing" or "thing/shadow"
	connected map[string]time.Time
	left      map[string]time.Time
}

func (f fakeFleet) Shadow(thing, name string) ([]byte, bool) {
	key := thing
	if name != "" {
		key += "/" + name
	}
	doc, ok := f.shadows[key]
	return []byte(doc), ok
}

func (f fakeFleet) Connection(client string) (bool, time.Time) {
	if at, ok := f.connected[client]; ok {
		return true, at
	}
	return false, f.left[client]
}

func TestIndexingConfiguration(t *testing.T) {
	const things, groups = `{"thingIndexingConfiguration":`, `{"thingGroupIndexingConfiguration":`
	run(t, []step{
		{"GET", "/indexing/config", "", 200, `"thingIndexingConfiguration":{"thingIndexingMode":"OFF","thingConnectivityIndexingMode":"OFF","deviceDefenderIndexingMode":"OFF","namedShadowIndexingMode":"OFF","filter":{}}`},
		{"GET", "/indexing/config", "", 200, groups + `{"thingGroupIndexingMode":"OFF"}`},
		{"GET", "/indices", "", 200, `{"indexNames":[]}`},
		{"GET", "/indices/AWS_Things", "", 404, "Index AWS_Things does not exist"},
		{"POST", "/indices/search", `{"queryString":"*"}`, 404, "ResourceNotFoundException"},
		{"POST", "/indexing/config", things + `{}}`, 400, "thingIndexingMode"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY_AND_LOGS"}}`, 400, "must be one of OFF REGISTRY REGISTRY_AND_SHADOW"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"OFF","thingConnectivityIndexingMode":"STATUS"}}`, 400, "thingIndexingMode is OFF"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","deviceDefenderIndexingMode":"VIOLATIONS"}}`, 400, "deviceDefenderIndexingMode"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","namedShadowIndexingMode":"ON"}}`, 400, "namedShadowNames"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","filter":{"namedShadowNames":["a"]}}}`, 400, "must be ON"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","filter":{"geoLocations":[{"name":"a"}]}}}`, 400, "geoLocations are not supported"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","filter":{"connectivity":{"includeSocketInformation":["x"]}}}}`, 400, "filter.connectivity"},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY","customFields":[{"name":"attributes.a","type":"Text"}]}}`, 400, "custom field"},
		{"POST", "/indexing/config", groups + `{"thingGroupIndexingMode":"SOMETIMES"}}`, 400, "must be one of OFF ON"},
		{"GET", "/indexing/config", "", 200, `"thingIndexingMode":"OFF"`}, // what is refused changes nothing
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"REGISTRY_AND_SHADOW","thingConnectivityIndexingMode":"STATUS","namedShadowIndexingMode":"ON","filter":{"namedShadowNames":["cfg"]},"customFields":[{"name":"attributes.n","type":"Number"}]}}`, 200, "{}"},
		{"POST", "/indexing/config", groups + `{"thingGroupIndexingMode":"ON"}}`, 200, "{}"},
		{"GET", "/indexing/config", "", 200, `"namedShadowIndexingMode":"ON","managedFields":[{"name":"thingName","type":"String"}`},
		{"GET", "/indexing/config", "", 200, `"customFields":[{"name":"attributes.n","type":"Number"}],"filter":{"namedShadowNames":["cfg"]}`},
		{"GET", "/indexing/config", "", 200, `{"name":"connectivity.connected","type":"Boolean"}`},
		{"GET", "/indices", "", 200, `["AWS_Things","AWS_ThingGroups"]`},
		{"GET", "/indices/AWS_Things", "", 200, `"indexStatus":"ACTIVE","schema":"REGISTRY_AND_SHADOW_AND_CONNECTIVITY_STATUS"`},
		{"GET", "/indices/AWS_ThingGroups", "", 200, `"schema":"REGISTRY"`},
		{"POST", "/indexing/config", things + `{"thingIndexingMode":"OFF"}}`, 200, "{}"},
		{"GET", "/indices", "", 200, `["AWS_ThingGroups"]`},
	})
}

// fleetServer has three boards, of which one is connected, and a lamp.
func fleetServer(t *testing.T) *httptest.Server {
	t.Helper()
	_, reg, rules := newServer(t, t.TempDir())
	at := time.UnixMilli(1795000000123)
	srv := httptest.NewServer(New(reg, rules, Options{Fleet: fakeFleet{
		shadows: map[string]string{
			"board-1":     `{"state":{"desired":{"rate":10},"reported":{"rate":5,"net":{"rssi":-60}},"delta":{"rate":10}},"version":7}`,
			"board-2":     `{"state":{"reported":{"rate":10,"tags":["a","b"]}},"version":1}`,
			"board-1/cfg": `{"state":{"reported":{"mode":"eco"}},"version":2}`,
		},
		connected: map[string]time.Time{"board-1": at}, left: map[string]time.Time{"board-2": at.Add(time.Second)},
	}}))
	t.Cleanup(srv.Close)
	for _, s := range [][3]string{
		{"POST", "/thing-types/board", ""},
		{"POST", "/thing-groups/house", `{"thingGroupProperties":{"thingGroupDescription":"all of it","attributePayload":{"attributes":{"city":"X"}}}}`},
		{"POST", "/thing-groups/roof", `{"parentGroupName":"house"}`},
		{"POST", "/billing-groups/lab", ""},
		{"POST", "/things/board-1", `{"thingTypeName":"board","billingGroupName":"lab","attributePayload":{"attributes":{"room":"Attic","floor":"3"}}}`},
		{"POST", "/things/board-2", `{"thingTypeName":"board","attributePayload":{"attributes":{"room":"cellar","floor":"10"}}}`},
		{"POST", "/things/board-3", `{"thingTypeName":"board"}`},
		{"POST", "/things/lamp", ""},
		{"PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"roof","thingName":"board-1"}`},
		{"POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY_AND_SHADOW","thingConnectivityIndexingMode":"STATUS","namedShadowIndexingMode":"ON","filter":{"namedShadowNames":["cfg"]}},"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"ON"}}`},
	} {
		if status, code, body := do(t, srv, s[0], s[1], s[2]); status != 200 {
			t.Fatalf("%v: %d %s %s", s, status, code, body)
		}
	}
	return srv
}

// find answers a query, and the names that it finds, in order.
func find(t *testing.T, srv *httptest.Server, request map[string]any) (answer map[string]any, names string) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	status, code, text := do(t, srv, "POST", "/indices/search", string(body))
	if status != 200 {
		return nil, code + " " + text
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, kind := range []string{"thing", "thingGroup"} {
		for _, x := range answer[kind+"s"].([]any) {
			list = append(list, x.(map[string]any)[kind+"Name"].(string))
		}
	}
	return answer, strings.Join(list, " ")
}

func TestSearchThings(t *testing.T) {
	srv := fleetServer(t)
	for query, want := range map[string]string{
		"*":                   "board-1 board-2 board-3 lamp",
		"thingName:board-*":   "board-1 board-2 board-3",
		"NOT thingTypeName:*": "lamp",
		"thingTypeName:board attributes.room:attic":           "board-1",
		"attributes.floor > 3":                                "board-2",
		"registry.version:1 AND NOT thingName:board*":         "lamp",
		"thingGroupNames:roof OR registry.thingGroupNames:xy": "board-1",
		"thingGroupNames:lab":                                 "board-1", // its billing group
		"shadow.desired.rate:10":                              "board-1",
		"shadow.reported.rate:10.0":                           "board-2",
		"shadow.reported.net.rssi < -50":                      "board-1",
		"shadow.reported.tags:b":                              "board-2",
		"shadow.hasDelta:true":                                "board-1",
		"shadow.hasDelta:false":                               "board-2",
		"shadow.version >= 7":                                 "board-1",
		"shadow.name.cfg.reported.mode:eco":                   "board-1",
		"eco":                                                 "board-1",
		"cellar":                                              "board-2",
		"connectivity.connected:true":                         "board-1",
		"connectivity.connected:false thingTypeName:board":    "board-2 board-3",
		"connectivity.timestamp > 1795000000123":              "board-2",
		"thingName:none":                                      "",
	} {
		if _, got := find(t, srv, map[string]any{"queryString": query}); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"":                               "InvalidQueryException",
		"thingName:a AND":                "InvalidQueryException",
		"name:a":                         "there is no field name",
		"connectivity.online:true":       "there is no field",
		"shadow.reported:a":              "there is no field",
		"shadow.name.other.reported.a:1": "name the shadow in filter.namedShadowNames",
		"shadow.name.cfg.metadata:1":     "there is no field",
	} {
		if _, got := find(t, srv, map[string]any{"queryString": query}); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want …%s…", query, got, want)
		}
	}
}

func TestSearchAnswers(t *testing.T) {
	srv := fleetServer(t)
	answer, _ := find(t, srv, map[string]any{"queryString": "thingName:board-1", "indexName": "AWS_Things", "queryVersion": "2017-09-30"})
	hit := answer["things"].([]any)[0].(map[string]any)
	id := hit["thingId"]
	delete(hit, "thingId")
	got, _ := json.Marshal(hit)
	const want = `{"attributes":{"floor":"3","room":"Attic"},"connectivity":{"connected":true,"timestamp":1795000000123},"shadow":"{\"desired\":{\"rate\":10},\"reported\":{\"net\":{\"rssi\":-60},\"rate\":5},\"hasDelta\":true,\"version\":7,\"name\":{\"cfg\":{\"reported\":{\"mode\":\"eco\"},\"hasDelta\":false,\"version\":2}}}","thingGroupNames":["roof","lab"],"thingName":"board-1","thingTypeName":"board"}`
	if string(got) != want || id == "" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for query, names := range map[string]string{
		"thingGroupName:*": "house roof", "parentGroupNames:house": "roof", `description:"all of it"`: "house", "attributes.city:x": "house", "version:1 roof": "roof",
	} {
		if _, got := find(t, srv, map[string]any{"queryString": query, "indexName": "AWS_ThingGroups"}); got != names {
			t.Errorf("%s: %q, want %q", query, got, names)
		}
	}
	var seen []string
	request := map[string]any{"queryString": "*", "maxResults": 3}
	for range 3 {
		answer, names := find(t, srv, request)
		seen = append(seen, names)
		if request["nextToken"] = answer["nextToken"]; answer["nextToken"] == nil {
			break
		}
	}
	if got := strings.Join(seen, ","); got != "board-1 board-2 board-3,lamp" {
		t.Errorf("pages %q", got)
	}
	for _, bad := range []map[string]any{
		{"queryString": "*", "maxResults": 101}, {"queryString": "*", "maxResults": 0}, {"queryString": "*", "nextToken": "?"}, {"queryString": "*", "queryVersion": "1"},
	} {
		if _, got := find(t, srv, bad); !strings.HasPrefix(got, "InvalidRequestException") {
			t.Errorf("%v: %s", bad, got)
		}
	}
	if _, got := find(t, srv, map[string]any{"queryString": "*", "indexName": "AWS_Fleet"}); !strings.HasPrefix(got, "ResourceNotFoundException") {
		t.Errorf("an unknown index: %s", got)
	}
}

func TestEventConfigurations(t *testing.T) {
	run(t, []step{
		{"GET", "/event-configurations", "", 200, `{"eventConfigurations":{"CA_CERTIFICATE":{"Enabled":false},"CERTIFICATE":{"Enabled":false},"JOB":{"Enabled":false}`},
		{"PATCH", "/event-configurations", `{"eventConfigurations":{"THING":{"Enabled":true},"JOB":{"Enabled":false}}}`, 200, "{}"},
		{"GET", "/event-configurations", "", 200, `"THING":{"Enabled":true},"THING_GROUP":{"Enabled":false}`},
		{"PATCH", "/event-configurations", `{"eventConfigurations":{"THING":{"Enabled":false},"JOB":{"Enabled":true}}}`, 501, "cannot turn events of the type JOB on"},
		{"PATCH", "/event-configurations", `{"eventConfigurations":{"THINGS":{"Enabled":false}}}`, 400, "no events of the type THINGS"},
		{"GET", "/event-configurations", "", 200, `"THING":{"Enabled":true}`}, // what is refused changes nothing
		{"PATCH", "/event-configurations", `{"eventConfigurations":{"THING":{"Enabled":false}}}`, 200, "{}"},
		{"GET", "/event-configurations", "", 200, `"THING":{"Enabled":false}`},
	})
}

// TestUnset reads what nobody ever set.
func TestUnset(t *testing.T) {
	run(t, []step{
		{"GET", "/loggingOptions", "", 200, `{"logLevel":"DISABLED"}`},
		{"GET", "/v2LoggingOptions", "", 404, "NotConfiguredException"},
		{"GET", "/authorizers/", "", 200, `{"authorizers":[]}`},
		{"GET", "/default-authorizer", "", 404, "ResourceNotFoundException"},
		{"GET", "/packages", "", 200, `{"packageSummaries":[]}`},
		{"GET", "/domainConfigurations", "", 200, `{"domainConfigurationArn":"` + testARN + `domainconfiguration/iot:Jobs","domainConfigurationName":"iot:Jobs","serviceType":"JOBS"}`},
		{"GET", "/domainConfigurations?serviceType=DATA", "", 200, `{"domainConfigurations":[{"domainConfigurationArn":"` + testARN + `domainconfiguration/iot:Data-ATS","domainConfigurationName":"iot:Data-ATS","serviceType":"DATA"}]}`},
		{"GET", "/domainConfigurations?serviceType=X", "", 400, "serviceType"},
		{"GET", "/domainConfigurations/" + url.PathEscape("iot:Data-ATS"), "", 200, `"domainName":"mote.example","domainType":"AWS_MANAGED"`},
		{"GET", "/domainConfigurations/own", "", 404, "Domain configuration own does not exist"},
		{"POST", "/domainConfigurations/own", "{}", 501, "CreateDomainConfiguration is an operation"},
		{"POST", "/v2LoggingOptions", "{}", 501, "SetV2LoggingOptions is an operation"},
	})
}
