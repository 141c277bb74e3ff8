package rules

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/sink"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/iotsql"
	"mote/internal/iotsql/eval"
	"mote/internal/mqtt"
)

// Trial is what a rule would make of a message.
type Trial struct {
	Matched bool `json:"matched"` // the topic is one of the FROM clause, or there is none
	Fired   bool `json:"fired"`   // Matched, and WHERE let the message through
	// Where is what WHERE said: true, false, undefined, or another value as
	// JSON; "" when there is none.
	Where string `json:"where,omitempty"`
	// Result is what the actions would get. It is nil, and so is ResultBase64,
	// when the rule does not fire, and when the result is Undefined: then they
	// would get nothing, not a byte.
	Result       json.RawMessage `json:"result,omitempty"`
	ResultBase64 *string         `json:"result_base64,omitempty"` // of a result that is not JSON
	Error        string          `json:"error,omitempty"`         // why there is no result
	Actions      []Effect        `json:"actions"`                 // in the order of the rule
	ErrorAction  *Effect         `json:"error_action,omitempty"`  // when it would run
	NotOffered   []string        `json:"not_offered,omitempty"`   // functions that need a service mote does not have
}

// Effect is what one action would do.
type Effect struct {
	Kind   string `json:"kind"`             // as in the rule, for example "dynamoDBv2"
	Does   string `json:"does"`             // in words
	Target string `json:"target,omitempty"` // table, topic, URL, bucket, …
	Error  string `json:"error,omitempty"`  // why it would fail; then it does nothing

	Item      map[string]any `json:"item,omitempty"`      // JSON of the DynamoDB API: what is put
	Key       map[string]any `json:"key,omitempty"`       // of the item that is updated or removed
	Attribute string         `json:"attribute,omitempty"` // that an update sets
	Value     map[string]any `json:"value,omitempty"`     // to this
	Publish   *Published     `json:"publish,omitempty"`
	Request   *Requested     `json:"request,omitempty"`
	Object    *Object        `json:"object,omitempty"`
	Record    *Record        `json:"record,omitempty"`
}

// Body is a payload: one of its members is there, none when it is empty.
type Body struct {
	JSON   json.RawMessage `json:"payload,omitempty"`
	Base64 string          `json:"payload_base64,omitempty"`
}

func bodyOf(data []byte) Body {
	switch {
	case len(data) == 0:
		return Body{}
	case json.Valid(data):
		return Body{JSON: data}
	}
	return Body{Base64: base64.StdEncoding.EncodeToString(data)}
}

// Published is a message that would be published.
type Published struct {
	Topic string `json:"topic"`
	QoS   byte   `json:"qos"`
	Body
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData []byte      `json:"correlation_data,omitempty"`
	UTF8Payload     bool        `json:"utf8_payload,omitempty"`
	ExpirySeconds   int64       `json:"expiry_seconds,omitempty"`
	UserProperties  []NameValue `json:"user_properties,omitempty"`
}

// NameValue is a header or a user property.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Requested is a request that would go out.
type Requested struct {
	Method  string      `json:"method,omitempty"`
	URL     string      `json:"url,omitempty"`
	Headers []NameValue `json:"headers,omitempty"`
	Signed  string      `json:"signed,omitempty"`  // region and service, of a request with Signature Version 4
	Batched bool        `json:"batched,omitempty"` // together with others
	Body
}

// Object is an object that would be written.
type Object struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Size   int    `json:"size"` // bytes
}

// Record is a Kafka record that would be sent. The properties of the client are
// left out, since they hold passwords.
type Record struct {
	Servers   string      `json:"servers"`
	Topic     string      `json:"topic"`
	Key       string      `json:"key,omitempty"`
	Partition *int32      `json:"partition,omitempty"`
	Headers   []NameValue `json:"headers,omitempty"`
	Body
}

// Try evaluates a rule over one message and writes nothing. tables may be nil:
// then what they would refuse is not known, and get_dynamodb finds nothing. Of o
// it uses Account, Shadow and RegistryData. The error is an *[InvalidError].
func Try(p Payload, m *message.Message, tables Tables, o Options) (*Trial, error) {
	o.setDefaults()
	e := &Engine{tables: tables, opt: o, log: o.Log}
	return e.try(p, m, nil)
}

// Try evaluates a rule, which need not be one of the engine's, over one
// message, with the tables and shadows that there are. It writes nothing, and
// counts nothing. The error is an *[InvalidError].
func (e *Engine) Try(p Payload, m *message.Message) (*Trial, error) {
	b := e.st.NewBatch()
	defer b.Discard()
	return e.try(p, m, b)
}

// trialName is the name of a rule that is tried.
const trialName = "trial"

func (e *Engine) try(p Payload, m *message.Message, b *store.Batch) (*Trial, error) {
	c, err := compile(Rule{Name: trialName, Payload: p})
	if err != nil {
		return nil, err
	}
	t := &Trial{Actions: []Effect{}, NotOffered: c.notOffered}
	x := &execution{}
	x.begin(e, b, m, c.topicOf(m, t))
	x.rule = c
	if !t.Matched {
		return t, nil
	}
	t.Where = c.whereText(&x.msg)
	r, fired := c.prog.Run(&x.msg)
	if t.Fired = fired; !fired {
		return t, nil
	}
	t.setResult(r)
	x.tryActions(t, r)
	return t, nil
}

// topicOf returns the topic that the statement sees, and says in t whether the
// rule gets the message.
func (c *compiled) topicOf(m *message.Message, t *Trial) string {
	if direct, ok := strings.CutPrefix(m.Topic, basicIngest); ok {
		_, rest, _ := strings.Cut(direct, "/")
		t.Matched = true
		return rest
	}
	t.Matched = c.rule.Filter == "" || mqtt.MatchAWS(c.rule.Filter, m.Topic)
	return m.Topic
}

// whereText is what the WHERE clause says of the message, as text.
func (c *compiled) whereText(m *eval.Message) string {
	st, err := iotsql.Parse(c.rule.Payload.SQL)
	if err != nil || st.Where == nil {
		return ""
	}
	st.Select, st.Where = iotsql.Selection{Value: st.Where}, nil
	version, _ := iotsql.ParseVersion(c.rule.Payload.AWSIoTSQLVersion)
	prog, err := eval.Compile(st, version)
	if err != nil {
		return err.Error()
	}
	r, _ := prog.Run(m)
	data, err := r.AppendPayload(nil)
	switch {
	case err != nil:
		return err.Error()
	case len(data) == 0:
		return "undefined"
	}
	return cut(string(data), maxShownPayload)
}

func (t *Trial) setResult(r eval.Result) {
	data, binary, err := resultBody(r)
	switch {
	case err != nil:
		t.Error = err.Error()
	case binary:
		text := base64.StdEncoding.EncodeToString(data)
		t.ResultBase64 = &text
	case len(data) > 0:
		t.Result = data
	}
}

// tryActions runs the actions of the rule, with effects that are only told.
func (x *execution) tryActions(t *Trial, r eval.Result) {
	var failures []errorFailure
	for _, s := range x.rule.steps {
		effect, name := x.tryStep(s, r)
		if effect.Error != "" {
			failures = append(failures, errorFailure{FailedAction: name, FailedResource: effect.Target, ErrorMessage: effect.Error})
		}
		t.Actions = append(t.Actions, effect)
	}
	if len(failures) == 0 || x.rule.errorStep == nil {
		return
	}
	data, err := json.Marshal(x.errorPayload(failures))
	if err != nil {
		return
	}
	if r, err = eval.ValueResult(string(data)); err == nil {
		effect, _ := x.tryStep(*x.rule.errorStep, r)
		t.ErrorAction = &effect
	}
}

// tryStep tells what one action would do, and its name in error payloads.
func (x *execution) tryStep(s step, r eval.Result) (Effect, string) {
	told := &told{x: x, effect: Effect{Kind: s.kind}}
	if s.action == nil {
		told.effect.Does = "nothing: the action is stored, not executed"
		return told.effect, ""
	}
	x.do = told
	target, err := "", r.Err()
	if err == nil {
		target, err = s.action.run(x, r)
	}
	if err != nil {
		told.effect = Effect{Kind: s.kind, Does: "fails", Error: err.Error()}
	}
	told.effect.Target = target
	return told.effect, s.action.name()
}

// told is the effect of one action that is told instead of done. With tables
// and a batch, which is given up later, it learns what tables would refuse.
type told struct {
	x      *execution
	effect Effect
}

func (d *told) asks() bool { return d.x.batch != nil && d.x.engine.tables != nil }

func (d *told) put(tableName string, item table.Item) error {
	d.effect.Does, d.effect.Item = "puts an item", wireItem(item)
	if d.asks() {
		return d.x.put(tableName, item)
	}
	return nil
}

func (d *told) putMembers(tableName string, members []table.Member) error {
	return d.put(tableName, itemOf(members))
}

func (d *told) update(tableName string, key table.Item, attribute string, value table.Value) error {
	d.effect.Does, d.effect.Key, d.effect.Attribute, d.effect.Value = "sets an attribute", wireItem(key), attribute, wireValue(value)
	if d.asks() {
		return d.x.update(tableName, key, attribute, value)
	}
	return nil
}

func (d *told) remove(tableName string, key table.Item) error {
	d.effect.Does, d.effect.Key = "removes an item", wireItem(key)
	if d.asks() {
		return d.x.remove(tableName, key)
	}
	return nil
}

func (d *told) publish(m *message.Message) error {
	d.effect.Does = "publishes a message"
	p := &Published{
		Topic: m.Topic, QoS: m.QoS, Body: bodyOf(m.Payload), ContentType: m.ContentType, ResponseTopic: m.ResponseTopic,
		CorrelationData: m.CorrelationData, UTF8Payload: m.UTF8Payload,
	}
	for _, one := range m.UserProperties {
		p.UserProperties = append(p.UserProperties, NameValue(one))
	}
	if !m.Expiry.IsZero() {
		p.ExpirySeconds = int64(m.Expiry.Sub(m.Time) / time.Second)
	}
	d.effect.Publish = p
	return nil
}

func (d *told) send(o *outgoing) error {
	if err := o.request.Check(); err != nil {
		return err
	}
	switch r := o.request.(type) {
	case *sink.HTTP:
		d.effect.Does, d.effect.Request = "sends an HTTP request", requested(r, o.batch != nil)
	case *sink.Lambda:
		d.effect.Does = "invokes a function"
		d.effect.Request = &Requested{Body: bodyOf(r.Payload)}
	case *sink.S3:
		d.effect.Does = "writes an object"
		d.effect.Object = &Object{Bucket: r.Bucket, Key: r.Key, Size: len(r.Body)}
	case *sink.Kafka:
		d.effect.Does, d.effect.Record = "sends a record", recorded(r)
	default:
		return fmt.Errorf("there are no words for what %T does", r)
	}
	return nil
}

func recorded(k *sink.Kafka) *Record {
	r := &Record{Servers: k.Client["bootstrap.servers"], Topic: k.Topic, Key: string(k.Key), Partition: k.Partition, Body: bodyOf(k.Value)}
	for _, one := range k.Headers {
		r.Headers = append(r.Headers, NameValue{one.Key, one.Value})
	}
	return r
}

func requested(h *sink.HTTP, batched bool) *Requested {
	r := &Requested{Method: "POST", URL: h.URL, Batched: batched, Body: bodyOf(h.Body)}
	if h.SigV4 != nil {
		r.Signed = h.SigV4.Region + "/" + h.SigV4.Service
	}
	typed := false
	for _, one := range h.Headers {
		typed = typed || strings.EqualFold(one.Key, "Content-Type")
		r.Headers = append(r.Headers, NameValue{one.Key, one.Value})
	}
	if !typed {
		r.Headers = append(r.Headers, NameValue{"Content-Type", contentType(h)})
	}
	return r
}

// contentType is that of a request whose rule names none (AWS IoT developer
// guide, "HTTP").
func contentType(h *sink.HTTP) string {
	if h.Binary {
		return "application/octet-stream"
	}
	return "application/json"
}

// Explain returns the tree of a statement as indented text. The error is an
// *[InvalidError] that shows the place.
func Explain(sql, version string) (string, error) {
	v, err := iotsql.ParseVersion(version)
	if err != nil {
		return "", invalid("awsIotSqlVersion: %v", err)
	}
	if _, _, err := compileSQL(sql, v); err != nil {
		return "", err
	}
	st, err := iotsql.Parse(sql)
	if err != nil {
		return "", badSQL("", err)
	}
	return iotsql.Tree(st), nil
}
