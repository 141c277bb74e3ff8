package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"mote/internal/cloud/sink"
	"mote/internal/iotsql/eval"
)

// recordsAction is the action kafka (AWS IoT developer guide, "Apache Kafka").
// Its destinationArn names a virtual private cloud of AWS; mote reaches the
// cluster over its own network and only keeps it.
type recordsAction struct {
	topic          *eval.Template
	key, partition *eval.Template // nil: none
	headers        []pair
	client         []property
}

// property is one of the clientProperties.
type property struct {
	name  string
	value *eval.Template
}

// maxRecordHeaders is how many headers a kafka action may have (AWS IoT API,
// KafkaAction).
const maxRecordHeaders = 100

func (f *fields) kafka() action {
	if f.text("destinationArn") == "" {
		f.fail("destinationArn is required")
	}
	a := &recordsAction{
		topic: f.required("topic"), key: f.template("key", ""), partition: f.template("partition", ""),
		headers: f.pairs("headers", maxRecordHeaders), client: f.properties("clientProperties"),
	}
	if a.partition != nil {
		if text, constant := a.partition.Constant(); constant {
			if _, err := partition(text); err != nil {
				f.fail("%v", err)
			}
		}
	}
	return a
}

// properties reads the properties of a Kafka client, all of them texts.
func (f *fields) properties(name string) (out []property) {
	raw, ok := f.take(name)
	if !ok {
		f.fail("%s is required", name)
		return nil
	}
	var values map[string]string
	if err := json.Unmarshal(raw, &values); err != nil {
		f.fail("%s: want an object whose members are strings", name)
		return nil
	}
	if err := sink.CheckKafkaClient(values); err != nil {
		f.fail("%s: %v", name, err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		out = append(out, property{key, f.compile(name+": "+key, values[key])})
	}
	return out
}

// partition reads the number of a partition; nil is none.
func partition(text string) (*int32, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("partition %.40q: want a number from 0", text)
	}
	p := int32(n)
	return &p, nil
}

func (a *recordsAction) sends() {}

func (a *recordsAction) name() string { return "KafkaAction" }

func (a *recordsAction) run(x *execution, r eval.Result) (string, error) {
	k := &sink.Kafka{Topic: a.topic.Text(&x.msg), Client: make(map[string]string, len(a.client))}
	var err error
	if k.Value, _, err = resultBody(r); err != nil {
		return k.Topic, err
	}
	if key := text(a.key, &x.msg); key != "" {
		k.Key = []byte(key)
	}
	if k.Partition, err = partition(text(a.partition, &x.msg)); err != nil {
		return k.Topic, err
	}
	for _, h := range a.headers {
		k.Headers = append(k.Headers, sink.Header{Key: h.key.Text(&x.msg), Value: h.value.Text(&x.msg)})
	}
	for _, p := range a.client {
		k.Client[p.name] = p.value.Text(&x.msg)
	}
	return k.Topic, x.do.send(&outgoing{kind: sink.KindKafka, action: a.name(), target: k.Topic, request: k, batch: sink.KafkaBatching(), across: true})
}
