package jobs

import (
	"encoding/json"
	"testing"

	"mote/internal/cloud/message"
)

// FuzzRequest: whatever a device sends on a topic of jobs is answered with one
// JSON object, for it alone.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][2]string{
		{"get", `{"clientToken":"a"}`}, {"start-next", `{"statusDetails":{"a":"b"},"stepTimeoutInMinutes":5}`}, {"$next/get", ``},
		{"j/get", `{"includeJobDocument":false,"executionNumber":1}`}, {"j/update", `{"status":"SUCCEEDED","expectedVersion":1,"includeJobExecutionState":true}`},
		{"j/update", `{"status":"IN_PROGRESS","statusDetails":{"` + "\u2028" + `":"x"}}`}, {"x/y/z", `{`}, {"j/update", `{"status":null,"clientToken":null}`},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	w := newWorld(f)
	w.create(Spec{ID: "j"})
	f.Fuzz(func(t *testing.T, rest string, payload []byte) {
		topic := topicPrefix + "a/jobs/" + rest
		if w.CheckTopic(topic, true) != nil {
			return
		}
		b := w.st.NewBatch()
		w.Hold(b, topic, true)
		out, _ := w.Apply(b, &message.Message{Topic: topic, Payload: payload, ClientID: "dev"})
		b.Discard()
		if len(out) == 0 || out[0].To != "dev" {
			t.Fatalf("no answer on %q", topic)
		}
		var answer map[string]json.RawMessage
		if err := json.Unmarshal(out[0].Payload, &answer); err != nil || answer["timestamp"] == nil {
			t.Fatalf("%q is answered with %s", topic, out[0].Payload)
		}
	})
}
