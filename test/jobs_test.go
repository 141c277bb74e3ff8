package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// ask publishes a request of jobs and returns the answer with its topic's end.
// The client has not subscribed to that topic when it subscribes elsewhere.
func (h *host) ask(d device, thing, rest, payload, subscribed string) (end string, answer map[string]any) {
	h.t.Helper()
	topic := "$aws/things/" + thing + "/jobs/" + rest
	out := h.mustRun(tool(h.t, "mosquitto_rr"), h.mosquitto(d, "-i", thing, "-q", "1", "-W", "50", "-F", "%t %p", "-t", topic, "-e", subscribed, "-m", payload)...)
	got, body, _ := strings.Cut(strings.TrimSpace(out), " ")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || !strings.HasPrefix(got, topic+"/") {
		h.t.Fatalf("%s is answered with %q", topic, out)
	}
	return strings.TrimPrefix(got, topic+"/"), answer
}

// TestJobsOverMQTT is the loop of a device that does its jobs one by one: it is
// told of the next one, starts it and reports on it. What was accepted survives
// a kill right after it.
func TestJobsOverMQTT(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	cli := awsCLIs(t)[0]
	d := h.makeDevice(cli, "lamp", allowAll)
	iot := func(args ...string) string {
		t.Helper()
		return strings.Join(strings.Fields(h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json", "iot"}, args...)...)), "")
	}
	const p = "$aws/things/lamp/jobs/"
	watcher := h.subscribe(d, "watcher", p+"#")
	target := strings.TrimSpace(h.mustRun(cli, "--endpoint-url", h.ep.HTTP, "--output", "text", "iot", "describe-thing", "--thing-name", "lamp", "--query", "thingArn"))
	for _, id := range []string{"one", "two"} {
		iot("create-job", "--job-id", id, "--targets", target, "--document", `{"do":"`+id+`"}`)
	}
	watcher.next(p + "notify")
	if m := watcher.next(p + "notify-next"); fmt.Sprint(m["execution"].(map[string]any)["jobDocument"]) != "map[do:one]" {
		t.Errorf("notify-next %v", m)
	}
	watcher.next(p + "notify") // of the second one

	for _, id := range []string{"one", "two"} {
		end, m := h.ask(d, "lamp", "start-next", `{"statusDetails":{"at":"begin"},"clientToken":"t"}`, p+"start-next/accepted")
		x, _ := m["execution"].(map[string]any)
		if end != "accepted" || m["clientToken"] != "t" || x["jobId"] != id || x["status"] != "IN_PROGRESS" {
			t.Fatalf("start-next: %s %v", end, m)
		}
		watcher.next(p + "start-next") // the request; the answer is the asker's alone
		if end, m = h.ask(d, "lamp", id+"/update", `{"status":"SUCCEEDED","expectedVersion":2,"includeJobExecutionState":true}`, p+id+"/update/accepted"); end != "accepted" {
			t.Fatalf("update: %s %v", end, m)
		}
		watcher.next(p + id + "/update")
		watcher.next(p + "notify")
		m = watcher.next(p + "notify-next")
		if next, _ := m["execution"].(map[string]any); id == "one" && next["jobId"] != "two" || id == "two" && next != nil {
			t.Errorf("notify-next after %s: %v", id, m)
		}
	}
	h.kill()
	h = startHost(t, h.data, "cloud")
	if got := iot("describe-job", "--job-id", "two"); !strings.Contains(got, `"status":"COMPLETED"`) || !strings.Contains(got, `"numberOfSucceededThings":1`) {
		t.Errorf("after the kill: %s", got)
	}
	// An answer comes without a subscription to its topic.
	if end, m := h.ask(d, "lamp", "$next/get", "", "elsewhere"); end != "accepted" || m["execution"] != nil {
		t.Errorf("%s %v", end, m)
	}
	if end, m := h.ask(d, "lamp", "one/update", `{"status":"FAILED"}`, "elsewhere"); end != "rejected" || m["code"] != "InvalidStateTransition" || m["executionState"] == nil {
		t.Errorf("%s %v", end, m)
	}
}

// TestJobsOverHTTP goes through the jobs data plane with both AWS command lines,
// boto3, and a device certificate.
func TestJobsOverHTTP(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	clis := awsCLIs(t)
	d := h.makeDevice(clis[0], "lamp", allowAll)
	for i, cli := range clis {
		data := func(args ...string) string {
			t.Helper()
			return strings.Join(strings.Fields(h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json"}, args...)...)), "")
		}
		id := fmt.Sprint("job", i)
		data("iot", "create-job", "--job-id", id, "--targets", "arn:aws:iot:us-east-1:000000000001:thing/lamp", "--document", `{"do":"it"}`)
		for _, step := range []struct{ op, want string }{
			{"get-pending-job-executions", `"queuedJobs":[{"jobId":"` + id + `"`},
			{"start-next-pending-job-execution", `"jobDocument":"{\"do\":\"it\"}"`},
			{"describe-job-execution --job-id $next", `"status":"IN_PROGRESS"`},
			{"update-job-execution --job-id " + id + " --status SUCCEEDED --include-job-execution-state", `"executionState":{"status":"SUCCEEDED"`},
		} {
			args := strings.Fields(step.op)
			if got := data(append(append([]string{"iot-jobs-data"}, args...), "--thing-name", "lamp")...); !strings.Contains(got, step.want) {
				t.Errorf("%s: %s", step.op, got)
			}
		}
	}
	t.Logf("boto3 %s", h.mustRun("/usr/bin/python3", "-c", jobsScript, h.ep.HTTP))
	got := h.mustRun(tool(t, "curl"), "-s", "--cacert", h.ep.CA, "--cert", d.cert, "--key", d.key, h.ep.HTTPS+"/things/lamp/jobs")
	if !strings.Contains(got, `"queuedJobs":[]`) {
		t.Errorf("with a certificate: %s", got)
	}
}

const jobsScript = `
import boto3, sys
iot = boto3.client("iot", endpoint_url=sys.argv[1])
c = boto3.client("iot-jobs-data", endpoint_url=sys.argv[1])
def refused(client, code, http, f, **kw):
    try:
        f(**kw)
    except client.exceptions.ClientError as e:
        got = (e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, http), e.response
    else:
        assert False, "not refused"
refused(c, "ResourceNotFoundException", 404, c.get_pending_job_executions, thingName="py")
thing = iot.create_thing(thingName="py")
job = iot.create_job(jobId="a", targets=[thing["thingArn"]], document='{"n": 1.0}', targetSelection="SNAPSHOT", timeoutConfig={"inProgressTimeoutInMinutes": 9})
assert job["jobArn"].endswith(":job/a"), job
assert c.get_pending_job_executions(thingName="py")["queuedJobs"][0]["jobId"] == "a"
x = c.start_next_pending_job_execution(thingName="py", statusDetails={"s": "1"}, stepTimeoutInMinutes=3)["execution"]
assert x["jobDocument"] == '{"n": 1.0}' and x["status"] == "IN_PROGRESS" and x["versionNumber"] == 2 and 170 < x["approximateSecondsBeforeTimedOut"] <= 180, x
refused(c, "InvalidStateTransitionException", 409, c.update_job_execution, thingName="py", jobId="a", status="FAILED", expectedVersion=1)
refused(c, "InvalidStateTransitionException", 409, c.update_job_execution, thingName="py", jobId="a", status="QUEUED")
u = c.update_job_execution(thingName="py", jobId="a", status="FAILED", includeJobExecutionState=True, includeJobDocument=True)
assert u["executionState"] == {"status": "FAILED", "statusDetails": {"s": "1"}, "versionNumber": 3} and u["jobDocument"], u
refused(c, "InvalidStateTransitionException", 409, c.update_job_execution, thingName="py", jobId="a", status="SUCCEEDED")
refused(c, "TerminalStateException", 410, c.describe_job_execution, thingName="py", jobId="a")
assert "execution" not in c.start_next_pending_job_execution(thingName="py")
j = iot.describe_job(jobId="a")["job"]
assert j["status"] == "COMPLETED" and j["jobProcessDetails"]["numberOfFailedThings"] == 1 and j["completedAt"] >= j["createdAt"], j
print(boto3.__version__)
`
