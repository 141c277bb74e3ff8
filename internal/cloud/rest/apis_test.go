package rest

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/store/storetest"
)

// TestDeploymentIsFrozen: changes are served only once they are deployed.
func TestDeploymentIsFrozen(t *testing.T) {
	w := newWorld(t)
	all := must[[]Resource](t)(w.e.Resources(w.api.ID))
	for _, r := range all {
		if r.Path == "/open" {
			ok(t, w.e.DeleteResource(w.api.ID, r.ID))
		}
	}
	if a := w.post(t, "/prod/open", "{}"); a.status != 200 {
		t.Errorf("before the deployment: %+v", a)
	}
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	if a := w.post(t, "/prod/open", "{}"); a.status != 403 {
		t.Errorf("after it: %+v", a)
	}
	old := must[[]Deployment](t)(w.e.Deployments(w.api.ID))[1]
	must[Stage](t)(w.e.MoveStage(w.api.ID, "prod", old.ID))
	if a := w.post(t, "/prod/open", "{}"); a.status != 200 {
		t.Errorf("moved back: %+v", a)
	}
	for range maxDeployments + 3 {
		must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{}, ""))
	}
	if n := len(must[[]Deployment](t)(w.e.Deployments(w.api.ID))); n != maxDeployments+1 {
		t.Errorf("%d deployments are kept", n)
	}
}

func TestThrottle(t *testing.T) {
	w := newWorld(t)
	slow := must[Plan](t)(w.e.CreatePlan(Plan{Name: "slow", Stages: []PlanStage{{w.api.ID, "prod"}}, Throttle: &Throttle{BurstLimit: 2, RateLimit: 1}}))
	k := must[Key](t)(w.e.CreateKey(Key{Enabled: true}))
	if len(k.Value) != 40 {
		t.Errorf("made key of %d characters", len(k.Value))
	}
	must[Key](t)(w.e.AddPlanKey(slow.ID, k.ID))
	for i, want := range []int{200, 200, 429, 200, 429} {
		if i == 3 {
			w.now = w.now.Add(time.Second)
		}
		a := w.post(t, "/prod/dust", "{}", "x-api-key", k.Value)
		if a.status != want || want == 429 && (a.body != `{"message":"Too Many Requests"}` || a.errorType != "TooManyRequestsException" || a.header.Get("Retry-After") == "") {
			t.Errorf("request %d: %+v", i, a)
		}
	}
}

// TestReopen: everything is there after a restart.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	st := storetest.Open(t, dir)
	w := &world{backend: &backend{}, now: time.Now()}
	w.e = open(t, st, w.backend, nil, nil)
	w.api = must[API](t)(w.e.CreateAPI(API{Name: "a", Tags: map[string]string{"x": "y"}}))
	gone := must[API](t)(w.e.CreateAPI(API{Name: "gone"}))
	w.route(t, w.api.ID, "/dust/{x}", Method{HTTPMethod: "POST", APIKeyRequired: true}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, "first"))
	k := must[Key](t)(w.e.CreateKey(Key{Enabled: true, Name: "k"}))
	p := must[Plan](t)(w.e.CreatePlan(Plan{Name: "p", Stages: []PlanStage{{w.api.ID, "prod"}}}))
	must[Key](t)(w.e.AddPlanKey(p.ID, k.ID))
	ok(t, w.e.DeleteAPI(gone.ID))
	before := fmt.Sprint(w.e.APIs(), must[[]Resource](t)(w.e.Resources(w.api.ID))[1].Path, w.e.Keys(), w.e.Plans(""), must[[]Stage](t)(w.e.Stages(w.api.ID, "")))
	ok(t, st.Close())
	st = storetest.Open(t, dir)
	defer st.Close()
	w.e = open(t, st, w.backend, nil, nil)
	after := fmt.Sprint(w.e.APIs(), must[[]Resource](t)(w.e.Resources(w.api.ID))[1].Path, w.e.Keys(), w.e.Plans(""), must[[]Stage](t)(w.e.Stages(w.api.ID, "")))
	if before != after {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	r := httptest.NewRequest("POST", "/prod/dust/1", strings.NewReader("{}"))
	r.Header.Set("x-api-key", k.Value)
	rec := httptest.NewRecorder()
	if w.e.ServeHTTP(rec, r); rec.Code != 200 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestRefusedChanges(t *testing.T) {
	w := newWorld(t)
	root := w.api.RootResourceID
	proxy := must[Resource](t)(w.e.CreateResource(w.api.ID, root, "{proxy+}"))
	must[Resource](t)(w.e.CreateResource(w.api.ID, root, "{id}"))
	empty := must[API](t)(w.e.CreateAPI(API{Name: "empty"}))
	half := must[API](t)(w.e.CreateAPI(API{Name: "half"}))
	must[Method](t)(w.e.PutMethod(half.ID, half.RootResourceID, Method{HTTPMethod: "GET", AuthorizationType: AuthNone}))
	err2 := func(_ any, err error) error { return err }
	for _, c := range []struct {
		err        error
		code, text string
	}{
		{err2(w.e.CreateAPI(API{})), CodeBadRequest, "name"},
		{err2(w.e.API("nothere")), CodeNotFound, "Invalid API identifier specified nothere"},
		{w.e.DeleteAPI("nothere"), CodeNotFound, "Invalid API identifier"},
		{err2(w.e.CreateResource(w.api.ID, root, "a b")), CodeBadRequest, "path part"},
		{err2(w.e.CreateResource(w.api.ID, root, "dust")), CodeConflict, "already has this name"},
		{err2(w.e.CreateResource(w.api.ID, root, "{other}")), CodeBadRequest, "already has a variable path part"},
		{err2(w.e.CreateResource(w.api.ID, proxy.ID, "x")), CodeBadRequest, "greedy"},
		{w.e.DeleteResource(w.api.ID, root), CodeBadRequest, "root"},
		{err2(w.e.PutMethod(w.api.ID, root, Method{HTTPMethod: "BREW", AuthorizationType: AuthNone})), CodeBadRequest, "HttpMethod"},
		{err2(w.e.PutMethod(w.api.ID, root, Method{HTTPMethod: "GET", AuthorizationType: "CUSTOM"})), CodeBadRequest, "CUSTOM"},
		{err2(w.e.Method(w.api.ID, root, "GET")), CodeNotFound, "Invalid Method"},
		{w.e.PutMethodResponse(w.api.ID, root, "GET", MethodResponse{StatusCode: "x"}), CodeBadRequest, "status code"},
		{err2(w.e.Deploy(empty.ID, Stage{}, "")), CodeBadRequest, "doesn't contain any methods"},
		{err2(w.e.Deploy(half.ID, Stage{}, "")), CodeBadRequest, "No integration defined for method"},
		{err2(w.e.Deploy(w.api.ID, Stage{Name: "a b"}, "")), CodeBadRequest, "Stage name"},
		{err2(w.e.CreateStage(w.api.ID, Stage{Name: "x", DeploymentID: "nothere"})), CodeNotFound, "Deployment"},
		{err2(w.e.CreateKey(Key{Value: "short"})), CodeBadRequest, "at least 20 characters"},
		{err2(w.e.CreateKey(Key{Value: keyValue})), CodeConflict, "already exists"},
		{err2(w.e.CreatePlan(Plan{Name: "x", Stages: []PlanStage{{w.api.ID, "nothere"}}})), CodeNotFound, "API Stage not found"},
		{err2(w.e.AddPlanKey(w.plan.ID, w.key.ID)), CodeConflict, "already has the key"},
		{err2(w.e.AddPlanKey(w.plan.ID, "nothere")), CodeNotFound, "API Key"},
		{w.e.DeletePlan(w.plan.ID), CodeBadRequest, "still has API stages"},
		{w.e.DeletePlan("nothere"), CodeNotFound, "Usage Plan"},
	} {
		var e *Error
		if !errors.As(c.err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.text) {
			t.Errorf("got %v, want %s …%s…", c.err, c.code, c.text)
		}
	}
}

// TestDeletionsLeaveNothingBehind: keys and stages vanish from the plans.
func TestDeletionsLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	ok(t, w.e.DeleteKey(w.key.ID))
	if keys := must[[]Key](t)(w.e.PlanKeys(w.plan.ID)); len(keys) != 0 {
		t.Errorf("keys %v", keys)
	}
	if a := w.post(t, "/prod/dust", "{}", "x-api-key", keyValue); a.status != 403 {
		t.Errorf("a deleted key works: %+v", a)
	}
	ok(t, w.e.DeleteStage(w.api.ID, "prod"))
	if p := must[Plan](t)(w.e.Plan(w.plan.ID)); len(p.Stages) != 0 || w.e.HasStage("prod") {
		t.Errorf("stages %v", p.Stages)
	}
	ok(t, w.e.DeletePlan(w.plan.ID))
}
