package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/watch"
)

// crowd is a fleet of a test.
type crowd struct {
	mu     sync.Mutex
	things map[string]bool
	groups map[string][]string
}

func (c *crowd) HasThing(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.things[name]
}

func (c *crowd) HasGroup(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.groups[name]
	return ok
}

func (c *crowd) GroupMembers(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.groups[name])
}

func (c *crowd) join(group string, things ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, thing := range things {
		c.things[thing] = true
	}
	c.groups[group] = append(c.groups[group], things...)
}

func (c *crowd) leave(group, thing string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[group] = slices.DeleteFunc(slices.Clone(c.groups[group]), func(s string) bool { return s == thing })
}

func (c *crowd) drop(thing string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.things, thing)
}

// world is an engine whose clock stands still, and what it has told.
type world struct {
	testing.TB
	*Engine
	dir  string
	crew *crowd
	at   time.Time

	mu   sync.Mutex
	told []*message.Message // guarded by mu
}

var start = time.Unix(1_795_000_000, 0)

func newWorld(t testing.TB) *world {
	w := &world{TB: t, dir: t.TempDir(), at: start, crew: &crowd{things: map[string]bool{"a": true, "b": true}, groups: map[string][]string{"g": nil}}}
	w.open()
	return w
}

func arn(resource string) string { return "arn:aws:iot:us-east-1:000000000001:" + resource }

func (w *world) open() {
	st := storetest.Open(w.TB, w.dir)
	w.Engine = New(st, Options{Fleet: w.crew, ARN: arn, Now: func() time.Time { return w.at },
		Documents: func(bucket, key string) ([]byte, error) {
			if bucket == "b" && key == "dir/doc.json" {
				return []byte(`{"from":"bucket"}`), nil
			}
			return nil, fmt.Errorf("there is no %s/%s", bucket, key)
		}})
	w.transact = func(_ context.Context, f func(*store.Batch) []*message.Message) error {
		b := st.NewBatch()
		out := f(b)
		err := st.Commit(b)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil {
			w.told = append(w.told, out...)
		}
		return err
	}
}

// crash closes the store and opens it again.
func (w *world) crash() {
	if err := w.st.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

// after lets time pass and does what is due.
func (w *world) after(d time.Duration) {
	w.Helper()
	w.at = w.at.Add(d)
	if _, err := w.due(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// heard returns what was told since the last call, a line for each message.
func (w *world) heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, m := range w.told {
		out = append(out, strings.TrimPrefix(m.Topic, topicPrefix)+" "+string(m.Payload))
	}
	w.told = nil
	return strings.Join(out, "\n")
}

func (w *world) create(s Spec) {
	w.Helper()
	if s.Document == "" && s.Source == "" && s.Template == "" {
		s.Document = `{"do": "it"}`
	}
	if s.Targets == nil {
		s.Targets = []string{arn("thing/a")}
	}
	if _, err := w.Create(context.Background(), s); err != nil {
		w.Fatal(err)
	}
}

// ask publishes as a device does, and returns the answer with its topic.
func (w *world) ask(topic, payload string) string {
	w.Helper()
	b := w.st.NewBatch()
	if !w.Hold(b, topicPrefix+topic, true) {
		w.Fatal("not held")
	}
	out, _ := w.Apply(b, &message.Message{Topic: topicPrefix + topic, Payload: []byte(payload), ClientID: "dev"})
	if err := w.st.Commit(b); err != nil {
		w.Fatal(err)
	}
	w.told = append(w.told, out[1:]...)
	if out[0].To != "dev" || !strings.HasPrefix(out[0].Topic, topicPrefix+topic+"/") {
		w.Fatalf("answered to %q on %s", out[0].To, out[0].Topic)
	}
	return strings.TrimPrefix(out[0].Topic, topicPrefix+topic+"/") + " " + string(out[0].Payload)
}

func (w *world) want(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// figures says how a job stands.
func (w *world) figures(id string) string {
	w.Helper()
	j, err := w.Job(id)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, s := range statuses {
		if n := j.Things[s]; n != 0 {
			out = append(out, fmt.Sprintf("%s=%d", s, n))
		}
	}
	return strings.Join(append([]string{j.Status}, out...), " ")
}

// TestDevice is the way of two jobs as the samples of the device SDKs go it;
// what is told, and when, is that of AWS (captured outputs in the README of the
// jobs sample of aws-iot-device-sdk-js-v2; AWS IoT developer guide, "Jobs
// notifications").
func TestDevice(t *testing.T) {
	w := newWorld(t)
	w.want("nothing pending", w.ask("a/jobs/get", `{"clientToken":"t<1"}`), `accepted {"clientToken":"t<1","timestamp":1795000000,"inProgressJobs":[],"queuedJobs":[]}`)
	w.want("nothing to start", w.ask("a/jobs/start-next", ``), `accepted {"timestamp":1795000000}`)
	w.want("no next", w.ask("a/jobs/$next/get", `{"clientToken":""}`), `accepted {"clientToken":"","timestamp":1795000000}`)

	w.create(Spec{ID: "Job1", Document: `{"ToDo": "Reboot", "n": 1.50}`})
	w.want("first job", w.heard(), `a/jobs/notify {"timestamp":1795000000,"jobs":{"QUEUED":[{"jobId":"Job1","queuedAt":1795000000,"lastUpdatedAt":1795000000,"executionNumber":1,"versionNumber":1}]}}
a/jobs/notify-next {"timestamp":1795000000,"execution":{"jobId":"Job1","status":"QUEUED","queuedAt":1795000000,"lastUpdatedAt":1795000000,"versionNumber":1,"executionNumber":1,"jobDocument":{"ToDo":"Reboot","n":1.50}}}`)
	w.at = w.at.Add(time.Second)
	w.create(Spec{ID: "Job2"})
	w.want("second job", w.heard(), `a/jobs/notify {"timestamp":1795000001,"jobs":{"QUEUED":[{"jobId":"Job1","queuedAt":1795000000,"lastUpdatedAt":1795000000,"executionNumber":1,"versionNumber":1},{"jobId":"Job2","queuedAt":1795000001,"lastUpdatedAt":1795000001,"executionNumber":1,"versionNumber":1}]}}`)

	w.at = w.at.Add(time.Second)
	w.want("start", w.ask("a/jobs/start-next", `{"statusDetails":{"step":"1"}}`), `accepted {"timestamp":1795000002,"execution":{"jobId":"Job1","thingName":"a","status":"IN_PROGRESS","statusDetails":{"step":"1"},"queuedAt":1795000000,"startedAt":1795000002,"lastUpdatedAt":1795000002,"versionNumber":2,"executionNumber":1,"jobDocument":{"ToDo":"Reboot","n":1.50}}}`)
	w.want("start again", w.ask("a/jobs/start-next", `{"statusDetails":{"step":"other"}}`)[:120], `accepted {"timestamp":1795000002,"execution":{"jobId":"Job1","thingName":"a","status":"IN_PROGRESS","statusDetails":{"st`)
	w.want("nothing told at a start", w.heard(), "")
	w.want("pending", w.ask("a/jobs/get", ``), `accepted {"timestamp":1795000002,"inProgressJobs":[{"jobId":"Job1","queuedAt":1795000000,"lastUpdatedAt":1795000002,"startedAt":1795000002,"executionNumber":1,"versionNumber":2}],"queuedJobs":[{"jobId":"Job2","queuedAt":1795000001,"lastUpdatedAt":1795000001,"executionNumber":1,"versionNumber":1}]}`)

	w.want("progress", w.ask("a/jobs/Job1/update", `{"status":"IN_PROGRESS","statusDetails":{"step":"2"},"expectedVersion":"2","includeJobExecutionState":true,"includeJobDocument":true,"clientToken":"x"}`),
		`accepted {"clientToken":"x","timestamp":1795000002,"executionState":{"status":"IN_PROGRESS","statusDetails":{"step":"2"},"versionNumber":3},"jobDocument":{"ToDo":"Reboot","n":1.50}}`)
	w.want("old version", w.ask("a/jobs/Job1/update", `{"status":"SUCCEEDED","expectedVersion":2}`),
		`rejected {"timestamp":1795000002,"code":"VersionMismatch","message":"The expected version 2 is not that of the execution: found version 3","executionState":{"status":"IN_PROGRESS","statusDetails":{"step":"2"},"versionNumber":3}}`)
	w.want("done", w.ask("a/jobs/Job1/update", `{"status":"SUCCEEDED"}`), `accepted {"timestamp":1795000002}`)
	w.want("told when done", w.heard(), `a/jobs/notify {"timestamp":1795000002,"jobs":{"QUEUED":[{"jobId":"Job2","queuedAt":1795000001,"lastUpdatedAt":1795000001,"executionNumber":1,"versionNumber":1}]}}
a/jobs/notify-next {"timestamp":1795000002,"execution":{"jobId":"Job2","status":"QUEUED","queuedAt":1795000001,"lastUpdatedAt":1795000001,"versionNumber":1,"executionNumber":1,"jobDocument":{"do":"it"}}}`)
	w.want("job 1", w.figures("Job1"), "COMPLETED SUCCEEDED=1")
	w.want("after the end", w.ask("a/jobs/Job1/update", `{"status":"IN_PROGRESS"}`),
		`rejected {"timestamp":1795000002,"code":"InvalidStateTransition","message":"The execution is SUCCEEDED: it cannot become IN_PROGRESS","executionState":{"status":"SUCCEEDED","statusDetails":{"step":"2"},"versionNumber":4}}`)
	w.want("describe after the end", w.ask("a/jobs/Job1/get", ``),
		`rejected {"timestamp":1795000002,"code":"TerminalStateReached","message":"Job Job1 is COMPLETED, and its execution for thing a is SUCCEEDED"}`)
	w.ask("a/jobs/start-next", "")
	w.ask("a/jobs/Job2/update", `{"status":"FAILED"}`)
	w.want("told at last", w.heard(), `a/jobs/notify {"timestamp":1795000002,"jobs":{}}
a/jobs/notify-next {"timestamp":1795000002}`)
}

// TestOutOfTurn: a job that is started before the ones queued earlier becomes
// the next one.
func TestOutOfTurn(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"j1", "j2", "j3"} {
		w.create(Spec{ID: id})
		w.at = w.at.Add(time.Second)
	}
	w.heard()
	w.ask("a/jobs/j3/update", `{"status":"IN_PROGRESS"}`)
	if told := w.heard(); !strings.HasPrefix(told, `a/jobs/notify-next {"timestamp":1795000003,"execution":{"jobId":"j3","status":"IN_PROGRESS"`) || strings.Contains(told, "\n") {
		t.Errorf("told %s", told)
	}
	w.ask("a/jobs/j2/update", `{"status":"REJECTED"}`)
	if told := w.heard(); strings.Contains(told, "notify-next") || !strings.Contains(told, `{"IN_PROGRESS":[{"jobId":"j3",`) {
		t.Errorf("told %s", told)
	}
	if err := w.DeleteExecution(context.Background(), "a", "j3", 1, false); !strings.Contains(err.Error(), "IN_PROGRESS") {
		t.Error(err)
	}
	if err := w.DeleteExecution(context.Background(), "a", "j3", 1, true); err != nil {
		t.Error(err)
	}
	if told := w.heard(); !strings.Contains(told, `notify-next {"timestamp":1795000003,"execution":{"jobId":"j1"`) {
		t.Errorf("told %s", told)
	}
	w.want("j3", w.figures("j3"), "COMPLETED")
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.create(Spec{ID: "j"})
	many := map[string]string{}
	for i := range 11 {
		many[fmt.Sprint("k", i)] = "v"
	}
	eleven, _ := json.Marshal(map[string]any{"status": "FAILED", "statusDetails": many})
	for _, c := range []struct{ topic, payload, code string }{
		{"a/jobs/nothing", "", "InvalidTopic"},
		{"a/jobs/j/nothing", "", "InvalidTopic"},
		{"a/jobs/j/get/more", "", "InvalidTopic"},
		{"a/jobs/$next/update", `{"status":"FAILED"}`, "InvalidTopic"},
		{"a/jobs/j%/get", "", "InvalidTopic"},
		{"a/jobs/get", "{", "InvalidJson"},
		{"a/jobs/get", "[]", "InvalidJson"},
		{"a/jobs/get", "null", "InvalidJson"},
		{"a/jobs/get", "{\"clientToken\":\"\xff\"}", "InvalidJson"},
		{"a/jobs/get", `{"clientToken":1}`, "InvalidRequest"},
		{"a/jobs/get", `{"clientToken":"` + strings.Repeat("x", 40000) + `"}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"stepTimeoutInMinutes":0}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"stepTimeoutInMinutes":10081}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"statusDetails":{"a b":"c"}}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"statusDetails":{"a":7}}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"statusDetails":{"a":""}}`, "InvalidRequest"},
		{"a/jobs/start-next", `{"statusDetails":{"a":"` + strings.Repeat("x", 1025) + `"}}`, "InvalidRequest"},
		{"a/jobs/j/update", string(eleven), "InvalidRequest"},
		{"a/jobs/j/update", ``, "InvalidRequest"},
		{"a/jobs/j/update", `{"status":"CANCELED"}`, "InvalidRequest"},
		{"a/jobs/j/update", `{"status":"FAILED","expectedVersion":"one"}`, "InvalidRequest"},
		{"a/jobs/j/update", `{"status":"FAILED","executionNumber":2}`, "ResourceNotFound"},
		{"a/jobs/j/update", `{"status":"FAILED","executionNumber":-2}`, "InvalidRequest"},
		{"a/jobs/j/update", `{"status":"FAILED","includeJobDocument":"yes"}`, "InvalidRequest"},
		{"a/jobs/other/update", `{"status":"FAILED"}`, "ResourceNotFound"},
		{"b/jobs/j/get", ``, "ResourceNotFound"},
		{"nobody/jobs/get", ``, "ResourceNotFound"},
	} {
		got := w.ask(c.topic, c.payload)
		var r struct{ Code, Message string }
		body, ok := strings.CutPrefix(got, "rejected ")
		if err := json.Unmarshal([]byte(body), &r); !ok || err != nil || r.Code != c.code || r.Message == "" {
			t.Errorf("%s %.60q: %s, want %s", c.topic, c.payload, got, c.code)
		}
	}
	w.want("nothing has changed", w.figures("j"), "IN_PROGRESS QUEUED=1")
	w.heard()
}

func TestTopics(t *testing.T) {
	w := newWorld(t)
	for topic, ok := range map[string]bool{
		"$aws/things/a/jobs/get": true, "$aws/things/a/jobs/start-next": true, "$aws/things/a/jobs/$next/get": true, "$aws/things/a/jobs/j/update": true, "$aws/things/a/jobs/x": true,
		"$aws/things/a/jobs/notify": false, "$aws/things/a/jobs/notify-next": false, "$aws/things/a/jobs/get/accepted": false, "$aws/things/a/jobs/j/update/rejected": false,
		"$aws/things/a b/jobs/get": false, "$aws/things/a/jobs/": false, "$aws/things/a/shadow/get": false,
	} {
		if err := w.CheckTopic(topic, true); (err == nil) != ok {
			t.Errorf("CheckTopic(%q) = %v", topic, err)
		}
	}
	for topic, want := range map[string]string{
		"$aws/things/a/jobs/start-next": "", "$aws/things/a/jobs/j/update": "", "$aws/things/a/jobs/get": "only clients of MQTT", "$aws/things/a/jobs/$next/get": "only clients of MQTT",
		"$aws/things/a/jobs/x": "no operation",
	} {
		if err := w.CheckTopic(topic, false); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("without an answer, CheckTopic(%q) = %v", topic, err)
		}
	}
	for filter, ok := range map[string]bool{
		"$aws/things/a/jobs/#": true, "$aws/things/+/jobs/notify-next": true, "$aws/things/#": true, "$aws/things/a/jobs/$next/get/accepted": true, "$aws/things/a/jobs/+/update/+": true,
		"$aws/things/a/jobs/get/+": true, "$aws/things/a/jobs/start-next/accepted": true, "$aws/things/a/+/get/accepted": true,
		"$aws/things/a/jobs": false, "$aws/things/a/jobs/notify/more": false, "$aws/events/#": false, "$aws/things/a/shadow/get/accepted": false,
	} {
		if err := w.CheckFilter(filter); (err == nil) != ok {
			t.Errorf("CheckFilter(%q) = %v", filter, err)
		}
	}
	if !w.Serves("$aws/things/+/jobs/notify") || w.Serves("$aws/things/a/shadow/jobs/get") || w.Serves("$aws/things/a/shadow/name/jobs/get") {
		t.Error("Serves")
	}
}

// TestTimeOuts: the step timer and the job's timer end an execution, whichever
// comes first, and survive a crash.
func TestTimeOuts(t *testing.T) {
	w := newWorld(t)
	ten := int64(10)
	w.create(Spec{ID: "j", Config: Config{Timeout: &Timeout{&ten}}, Targets: []string{arn("thing/a"), arn("thing/b")}})
	w.after(time.Hour)
	w.want("queued ones have no time", w.figures("j"), "IN_PROGRESS QUEUED=2")
	w.ask("a/jobs/start-next", `{"stepTimeoutInMinutes":2}`)
	w.ask("b/jobs/start-next", `{"stepTimeoutInMinutes":2}`)
	w.after(time.Minute)
	if got := w.ask("a/jobs/j/get", `{"includeJobDocument":false}`); !strings.Contains(got, `"approximateSecondsBeforeTimedOut":60`) || strings.Contains(got, "jobDocument") {
		t.Error(got)
	}
	w.ask("b/jobs/j/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":-1}`)
	w.crash()
	w.heard()
	w.after(time.Minute)
	w.want("step", w.figures("j"), "IN_PROGRESS IN_PROGRESS=1 TIMED_OUT=1")
	if told := w.heard(); !strings.Contains(told, `a/jobs/notify {"timestamp":1795003720,"jobs":{}}`) {
		t.Errorf("told %s", told)
	}
	w.after(7 * time.Minute)
	w.want("not yet", w.figures("j"), "IN_PROGRESS IN_PROGRESS=1 TIMED_OUT=1")
	w.after(time.Minute)
	w.want("job", w.figures("j"), "COMPLETED TIMED_OUT=2")
	if list, _, err := w.timers(); err != nil || len(list) != 0 {
		t.Errorf("timers are left: %v, %v", list, err)
	}
}

func TestRetries(t *testing.T) {
	w := newWorld(t)
	w.create(Spec{ID: "j", Config: Config{Retry: &Retry{[]RetryCriterion{{"FAILED", 2}}}}})
	w.heard()
	for i := range 3 {
		w.want("before", w.figures("j"), "IN_PROGRESS QUEUED=1")
		w.ask("a/jobs/j/update", `{"status":"FAILED"}`)
		if told := w.heard(); i < 2 && !strings.Contains(told, fmt.Sprintf(`notify-next {"timestamp":1795000000,"execution":{"jobId":"j","status":"QUEUED","queuedAt":1795000000,"lastUpdatedAt":1795000000,"versionNumber":1,"executionNumber":%d,`, i+2)) {
			t.Errorf("told %s", told)
		}
	}
	w.want("after", w.figures("j"), "COMPLETED FAILED=1")
	list, _, err := w.ExecutionsOfThing("a", "", 10, "", "")
	if err != nil || len(list) != 3 || list[0].Number != 3 || list[0].Retry != 2 || list[2].Retry != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRollout: things are told of a job at its rate, in order, and after a crash
// it goes on where it was.
func TestRollout(t *testing.T) {
	w := newWorld(t)
	var things []string
	for i := range 250 {
		things = append(things, fmt.Sprintf("t%03d", i))
	}
	w.crew.join("g", things...)
	w.create(Spec{ID: "all", Targets: []string{arn("thinggroup/g"), arn("thing/t000")}})
	w.want("a part of them is told at once", w.figures("all"), "IN_PROGRESS QUEUED=100")
	w.crash()
	w.after(0)
	w.want("all are", w.figures("all"), "IN_PROGRESS QUEUED=250")

	w.create(Spec{ID: "slow", Targets: []string{arn("thinggroup/g")}, Config: Config{Rollout: &Rollout{MaximumPerMinute: 60}}})
	w.want("slow", w.figures("slow"), "IN_PROGRESS QUEUED=60")
	w.after(59 * time.Second)
	w.want("slow, in the same minute", w.figures("slow"), "IN_PROGRESS QUEUED=60")
	w.crash()
	w.after(time.Second)
	w.want("slow, in the next minute", w.figures("slow"), "IN_PROGRESS QUEUED=120")
	if j, _ := w.Job("slow"); !j.Concurrent() {
		t.Error("it is not being rolled out")
	}

	w.create(Spec{ID: "fast", Targets: []string{arn("thinggroup/g")}, Config: Config{Rollout: &Rollout{MaximumPerMinute: 90,
		Exponential: &ExponentialRate{10, 2, IncreaseCriteria{Notified: 10}}}}})
	for _, n := range []int{10, 30, 110, 200, 250} { // 10, then 20, 80, and at most 90
		w.want("fast", w.figures("fast"), fmt.Sprintf("IN_PROGRESS QUEUED=%d", n))
		w.after(time.Minute)
	}
}

func TestAbort(t *testing.T) {
	w := newWorld(t)
	w.crew.join("g", "c1", "c2", "c3", "c4", "c5")
	w.create(Spec{ID: "j", Targets: []string{arn("thinggroup/g")}, Config: Config{Abort: &Abort{[]AbortCriterion{{"FAILED", "CANCEL", 50, 4}}}}})
	w.ask("c1/jobs/j/update", `{"status":"FAILED"}`)
	w.ask("c2/jobs/j/update", `{"status":"FAILED"}`)
	w.ask("c3/jobs/j/update", `{"status":"SUCCEEDED"}`)
	w.ask("c4/jobs/j/update", `{"status":"IN_PROGRESS"}`)
	w.after(0)
	w.want("too few", w.figures("j"), "IN_PROGRESS QUEUED=1 IN_PROGRESS=1 SUCCEEDED=1 FAILED=2")
	w.ask("c4/jobs/j/update", `{"status":"REJECTED"}`)
	w.after(0)
	w.want("aborted", w.figures("j"), "CANCELED SUCCEEDED=1 FAILED=2 REJECTED=1 CANCELED=1")
}

func TestCancelAndDelete(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	both := []string{arn("thing/a"), arn("thing/b")}
	w.create(Spec{ID: "j", Targets: both})
	w.ask("a/jobs/start-next", "")
	if err := w.Delete(ctx, "j", false); err == nil || err.(*Error).Code != InvalidStateTransition {
		t.Error(err)
	}
	if err := w.CancelExecution(ctx, "a", "j", false, 0, nil); err == nil || err.(*Error).Code != InvalidStateTransition {
		t.Error(err)
	}
	if err := w.CancelExecution(ctx, "a", "j", true, 7, nil); err == nil || err.(*Error).Code != VersionMismatch {
		t.Error(err)
	}
	w.heard()
	if _, err := w.Cancel(ctx, "j", false, "WHY", "since"); err != nil {
		t.Error(err)
	}
	w.want("cancelled", w.figures("j"), "CANCELED IN_PROGRESS=1 CANCELED=1")
	w.want("told", w.heard(), `b/jobs/notify {"timestamp":1795000000,"jobs":{}}
b/jobs/notify-next {"timestamp":1795000000}`)
	w.ask("a/jobs/j/update", `{"status":"SUCCEEDED"}`)
	w.want("the one in progress may end", w.figures("j"), "CANCELED SUCCEEDED=1 CANCELED=1")
	if _, err := w.Cancel(ctx, "j", false, "", ""); err == nil || err.(*Error).Code != InvalidRequest {
		t.Error(err)
	}
	w.create(Spec{ID: "k", Targets: both})
	w.ask("a/jobs/start-next", "")
	if _, err := w.Cancel(ctx, "k", true, "", ""); err != nil {
		t.Error(err)
	}
	w.want("cancelled with force", w.figures("k"), "CANCELED CANCELED=2")
	w.create(Spec{ID: "l", Targets: both})
	w.ask("a/jobs/start-next", "")
	for _, id := range []string{"j", "k", "l"} {
		if err := w.Delete(ctx, id, true); err != nil {
			t.Error(err)
		}
		w.want("deleted", w.figures(id), "Job "+id+" does not exist")
	}
	it, err := w.st.Iterator([]byte{byte(store.SpaceJobs)}, []byte{byte(store.SpaceJobs) + 1})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		t.Errorf("%q is left", it.Key())
	}
	_ = it.Close()
}

// TestManyAreSwept: what is done to all executions of a job goes on after a
// crash.
func TestManyAreSwept(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for i := range 250 {
		w.crew.join("g", fmt.Sprintf("t%03d", i))
	}
	w.create(Spec{ID: "j", Targets: []string{arn("thinggroup/g")}})
	w.after(0)
	if _, err := w.Cancel(ctx, "j", false, "", ""); err != nil {
		t.Fatal(err)
	}
	w.want("at once", w.figures("j"), "CANCELED QUEUED=150 CANCELED=100")
	w.crash()
	w.after(0)
	w.want("then", w.figures("j"), "CANCELED CANCELED=250")
	if err := w.Delete(ctx, "j", false); err != nil {
		t.Fatal(err)
	}
	w.want("deleting", w.figures("j"), "DELETION_IN_PROGRESS CANCELED=150")
	w.crash()
	w.after(0)
	w.want("deleted", w.figures("j"), "Job j does not exist")
}

func TestContinuous(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	look := func() {
		t.Helper()
		if err := w.lookAtFleet(ctx); err != nil {
			t.Fatal(err)
		}
		w.after(0)
	}
	w.crew.join("g", "c1")
	w.create(Spec{ID: "j", Targets: []string{arn("thinggroup/g")}, Continuous: true})
	w.ask("c1/jobs/j/update", `{"status":"SUCCEEDED"}`)
	w.want("it goes on", w.figures("j"), "IN_PROGRESS SUCCEEDED=1")
	w.crew.join("g", "c2", "c3")
	look()
	w.want("newcomers", w.figures("j"), "IN_PROGRESS QUEUED=2 SUCCEEDED=1")
	look()
	w.want("once", w.figures("j"), "IN_PROGRESS QUEUED=2 SUCCEEDED=1")
	w.crew.leave("g", "c2")
	w.crew.drop("c3")
	look()
	w.want("gone", w.figures("j"), "IN_PROGRESS SUCCEEDED=1 REMOVED=2")
	w.crew.join("g", "c2")
	look()
	w.want("back", w.figures("j"), "IN_PROGRESS QUEUED=1 SUCCEEDED=1 REMOVED=1")
	w.crew.join("h", "c9")
	if _, err := w.Associate(ctx, "j", []string{arn("thinggroup/h")}, ""); err != nil {
		t.Error(err)
	}
	look()
	w.want("another group", w.figures("j"), "IN_PROGRESS QUEUED=2 SUCCEEDED=1 REMOVED=1")
	w.create(Spec{ID: "s"})
	w.crew.drop("a")
	look()
	w.want("a job of a thing that is gone", w.figures("s"), "COMPLETED REMOVED=1")
}

func TestSchedule(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) string { return start.Add(d).UTC().Format("2006-01-02T15:04") }
	w.create(Spec{ID: "j", Schedule: &Schedule{Start: at(time.Hour), End: at(3 * time.Hour), EndBehavior: "FORCE_CANCEL"}})
	w.create(Spec{ID: "s", Schedule: &Schedule{Start: at(time.Hour), End: at(3 * time.Hour)}, Continuous: true})
	w.want("before", w.figures("j"), "SCHEDULED")
	w.crash()
	w.after(time.Hour)
	w.want("begun", w.figures("j"), "IN_PROGRESS QUEUED=1")
	w.ask("a/jobs/j/update", `{"status":"IN_PROGRESS"}`)
	w.after(2 * time.Hour)
	w.want("ended", w.figures("j"), "CANCELED CANCELED=1")
	w.want("stopped", w.figures("s"), "IN_PROGRESS QUEUED=1")
	w.ask("a/jobs/s/update", `{"status":"SUCCEEDED"}`)
	w.want("stopped and done", w.figures("s"), "COMPLETED SUCCEEDED=1")
}

func TestBadJobs(t *testing.T) {
	w := newWorld(t)
	w.create(Spec{ID: "there"})
	minutes := int64(0)
	for name, c := range map[string]struct {
		Spec
		code Code
	}{
		"id":           {Spec{ID: "a b"}, InvalidRequest},
		"exists":       {Spec{ID: "there"}, Exists},
		"thing":        {Spec{ID: "x", Targets: []string{arn("thing/none")}}, ResourceNotFound},
		"group":        {Spec{ID: "x", Targets: []string{arn("thinggroup/none")}}, ResourceNotFound},
		"arn":          {Spec{ID: "x", Targets: []string{"arn:aws:iot:eu-west-1:1:thing/a"}}, InvalidRequest},
		"both":         {Spec{ID: "x", Document: "{}", Source: "s3://b/k"}, InvalidRequest},
		"json":         {Spec{ID: "x", Document: "{"}, InvalidRequest},
		"long":         {Spec{ID: "x", Document: `"` + strings.Repeat("x", maxDocument) + `"`}, InvalidRequest},
		"placeholder":  {Spec{ID: "x", Document: `{"u":"${aws:iot:s3-presigned-url:https://b/k}"}`}, InvalidRequest},
		"source":       {Spec{ID: "x", Source: "https://example.com/b/k"}, InvalidRequest},
		"no object":    {Spec{ID: "x", Source: "s3://b/none"}, InvalidRequest},
		"time-out":     {Spec{ID: "x", Config: Config{Timeout: &Timeout{&minutes}}}, InvalidRequest},
		"rate":         {Spec{ID: "x", Config: Config{Rollout: &Rollout{MaximumPerMinute: 1001}}}, InvalidRequest},
		"factor":       {Spec{ID: "x", Config: Config{Rollout: &Rollout{Exponential: &ExponentialRate{1, 1, IncreaseCriteria{Notified: 1}}}}}, InvalidRequest},
		"two criteria": {Spec{ID: "x", Config: Config{Rollout: &Rollout{Exponential: &ExponentialRate{1, 2, IncreaseCriteria{1, 1}}}}}, InvalidRequest},
		"abort":        {Spec{ID: "x", Config: Config{Abort: &Abort{[]AbortCriterion{{"FAILED", "CANCEL", 101, 1}}}}}, InvalidRequest},
		"retry":        {Spec{ID: "x", Config: Config{Retry: &Retry{[]RetryCriterion{{"FAILED", 11}}}}}, InvalidRequest},
		"retry twice":  {Spec{ID: "x", Config: Config{Retry: &Retry{[]RetryCriterion{{"FAILED", 1}, {"ALL", 1}}}}}, InvalidRequest},
		"soon":         {Spec{ID: "x", Schedule: &Schedule{Start: start.Add(time.Minute).UTC().Format(timeForms[0])}}, InvalidRequest},
		"window":       {Spec{ID: "x", Schedule: &Schedule{Windows: []MaintenanceWindow{{}}}}, InvalidRequest},
		"when":         {Spec{ID: "x", Schedule: &Schedule{End: "tomorrow"}}, InvalidRequest},
		"end of none":  {Spec{ID: "x", Schedule: &Schedule{EndBehavior: "CANCEL"}}, InvalidRequest},
		"template":     {Spec{ID: "x", Template: arn("jobtemplate/none")}, ResourceNotFound},
		"description":  {Spec{ID: "x", Description: "a\nb"}, InvalidRequest},
	} {
		if c.Targets == nil {
			c.Targets = []string{arn("thing/a")}
		}
		if c.Document == "" && c.Source == "" {
			c.Document = "{}"
		}
		_, err := w.Create(context.Background(), c.Spec)
		if e, ok := err.(*Error); !ok || e.Code != c.code || e.Message == "" {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	w.create(Spec{ID: "bucket", Source: "https://s3.amazonaws.com/b/dir/doc.json"})
	if doc, err := w.Document("bucket"); err != nil || doc != `{"from":"bucket"}` {
		t.Errorf("%q, %v", doc, err)
	}
}

func TestSources(t *testing.T) {
	for source, want := range map[string]string{
		"s3://b/dir/doc.json": "b dir/doc.json", "https://s3.amazonaws.com/b/k": "b k", "https://s3-eu-west-1.amazonaws.com/b/k": "b k",
		"https://s3.eu-west-1.amazonaws.com/b/k": "b k", "https://my.b.s3.eu-west-1.amazonaws.com/d/k": "my.b d/k", "https://b.s3.amazonaws.com/k": "b k",
		"http://s3.amazonaws.com/b/k": "", "https://example.com/b/k": "", "s3://b": "", "s3://b/k?v=1": "", "b/k": "",
	} {
		bucket, object, ok := parseSource(source)
		if got := bucket + " " + object; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q %q %v", source, bucket, object, ok)
		}
	}
}

func TestTemplates(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	five := int64(5)
	if err := w.CreateTemplate(ctx, Template{ID: "t", Description: "one", Document: `{"t":1}`, Config: Config{Timeout: &Timeout{&five}}}, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.CreateTemplate(ctx, Template{ID: "t", Description: "one", Document: `{}`}, ""); err == nil || err.(*Error).Code != Conflict {
		t.Error(err)
	}
	w.create(Spec{ID: "j", Template: arn("jobtemplate/t")})
	j, err := w.Job("j")
	if doc, _ := w.Document("j"); err != nil || doc != `{"t":1}` || j.Timeout.minutes() != 5 || j.Description != "one" {
		t.Errorf("%+v, %q, %v", j, doc, err)
	}
	if err := w.CreateTemplate(ctx, Template{ID: "u", Description: "of a job"}, arn("job/j")); err != nil {
		t.Fatal(err)
	}
	if list, next, err := w.Templates("", 1); err != nil || len(list) != 1 || next != "t" || list[0].ID != "t" {
		t.Errorf("%v %q %v", list, next, err)
	}
	if u, err := w.Template("u"); err != nil || u.Document != `{"t":1}` || u.Timeout.minutes() != 5 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := w.DeleteTemplate(ctx, "t"); err != nil {
		t.Error(err)
	}
	if err := w.DeleteTemplate(ctx, "t"); err == nil || err.(*Error).Code != ResourceNotFound {
		t.Error(err)
	}
}

// TestOthersWait: two batches never change jobs at once, and a batch that was
// given up leaves nothing.
func TestOthersWait(t *testing.T) {
	w := newWorld(t)
	w.create(Spec{ID: "j"})
	topic := topicPrefix + "a/jobs/j/update"
	b, c := w.st.NewBatch(), w.st.NewBatch()
	if !w.Hold(b, topic, false) || w.Hold(c, topic, false) || !w.Hold(b, topic, false) || !w.Hold(c, topicPrefix+"a/jobs/notify", false) {
		t.Fatal("held wrongly")
	}
	if out, err := w.Apply(b, &message.Message{Topic: topic, Payload: []byte(`{"status":"FAILED"}`)}); len(out) != 2 || err != nil {
		t.Errorf("without a client there are the notifications alone: %v, %v", out, err)
	}
	if out, err := w.Apply(b, &message.Message{Topic: topic, Payload: []byte(`{`)}); out != nil || err == nil || err.(*Error).Code != InvalidJSON {
		t.Errorf("without a client the refusal is an error: %v, %v", out, err)
	}
	held := make(chan bool)
	go func() { held <- w.Hold(c, topic, true) }()
	b.Discard()
	if !<-held {
		t.Fatal("not held after the other")
	}
	c.Discard()
	w.want("given up", w.figures("j"), "IN_PROGRESS QUEUED=1")
}

// TestKeeper: what time has to do is done by itself.
func TestKeeper(t *testing.T) {
	w := newWorld(t)
	w.now = time.Now
	w.Start(w.transact)
	defer w.Close()
	w.crew.join("g")
	w.create(Spec{ID: "j", Targets: []string{arn("thinggroup/g")}, Continuous: true})
	w.crew.join("g", "c1")
	w.FleetChanged()
	watch.Until(t, "the newcomer is told", func() bool { return w.figures("j") == "IN_PROGRESS QUEUED=1" })
}
