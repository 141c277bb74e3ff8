package shadow

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// A model of what updates do, in maps: slow, without order, and simple.

func modelMerge(old, change map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range old {
		out[k] = v
	}
	for k, v := range change {
		sub, isObject := v.(map[string]any)
		if isObject {
			below, _ := out[k].(map[string]any)
			sub = modelMerge(below, sub)
		}
		if v == nil || isObject && len(sub) == 0 {
			delete(out, k)
		} else if isObject {
			out[k] = sub
		} else {
			out[k] = v
		}
	}
	return out
}

func modelDelta(desired, reported map[string]any) map[string]any {
	out := map[string]any{}
	for k, want := range desired {
		have, there := reported[k]
		a, aObject := want.(map[string]any)
		b, bObject := have.(map[string]any)
		switch {
		case !there:
			out[k] = want
		case aObject && bObject:
			if d := modelDelta(a, b); len(d) > 0 {
				out[k] = d
			}
		case !reflect.DeepEqual(want, have):
			out[k] = want
		}
	}
	return out
}

// modelTimes is what the metadata of a state must look like.
func modelTimes(state any, at map[string]float64, path string) any {
	switch v := state.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = modelTimes(x, at, path+"/"+k)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			out = append(out, modelTimes(x, at, path))
		}
		return out
	}
	return map[string]any{"timestamp": at[path]}
}

// touch notes which leaves a change sets.
func touch(change any, at map[string]float64, path string, now float64) {
	if m, ok := change.(map[string]any); ok {
		for k, v := range m {
			touch(v, at, path+"/"+k, now)
		}
		return
	}
	at[path] = now
}

func randomValue(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n < 3 && depth < 4:
		m := map[string]any{}
		for range r.IntN(4) {
			m[string(rune('a'+r.IntN(5)))] = randomValue(r, depth+1)
		}
		return m
	case n == 3:
		return nil
	case n == 4:
		return []any{float64(r.IntN(2)), "x"}[:r.IntN(3)]
	case n == 5:
		return r.IntN(2) == 0
	case n == 6:
		return string(rune('p' + r.IntN(2)))
	}
	return float64(r.IntN(3))
}

func randomSection(r *rand.Rand) any {
	if r.IntN(12) == 0 {
		return nil
	}
	m := map[string]any{}
	for range r.IntN(4) {
		m[string(rune('a'+r.IntN(5)))] = randomValue(r, 1)
	}
	return m
}

// TestModel compares random updates with the model: state, delta, metadata and
// version of every get, and what the messages say.
func TestModel(t *testing.T) {
	b := newBench(t)
	n := Name{Thing: "t"}
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		state, at := map[string]any{}, map[string]float64{}
		b.publish(n, "delete", "")
		first := float64(0)
		for step := range 60 {
			b.at = b.at.Add(time.Second)
			change := map[string]any{}
			for _, section := range []string{"desired", "reported"} {
				if r.IntN(3) > 0 {
					change[section] = randomSection(r)
				}
			}
			payload, err := json.Marshal(map[string]any{"state": change})
			if err != nil {
				t.Fatal(err)
			}
			state = modelMerge(state, change)
			touch(change, at, "", float64(b.at.Unix()))
			out := b.publish(n, "update", string(payload))
			doc, ok := b.Document("t", "")
			if !ok {
				t.Fatalf("no document after %s", payload)
			}
			var got struct {
				State, Metadata map[string]any
				Version         float64
			}
			if err := json.Unmarshal(doc, &got); err != nil {
				t.Fatalf("%v in %s", err, doc)
			}
			if first == 0 {
				first = got.Version
			}
			desired, _ := state["desired"].(map[string]any)
			reported, _ := state["reported"].(map[string]any)
			want := map[string]any{}
			for k, v := range state {
				want[k] = v
			}
			delta := modelDelta(desired, reported)
			if len(delta) > 0 {
				want["delta"] = delta
			}
			if !reflect.DeepEqual(got.State, want) || got.Version != first+float64(step) {
				t.Fatalf("seed %d step %d: %s\n got %v version %v\nwant %v version %v", seed, step, payload, got.State, got.Version, want, first+float64(step))
			}
			if want := modelTimes(state, at, ""); !reflect.DeepEqual(any(got.Metadata), want) {
				t.Fatalf("seed %d step %d: %s\nmetadata %v\nwant %v", seed, step, payload, got.Metadata, want)
			}
			if told := len(out) == 3 && strings.HasSuffix(out[2].Topic, "/update/delta"); told != (len(delta) > 0) {
				t.Fatalf("seed %d step %d: delta %v, told %v", seed, step, delta, told)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	b := newBench(t)
	n := Name{Thing: strings.Repeat("T", 128), Shadow: strings.Repeat("$", 64)}
	doc := func(size int) string { // a state of that size
		return `{"state":{"desired":{"a":"` + strings.Repeat("x", size-len(`{"desired":{"a":""}}`)) + `"}}}`
	}
	refused := func(payload string, want *Error) {
		t.Helper()
		out := b.publish(n, "update", payload)
		if got := string(rejected(want, "")); len(out) != 1 || string(out[0].Payload) != got {
			t.Errorf("%.60q answers %s, want %s", payload, lines(n, out), got)
		}
	}
	refused(doc(maxState+1), errTooLarge)
	if out := b.publish(n, "update", doc(maxState)); len(out) != 3 {
		t.Errorf("a state of 8 KiB answers %.200s", lines(n, out))
	}
	refused(`{"state":{"reported":{"b":1}}}`, errTooLarge) // together they are too large
	refused(strings.Repeat(" ", maxPayload+1), errTooLarge)
	refused(`{"state":{"reported":{"b":"`+"\xff"+`"}}}`, errEncoding)
	refused(strings.Repeat("[", maxPayload), errNesting)
	refused(`{"x":`+strings.Repeat(`{"x":`, maxPayload/6), errNesting)
	for _, name := range []Name{{Thing: "a b"}, {Thing: ""}, {Thing: strings.Repeat("t", 129)}, {Thing: "ü"}} {
		batch := b.st.NewBatch()
		if a := b.Update(batch, name, []byte(`{"state":{}}`)); a.Refused != errNoThing {
			t.Errorf("thing %q: %v", name.Thing, a.Refused)
		}
		batch.Discard()
	}
	for _, shadow := range []string{"a/b", strings.Repeat("s", 65), "#"} {
		if a := b.Get(nil, Name{"t", shadow}, nil); a.Refused != errShadowName {
			t.Errorf("shadow %q: %v", shadow, a.Refused)
		}
	}
}

func TestTopics(t *testing.T) {
	e := newBench(t)
	const p = "$aws/things/t/shadow/"
	for topic, ok := range map[string]bool{
		p + "get": true, p + "update": true, p + "delete": true, p + "name/n/update": true, p + "name/name/get": true,
		p + "update/accepted": false, p + "name/n/update/delta": false, p + "updates": false, p: false, p + "name//get": false, p + "name/n": false,
		"$aws/things//shadow/get": false, "$aws/things/a b/shadow/get": false, "$aws/things/t/jobs/get": false, "$SYS/x": false, "$aws/things/t/x/shadow/get": false,
	} {
		if err := e.CheckTopic(topic, true); (err == nil) != ok {
			t.Errorf("publish on %s: %v", topic, err)
		}
	}
	for filter, ok := range map[string]bool{
		p + "#": true, "$aws/things/+/shadow/#": true, "$aws/things/#": true, "$aws/things/+/+/update/+": true, p + "update/accepted": true, p + "update/#": true,
		p + "name/+/update/delta": true, p + "name/n/#": true, p + "+": true, "$aws/things/t/#": true,
		"$aws/#": false, "$aws/+/t/shadow/get": false, "$aws/things/t/jobs/#": false, p + "x": false, "$aws/things": false, "$aws/things/+": false, "$SYS/#": false, p + "get/delta": false,
		p + "update/accepted/x": false, p + "update/accepted/#": false,
	} {
		if err := e.CheckFilter(filter); (err == nil) != ok {
			t.Errorf("subscribe to %s: %v", filter, err)
		}
	}
	if out, _ := e.Apply(nil, &message.Message{Topic: p + "update/accepted", Payload: []byte("{}")}); out != nil {
		t.Errorf("the service answers itself: %v", out)
	}
}

// TestConcurrentUpdates has many batches with several shadows each: every
// update counts once, and the versions are those of a line.
func TestConcurrentUpdates(t *testing.T) {
	b := newBench(t)
	const workers, rounds = 8, 40
	names := []Name{{Thing: "a"}, {Thing: "b"}, {Thing: "a", Shadow: "n"}}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for i := range rounds {
				batch := b.st.NewBatch()
				for _, at := range r.Perm(len(names)) {
					n := names[at]
					if !b.Hold(batch, n.prefix()+"update", false) {
						if err := b.st.Commit(batch); err != nil {
							t.Error(err)
						}
						batch = b.st.NewBatch()
						b.Hold(batch, n.prefix()+"update", true)
					}
					payload := fmt.Sprintf(`{"state":{"reported":{"w%d":%d}}}`, w, i)
					if a := b.Update(batch, n, []byte(payload)); a.Refused != nil {
						t.Error(a.Refused)
					}
				}
				if err := b.st.Commit(batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.restart()
	for _, n := range names {
		d, err := b.read(nil, n)
		if err != nil || d.version != workers*rounds {
			t.Errorf("%v: version %d, %v", n, d.version, err)
		}
		for w := range workers {
			if v := d.state.member("reported").member(fmt.Sprintf("w%d", w)); v == nil || v.text != fmt.Sprint(rounds-1) {
				t.Errorf("%v: worker %d has %v", n, w, v)
			}
		}
	}
	if len(b.held) != 0 {
		t.Errorf("%d shadows are still held", len(b.held))
	}
}

// TestOneBatch: what one batch does comes one after the other, others see it
// when it is applied, and nothing of it when it is given up.
func TestOneBatch(t *testing.T) {
	b := newBench(t)
	n := Name{Thing: "t"}
	batch := b.st.NewBatch()
	for want := range int64(3) {
		a := b.Update(batch, n, fmt.Appendf(nil, `{"state":{"desired":{"v":%d}},"version":%d}`, want, want))
		if a.Refused != nil {
			t.Fatal(a.Refused)
		}
	}
	if doc, ok := b.DocumentIn(batch, "t", ""); !ok || !strings.Contains(string(doc), `"version":3`) {
		t.Errorf("in the batch: %s", doc)
	}
	if _, ok := b.Document("t", ""); ok {
		t.Error("others see what is not applied")
	}
	other := b.st.NewBatch()
	if b.Hold(other, n.prefix()+"update", false) {
		t.Error("two batches hold one shadow")
	}
	if !b.Hold(other, n.prefix()+"get", false) || !b.Hold(other, "$aws/things/u/shadow/update", false) {
		t.Error("what is free is not")
	}
	other.Discard()
	batch.Discard()
	if _, ok := b.Document("t", ""); ok {
		t.Error("a batch that was given up has an effect")
	}
	if a := b.Get(nil, n, nil); a.Refused == nil || a.Refused.Code != 404 {
		t.Errorf("get: %+v", a)
	}
	if err := b.Settle(); err != nil {
		t.Error(err)
	}
}

func TestListAndPurge(t *testing.T) {
	b := newBench(t)
	b.publish(Name{Thing: "t"}, "update", `{"state":{}}`)
	b.publish(Name{Thing: "t2", Shadow: "x"}, "update", `{"state":{}}`)
	for _, shadow := range []string{"c", "a", "b", "$", "gone"} {
		b.publish(Name{"t", shadow}, "update", `{"state":{}}`)
	}
	b.publish(Name{"t", "gone"}, "delete", "")
	var got []string
	for after, more := "", true; more; {
		var page []string
		var err error
		if page, more, err = b.List("t", after, 2); err != nil || len(page) == 0 {
			t.Fatal(page, err)
		}
		got, after = append(got, page...), page[len(page)-1]
	}
	if fmt.Sprint(got) != "[$ a b c]" {
		t.Errorf("listed %v", got)
	}
	if _, _, err := b.List("a b", "", 2); !errors.Is(err, errNoThing) {
		t.Errorf("a bad name: %v", err)
	}
	// Made again, the old deletion must not take it away.
	b.publish(Name{"t", "a"}, "delete", "")
	b.publish(Name{"t", "a"}, "update", `{"state":{}}`)
	b.at = b.at.Add(versionKept)
	b.publish(Name{"t", "b"}, "delete", "")
	keys := 0
	it, err := b.st.Iterator([]byte{byte(store.SpaceShadow)}, store.PrefixEnd([]byte{byte(store.SpaceShadow)}))
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		keys++
	}
	if err := it.Close(); err != nil || keys != 6+1 { // six shadows, with the one just deleted, and its deletion
		t.Errorf("%d keys are left, %v", keys, err)
	}
	if got := b.publish(Name{"t", "a"}, "get", ""); !strings.Contains(string(got[0].Payload), `"version":2`) {
		t.Errorf("get: %s", got[0].Payload)
	}
}

// TestDamage: a stored shadow that cannot be read fails alone, and says so.
func TestDamage(t *testing.T) {
	b := newBench(t)
	n := Name{Thing: "t"}
	batch := b.st.NewBatch()
	batch.Set(n.key(), []byte{2, 0, 1})
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"get", "update", "delete"} {
		if got := lines(n, b.publish(n, op, `{"state":{},"clientToken":"c"}`)); got != "< "+op+`/rejected {"code":500,"message":"Internal service failure","clientToken":"c"}`+"\n" {
			t.Errorf("%s: %s", op, got)
		}
	}
	if _, ok := b.Document("t", ""); ok {
		t.Error("a damaged document")
	}
}

// FuzzUpdate: any two payloads, one after the other. Answers are JSON, what is
// stored reads back as it was, and the sizes hold.
func FuzzUpdate(f *testing.F) {
	f.Add(`{"state":{"desired":{"a":{"b":[1,{"c":1e5}]}}},"version":0,"clientToken":"t"}`, `{"state":{"reported":{"a":{"b":null,"x":"\ud83d\ude00"}},"desired":null}}`)
	f.Add(`{"state":{"desired":{"":-0.0e-0,"a":true}}}`, `{"state":{"desired":{"a":{}}}}`)
	f.Add(`[[[[`, "\xef\xbb\xbf{}")
	f.Add(`{"state":{"desired":{"a":1}},"state":{"reported":{"a":1}}}`, `{"state":{"desired":{"a":1e99999999999999999999}}}`)
	b := newBench(f)
	n := Name{Thing: "f"}
	f.Fuzz(func(t *testing.T, first, second string) {
		batch := b.st.NewBatch()
		defer batch.Discard()
		for _, payload := range []string{first, second} {
			out, _ := b.Apply(batch, &message.Message{Topic: n.prefix() + "update", Payload: []byte(payload)})
			for _, m := range out {
				if !json.Valid(m.Payload) {
					t.Fatalf("%q answers %s", payload, m.Payload)
				}
			}
			if r, refused := readUpdate([]byte(payload)); refused == nil && (!json.Valid([]byte(payload)) || r.state.depth() > maxDepth+1) {
				t.Fatalf("%q is taken", payload)
			}
		}
		d, err := b.read(batch, n)
		if err != nil || !d.exists() {
			return
		}
		back, err := readRecord(d.record())
		if err != nil || !reflect.DeepEqual(back, d) {
			t.Fatalf("%+v reads back as %+v, %v", d, back, err)
		}
		if d.size() > maxState || len(b.broken(d)) > 0 {
			t.Fatalf("a state of %d bytes, %v", d.size(), b.broken(d))
		}
	})
}

// broken is what breaks the rules of stored states.
func (b *bench) broken(d document) (wrong []string) {
	if d.state == nil {
		return nil
	}
	for _, m := range d.state.members {
		if m.value.kind != object || len(m.value.members) == 0 || m.value.depth() > maxDepth || m.value.nullInArray(true) {
			wrong = append(wrong, m.name)
		}
	}
	return wrong
}

func FuzzReadRecord(f *testing.F) {
	state, err := parse([]byte(`{"desired":{"a":[1,"x",true,{"b":false}]},"reported":{"n":1.50}}`))
	if err != nil {
		f.Fatal(err)
	}
	state.stamp(1000)
	f.Add((&document{state: state, version: 3, updated: 1001}).record())
	f.Add((&document{version: 3, updated: 1001, deleted: true}).record())
	f.Add([]byte{1, 0, 1, 0, 'a', 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := readRecord(data); err == nil {
			if back, err := readRecord(d.record()); err != nil || !reflect.DeepEqual(back, d) {
				t.Fatalf("%+v reads back as %+v, %v", d, back, err)
			}
		}
	})
}

func FuzzNumbers(f *testing.F) {
	f.Add("1.50", "15e-1")
	f.Add("0", "-0.0e5")
	f.Add("100", "1e2")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, errA := parse([]byte(a))
		y, errB := parse([]byte(b))
		if errA != nil || errB != nil || x.kind != number || y.kind != number || len(a)+len(b) > 30 {
			return
		}
		var u, v float64
		if json.Unmarshal([]byte(a), &u) == nil && json.Unmarshal([]byte(b), &v) == nil && equal(x, y) && u != v {
			t.Fatalf("%s and %s are equal", a, b)
		}
		if equal(x, y) != equal(y, x) || !equal(x, x) {
			t.Fatalf("%s, %s", a, b)
		}
	})
}

// TestTooManyWait: the queue for one shadow is bounded.
func TestTooManyWait(t *testing.T) {
	b := newBench(t)
	n := Name{Thing: "t"}
	holder, other := b.st.NewBatch(), b.st.NewBatch()
	defer other.Discard()
	b.hold(holder, n, false).waiting = maxWaiting
	if !b.Hold(other, n.prefix()+"update", true) {
		t.Error("a full queue is told by the answer, not by the hold")
	}
	out, err := b.Apply(other, &message.Message{Topic: n.prefix() + "update", Payload: []byte(`{"state":{},"clientToken":"c"}`)})
	got := lines(n, out)
	if want := `< update/rejected {"code":429,"message":"Too many requests","clientToken":"c"}` + "\n"; got != want || err != error(errTooMany) {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	holder.Discard()
	if a := b.Update(other, n, []byte(`{"state":{}}`)); a.Refused != nil {
		t.Errorf("when it is free: %v", a.Refused)
	}
}
