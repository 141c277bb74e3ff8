package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// action is a compiled integration.
type action interface {
	// maxBody is how many bytes of body the action takes.
	maxBody() int
	// run carries out the request and says how it is answered.
	run(ctx context.Context, e *Engine, c *call) reply
}

// reply is the answer of an action.
type reply struct {
	status    int
	errorType string // for x-amzn-ErrorType; "" for success
	text      string // of a failure, for people
	body      []byte
	retry     bool // the sender shall try again later
}

var integrationURI = regexp.MustCompile(`^arn:aws[a-z-]*:apigateway:[a-z0-9-]+:(?:[a-zA-Z0-9-]+\.)?([a-z]+):(path|action)/(.*)$`)

// compileAction checks an integration and makes its action. Offered are
// publishing to IoT topics, DynamoDB PutItem and MOCK.
func compileAction(in *Integration) (action, error) {
	response, err := successResponse(in)
	if err != nil {
		return nil, err
	}
	if in.Type == "MOCK" {
		return compileMock(in)
	}
	if in.Type != "AWS" {
		return nil, badRequest("integration type %.32q is not offered here: use AWS with the service iotdata or dynamodb, or MOCK", in.Type)
	}
	m := integrationURI.FindStringSubmatch(in.URI)
	if m == nil {
		return nil, badRequest("Invalid ARN specified in the request: the uri must be like arn:aws:apigateway:<region>:iotdata:path/topics/<topic> or arn:aws:apigateway:<region>:dynamodb:action/PutItem, not %.256q", in.URI)
	}
	if in.HTTPMethod != "POST" {
		return nil, badRequest("the integration's HTTP method must be POST, not %.32q", in.HTTPMethod)
	}
	switch service, target := m[1], m[2]+"/"+m[3]; {
	case service == "iotdata" && strings.HasPrefix(target, "path/topics/"):
		return compilePublish(in, strings.TrimPrefix(target, "path/topics/"), response)
	case service == "dynamodb" && target == "action/PutItem":
		return compilePutItem(in, response)
	default:
		return nil, badRequest("the integration %s:%.128s is not offered here, only iotdata:path/topics/… and dynamodb:action/PutItem", service, target)
	}
}

// response is what a client gets when the action succeeded; a nil body passes
// the action's own answer through.
type response struct {
	status int
	body   []byte
}

// successResponse finds the integration response for success: the one without
// a selection pattern. Without any, the answer is 200 and passed through.
func successResponse(in *Integration) (response, error) {
	for _, r := range in.Responses {
		if r.SelectionPattern == "" || r.SelectionPattern == "2\\d{2}" || r.SelectionPattern == "200" {
			return compileResponse(r)
		}
	}
	return response{status: http.StatusOK}, nil
}

// compileResponse takes static bodies, and those that pass the answer through.
func compileResponse(r *IntegrationResponse) (response, error) {
	if len(r.ResponseParameters) > 0 {
		return response{}, badRequest("responseParameters of integration responses are not offered here")
	}
	status, err := strconv.Atoi(r.StatusCode)
	if err != nil {
		return response{}, validStatus(r.StatusCode)
	}
	out := response{status: status}
	for kind, text := range r.ResponseTemplates {
		if kind != "application/json" {
			return response{}, badRequest("a response template for %.64q is not offered here, only for application/json", kind)
		}
		switch text = strings.TrimSpace(text); {
		case text == "", text == "$input.json('$')", text == "$input.body":
		case strings.ContainsAny(text, "$#"):
			return response{}, badRequest("the response template must be fixed text, or $input.json('$'): other templates are not offered here")
		default:
			out.body = []byte(text)
		}
	}
	return out, nil
}

// success answers a request whose effects are durable.
func (r response) success(own []byte) reply {
	if r.body != nil {
		own = r.body
	}
	return reply{status: r.status, body: own}
}

// messageBody is the body of every failure.
func messageBody(text string) []byte {
	body, _ := json.Marshal(map[string]string{"message": text}) // strings always marshal
	return body
}

func failure(status int, errorType, text string) reply {
	return reply{status: status, errorType: errorType, text: text, body: messageBody(text)}
}

// unavailable asks the sender to try again: what it sent was not stored.
func unavailable(what string, err error) reply {
	if errors.Is(err, context.DeadlineExceeded) {
		return failure(http.StatusGatewayTimeout, "InternalServerErrorException", "Endpoint request timed out")
	}
	r := failure(http.StatusServiceUnavailable, "ServiceUnavailableException", "the "+what+" was not stored, send it again later: "+err.Error())
	r.retry = true
	return r
}

// mock answers without doing anything.
type mock struct{ answer response }

func (mock) maxBody() int { return maxPayload }

func (m mock) run(context.Context, *Engine, *call) reply { return m.answer.success([]byte("{}")) }

// compileMock reads the template that every MOCK has: {"statusCode": 200}.
func compileMock(in *Integration) (action, error) {
	var request struct {
		StatusCode int `json:"statusCode"`
	}
	text, ok := in.RequestTemplates["application/json"]
	if !ok {
		text = `{"statusCode": 200}`
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil || request.StatusCode < 100 || request.StatusCode > 599 {
		return nil, badRequest(`the request template of a MOCK must be like {"statusCode": 200}`)
	}
	m := mock{response{status: request.StatusCode}}
	if r, ok := in.Responses[strconv.Itoa(request.StatusCode)]; ok {
		compiled, err := compileResponse(r)
		if err != nil {
			return nil, err
		}
		m.answer = compiled
	}
	return m, nil
}

// source is where the value of a parameter comes from.
type source func(*call) string

// compileSource reads the right side of a request parameter mapping (API
// Gateway developer guide, "request parameter mapping").
func compileSource(text string) (source, error) {
	if fixed, ok := strings.CutPrefix(text, "'"); ok && strings.HasSuffix(fixed, "'") {
		fixed = strings.TrimSuffix(fixed, "'")
		return func(*call) string { return fixed }, nil
	}
	for prefix, from := range map[string]func(*call, string) string{
		"method.request.path.":        func(c *call, name string) string { return c.labels[name] },
		"method.request.querystring.": func(c *call, name string) string { return c.query().Get(name) },
		"method.request.header.":      func(c *call, name string) string { return c.r.Header.Get(name) },
		"stageVariables.":             func(c *call, name string) string { return c.ep.variable[name] },
	} {
		if name, ok := strings.CutPrefix(text, prefix); ok && name != "" {
			return func(c *call) string { return from(c, name) }, nil
		}
	}
	if name, ok := strings.CutPrefix(text, "context."); ok && contextValues[name] != nil {
		return contextValues[name], nil
	}
	return nil, badRequest("the request parameter mapping %.128q is not offered here: use 'text', method.request.path|querystring|header.NAME, stageVariables.NAME or context.requestId|stage|identity.sourceIp", text)
}

// contextValues are the offered members of $context.
var contextValues = map[string]source{
	"requestId":         func(c *call) string { return c.id },
	"stage":             func(c *call) string { return c.ep.stage },
	"resourcePath":      func(c *call) string { return c.ep.path },
	"httpMethod":        func(c *call) string { return c.r.Method },
	"requestTimeEpoch":  func(c *call) string { return strconv.FormatInt(c.now.UnixMilli(), 10) },
	"identity.sourceIp": func(c *call) string { return c.sourceIP },
	"identity.apiKeyId": func(c *call) string { return c.apiKeyID },
}

// pathTemplate is a text made of pieces.
type pathTemplate []source

func (t pathTemplate) text(c *call) string {
	var b strings.Builder
	for _, s := range t {
		b.WriteString(s(c))
	}
	return b.String()
}

// topicTemplate is the compiled topic of a publishing integration.
type topicTemplate []topicPart

// topicPart is one piece of a topic.
type topicPart struct {
	text source
	from string // the mapping, when who sends the request chooses the text; else ""
}

// compileTopic reads the topic of an integration's uri: its {names} are mapped
// by request parameters integration.request.path.NAME.
func compileTopic(text string, parameters map[string]string) (topicTemplate, error) {
	parts, err := compileMappings(parameters)
	if err != nil {
		return nil, err
	}
	var out topicTemplate
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		fixed, err := url.PathUnescape(before)
		if err != nil {
			return nil, badRequest("the topic of the uri is not well escaped")
		}
		out = append(out, topicPart{text: func(*call) string { return fixed }})
		if text = rest; !found {
			break
		}
		name, rest, closed := strings.Cut(rest, "}")
		if part, ok := parts[name]; closed && ok {
			out, text = append(out, part), rest
			continue
		}
		return nil, badRequest("the uri's {%.64s} needs a request parameter integration.request.path.%.64s", name, name)
	}
	return out, nil
}

// compileMappings reads the request parameters of an integration, by NAME.
func compileMappings(parameters map[string]string) (map[string]topicPart, error) {
	parts := map[string]topicPart{}
	for target, from := range parameters {
		name, ok := strings.CutPrefix(target, "integration.request.path.")
		if !ok {
			return nil, badRequest("the request parameter %.128q is not offered here: only integration.request.path.NAME for a {NAME} of the uri", target)
		}
		s, err := compileSource(from)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(from, "method.request.") {
			from = ""
		}
		parts[name] = topicPart{s, from}
	}
	return parts, nil
}

// topic returns the topic of one request. What the sender chooses stays within
// the level where it stands: else a route for sensors/{id}/air would publish
// on any topic for who writes %2F into the id, and a route for {topic} would
// reach the rules past the topics that they select from.
func (t topicTemplate) topic(c *call) (string, error) {
	var b strings.Builder
	for _, part := range t {
		v := part.text(c)
		if part.from != "" {
			if err := c.staysInLevel(part.from, v); err != nil {
				return "", err
			}
			if b.Len() == 0 && strings.HasPrefix(v, "$") {
				return "", errors.New("topics that begin with $ are reserved")
			}
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// ownTopic is the topic of a route that names none: rest/{stage}/{path}.
func (c *call) ownTopic() (string, error) {
	for name, v := range c.labels {
		if err := c.staysInLevel(pathMapping+name, v); err != nil {
			return "", err
		}
	}
	return "rest/" + c.ep.stage + "/" + strings.Join(c.parts, "/"), nil
}

const pathMapping = "method.request.path."

// staysInLevel refuses a slash in a value that stands for one level of a
// topic; only greedy labels, {name+}, stand for several.
func (c *call) staysInLevel(from, value string) error {
	name, ok := strings.CutPrefix(from, pathMapping)
	if !strings.Contains(value, "/") || ok && strings.Contains(c.ep.path, "{"+name+"+}") {
		return nil
	}
	return errors.New(strconv.QuoteToASCII(cut(value)) + " has a slash, and would add levels to the topic")
}

// validTopic refuses what can be no topic; the broker has the last word.
func validTopic(topic string) bool {
	return topic != "" && len(topic) <= 256 && utf8.ValidString(topic) && !strings.ContainsAny(topic, "+#\x00")
}
