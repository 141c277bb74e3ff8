// Package provisioning gives devices their own certificate, thing and policies
// when they first speak to the cloud: fleet provisioning by claim over MQTT
// (AWS IoT developer guide, "Device provisioning MQTT API"), just-in-time
// provisioning of certificates that a registered CA signed, and RegisterThing.
//
// What it promises:
//
//   - What a template makes is one change of the registry: all of it is on disk
//     before the device is answered, or nothing is.
//   - An ownership token works once, on connections with the certificate that
//     asked for it. The same request again, after a lost answer, is answered the
//     same.
//   - A private key goes to the client that asked and to nobody else: no rule
//     and no subscriber sees it, and it is never written.
//
// Templates, tokens and pending certificates are kept by the registry.
package provisioning

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/registry"
)

// Engine provisions devices. Its methods are safe for concurrent use.
type Engine struct {
	reg *registry.Registry
	log *slog.Logger

	making chan struct{} // has a place for each key pair that may be made at a time
}

// atOnce is how many key pairs are made at a time: each takes a core for a
// while, and whoever has a claim can ask for many.
const atOnce = 2

// New returns an engine over the registry; a nil log drops its lines.
func New(reg *registry.Registry, log *slog.Logger) *Engine {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Engine{reg: reg, log: log, making: make(chan struct{}, atOnce)}
}

// Error refuses a request of a device (AWS IoT developer guide, "Device
// provisioning MQTT API").
type Error struct {
	Status  int // as of HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// The codes of refusals.
const (
	codePayload    = "InvalidPayload"
	codeParameters = "InvalidParameters"
	codeNotFound   = "ResourceNotFound"
	codeDenied     = "AccessDenied"
	codeConflict   = "ResourceConflict"
	codeThrottled  = "RequestThrottled"
	codeInternal   = "InternalError"
)

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

// refusal is err as a device is told.
func (e *Engine) refusal(err error) *Error {
	var own *Error
	var reg *registry.Error
	if errors.As(err, &own) {
		return own
	}
	if !errors.As(err, &reg) {
		e.log.Error("a device could not be provisioned", "err", err)
		return refuse(500, codeInternal, "the device could not be provisioned: the log of the server says why")
	}
	switch reg.Code {
	case registry.InvalidToken:
		return refuse(400, string(registry.InvalidToken), "%s", reg.Msg)
	case registry.NotFound:
		return refuse(404, codeNotFound, "%s", reg.Msg)
	case registry.Exists, registry.CertificateState:
		return refuse(409, codeConflict, "%s", reg.Msg)
	case registry.LimitExceeded:
		return refuse(429, codeThrottled, "%s", reg.Msg)
	case registry.Unavailable:
		return refuse(503, codeInternal, "%s", reg.Msg)
	}
	return refuse(400, codeParameters, "%s", reg.Msg)
}

// Registered is what a template made.
type Registered struct {
	registry.Provisioned
	ARNs map[string]string // by the logical names of the template
}

// Register makes what a template says (AWS IoT API reference, RegisterThing).
func (e *Engine) Register(body string, params map[string]string) (Registered, error) {
	t, err := Parse(body)
	if err != nil {
		return Registered{}, refuse(400, codeParameters, "%v", err)
	}
	p, err := t.plan(params)
	if err != nil {
		return Registered{}, refuse(400, codeParameters, "%v", err)
	}
	made, err := e.reg.Provision(p.Provision)
	if err != nil {
		return Registered{}, err
	}
	out := Registered{made, map[string]string{t.certificate.name: e.reg.ARN("cert/" + made.Certificate.ID)}}
	if t.thing != nil {
		out.ARNs[t.thing.name] = e.reg.ARN("thing/" + made.Thing)
	}
	for i, r := range t.policies {
		out.ARNs[r.name] = e.reg.ARN("policy/" + made.Policies[i])
	}
	return out, nil
}

// template returns the template of that name and type, if it is enabled.
func (e *Engine) template(name string, kind registry.TemplateType) (*Template, error) {
	found, err := e.reg.Template(name)
	if err != nil {
		return nil, err
	}
	if found.Type != kind {
		return nil, refuse(400, codeParameters, "provisioning template %s is of the type %s, not %s", name, found.Type, kind)
	}
	if !found.Enabled {
		return nil, refuse(403, codeDenied, "provisioning template %s is not enabled: enable it with update-provisioning-template --enabled", name)
	}
	return Parse(found.Body())
}

// claimed has a device's certificate provisioned.
func (e *Engine) claimed(name, principal, token string, params map[string]string) (plan, registry.Provisioned, error) {
	var none registry.Provisioned
	t, err := e.template(name, registry.FleetProvisioning)
	if err != nil {
		return plan{}, none, err
	}
	id, ok := e.reg.TokenCertificate(token)
	if !ok {
		return plan{}, none, refuse(400, string(registry.InvalidToken), "the certificateOwnershipToken is not known or expired: ask for a new certificate")
	}
	all := map[string]string{certificateID: id}
	for key, value := range params {
		if len(key) >= len(certificateParams) && key[:len(certificateParams)] == certificateParams {
			return plan{}, none, refuse(400, codeParameters, "the parameter %.100s is filled in by the server: leave it out", key)
		}
		all[key] = value
	}
	p, err := t.plan(all)
	if err != nil {
		return plan{}, none, refuse(400, codeParameters, "%v", err)
	}
	if err := e.mayTake(principal, p.Thing); err != nil {
		return plan{}, none, err
	}
	p.Token, p.Principal, p.Request = token, principal, requestID(name, params)
	made, err := e.reg.Provision(p.Provision)
	return p, made, err
}

// mayTake refuses to give a certificate of a thing that is there to a device that
// is another one: a device with a thing may renew its certificate by a template,
// and must not take the place of its neighbour. AWS leaves that to
// pre-provisioning hooks. A claim, which has no thing, may.
func (e *Engine) mayTake(principal string, thing *registry.ProvisionThing) error {
	if thing == nil || e.reg.Attached(thing.Name, principal) {
		return nil
	}
	own, _, err := e.reg.PrincipalThings(principal, registry.Page{Limit: 1})
	if err != nil || len(own) == 0 { // an access key, or a claim
		return nil
	}
	if _, err := e.reg.Thing(thing.Name); err != nil {
		return nil // it is made
	}
	return refuse(403, codeDenied, "the thing %s is not that of the certificate that asks, which is attached to %s: ask with the certificate of a claim, or attach it to the thing", thing.Name, own[0])
}

// requestID is the same for the same request.
func requestID(template string, params map[string]string) string {
	data, _ := json.Marshal([]any{template, params}) // texts; maps are sorted
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// JustInTime is called when a device brought an unknown certificate of a
// registered CA along (see [registry.Registry.OnRegistered]): it makes what the
// CA's template says, or publishes the message that asks somebody to.
func (e *Engine) JustInTime(c registry.Certificate, ca registry.CA, publish func(context.Context, *message.Message) error) {
	if ca.Config == nil {
		if err := publish(context.Background(), e.event(c)); err != nil {
			e.log.Error("the registration of a certificate could not be told", "certificate", c.ID, "ca", ca.ID, "err", err)
		}
		return
	}
	made, err := e.justInTime(c, ca.Config)
	if err != nil {
		e.log.Warn("a certificate could not be provisioned", "certificate", c.ID, "ca", ca.ID, "err", err)
		return
	}
	e.log.Info("a certificate was provisioned", "certificate", c.ID, "ca", ca.ID, "thing", made.Thing)
}

func (e *Engine) justInTime(c registry.Certificate, config *registry.RegistrationConfig) (registry.Provisioned, error) {
	var none registry.Provisioned
	t, err := e.configured(config)
	if err != nil {
		return none, err
	}
	full, err := e.reg.Certificate(c.ID)
	if err != nil {
		return none, err
	}
	cert, err := full.Parse()
	if err != nil {
		return none, err
	}
	p, err := t.plan(certificateValues(c.ID, cert))
	if err != nil {
		return none, err
	}
	return e.reg.Provision(p.Provision)
}

func (e *Engine) configured(config *registry.RegistrationConfig) (*Template, error) {
	if config.TemplateName != "" {
		return e.template(config.TemplateName, registry.JITP)
	}
	return Parse(config.TemplateBody)
}

// CheckConfig says why a CA cannot have such a configuration, or nil.
func (e *Engine) CheckConfig(config *registry.RegistrationConfig) error {
	if (config.TemplateName == "") == (config.TemplateBody == "") {
		return errors.New("registrationConfig needs a templateName or a templateBody, one of both")
	}
	t, err := e.configured(config)
	if err == nil && !t.Claimed() {
		err = fmt.Errorf("the certificate of the template needs a CertificateId, which is {\"Ref\": %q}", certificateID)
	}
	return err
}

// certificateValues are the parameters that a certificate fills in (AWS IoT
// developer guide, "Just-in-time provisioning").
func certificateValues(id string, cert *x509.Certificate) map[string]string {
	out := map[string]string{certificateID: id}
	s := cert.Subject
	set := func(name string, list ...string) {
		if len(list) > 0 && list[0] != "" {
			out[certificateParams+name] = list[0]
		}
	}
	set("Country", s.Country...)
	set("Organization", s.Organization...)
	set("OrganizationalUnit", s.OrganizationalUnit...)
	set("StateName", s.Province...)
	set("CommonName", s.CommonName)
	set("SerialNumber", s.SerialNumber)
	for _, a := range s.Names {
		if text, ok := a.Value.(string); ok && a.Type.String() == "2.5.4.46" { // dnQualifier (RFC 4519)
			set("DistinguishedNameQualifier", text)
		}
	}
	return out
}

// event tells that a certificate was registered (AWS IoT developer guide,
// "Register a client certificate when the client connects").
func (e *Engine) event(c registry.Certificate) *message.Message {
	at := time.Now()
	payload, _ := json.Marshal(map[string]any{ // texts and a number
		"certificateId": c.ID, "caCertificateId": c.CA, "timestamp": at.UnixMilli(), "certificateStatus": c.Status,
		"awsAccountId": e.reg.Account(), "certificateRegistrationTimestamp": strconv.FormatInt(c.Created.UnixMilli(), 10),
	})
	return &message.Message{Topic: eventPrefix + c.CA, Payload: payload, QoS: 1, Time: at}
}

// ClaimPolicy is what a device with the certificate of a claim may do: have
// itself provisioned with one template.
func ClaimPolicy(template string, arn func(string) string) string {
	topics := []string{"$aws/certificates/create/*", "$aws/certificates/create-from-csr/*", templatePrefix + template + "/provision/*"}
	var publish, subscribe []string
	for _, t := range topics {
		publish = append(publish, arn("topic/"+t))
		subscribe = append(subscribe, arn("topicfilter/"+t))
	}
	data, _ := json.Marshal(map[string]any{ // texts
		"Version": "2012-10-17",
		"Statement": []any{
			map[string]any{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
			map[string]any{"Effect": "Allow", "Action": []string{"iot:Publish", "iot:Receive"}, "Resource": publish},
			map[string]any{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": subscribe},
		},
	})
	return string(data)
}
