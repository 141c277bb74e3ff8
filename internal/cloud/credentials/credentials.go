// Package credentials is the credentials provider of AWS IoT Core (AWS IoT
// developer guide, "Authorizing direct calls to AWS services using AWS IoT Core
// credential provider"): a device gets a temporary access key for its
// certificate, with which it signs calls as a role.
//
// What it promises:
//
//   - Who gets a key brought an active certificate whose policies allow
//     iot:AssumeRoleWithCertificate on the role alias, at that moment.
//   - A key works until it expires, also after a restart: nothing of it is kept,
//     since all that it says is sealed in its session token. It ends at once when
//     its certificate is deactivated, deleted or expires, or its role alias is
//     deleted.
//   - A key may do what its role may, as the role is at the moment of the call:
//     what the configuration says of the role, else [defaultPolicy]. It never
//     reaches a control plane.
package credentials

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/registry"
	"mote/internal/sigv4"
)

// Role says what a role may do.
type Role struct {
	ARN    string // arn:aws:iam::000000000001:role/gateway
	Policy string // a policy document; of its actions those of dynamodb, iot and execute-api count
}

// Options configure a provider.
type Options struct {
	Region   string // of the ARNs of tables and routes
	Roles    []Role // that may something else than the default
	Refusals *refusal.Log
	Log      *slog.Logger     // nil: discard
	Now      func() time.Time // nil: time.Now
}

// Provider gives temporary access keys, and knows those it gave. Its methods are
// safe for concurrent use.
type Provider struct {
	o     Options
	reg   *registry.Registry
	seal  *sealer
	roles map[string]*policy.Document // by ARN
	mux   awsapi.Mux
}

var _ awsapi.Service = (*Provider)(nil)

// defaultPolicy is what a role may do of which the configuration says nothing:
// what the uplinks of a gateway need. To publish, the certificate's own policies
// must allow it too.
const defaultPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",
	"Action": ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem", "execute-api:Invoke", "iot:Publish"]}]}`

// New returns a provider over reg. A role whose policy cannot be read is an error.
func New(reg *registry.Registry, o Options) (*Provider, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Provider{o: o, reg: reg, roles: map[string]*policy.Document{}}
	for _, r := range append([]Role{{"", defaultPolicy}}, o.Roles...) {
		name := "the default of roles"
		if r.ARN != "" {
			name = r.ARN
		}
		doc, err := policy.Compile(name, r.Policy)
		if err != nil {
			return nil, fmt.Errorf("role %s: its policy: %w", r.ARN, err)
		}
		p.roles[r.ARN] = doc
	}
	var err error
	p.seal, err = newSealer(reg.SessionKey())
	p.mux.Handle(http.MethodGet, "/role-aliases/{alias}/credentials", p.serve)
	return p, err
}

// ServeHTTP answers a device whose certificate the front has verified.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, others := p.mux.Find(r)
	if h == nil {
		awsapi.WriteError(w, awsapi.Errorf(http.StatusNotFound, "UnknownOperationException",
			"the credentials provider serves GET /role-aliases/ALIAS/credentials, not this%s", strings.Join(others, " ")))
		return
	}
	h(w, r)
}

// Refuse implements [awsapi.Service]. The texts are AWS's.
func (p *Provider) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) {
	message := "Certificate is invalid on this endpoint"
	if e.Code == sigv4.CodeMissingToken {
		message = "Access Denied"
	}
	awsapi.WriteError(w, &awsapi.Error{Code: sigv4.CodeDenied, Status: e.StatusOr(http.StatusForbidden), Message: message})
}

// ask is one device's request.
type ask struct {
	alias  string
	thing  string // that the device says it is; "" when it says nothing
	caller awsapi.Identity
}

// serve gives credentials. The checks, their order and texts are those of AWS
// (aws-iot-core-credential-provider-session-helper, "Credential Provider
// responses"); a role needs no look, since there are no roles but those of the
// configuration and the default.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	a := ask{r.PathValue("alias"), r.Header.Get("X-Amzn-Iot-Thingname"), awsapi.Caller(r.Context())}
	refuse := func(status int, code, message, reason string) {
		p.o.Refusals.Add(refusal.Refusal{Where: "api", Action: "iot:AssumeRoleWithCertificate", Resource: fmt.Sprintf("%.300s", p.reg.ARN("rolealias/"+a.alias)),
			Principal: a.caller.CertificateID, SourceIP: a.caller.SourceIP, Reason: reason})
		awsapi.WriteError(w, awsapi.Errorf(status, code, "%s", message))
	}
	if a.thing != "" && !p.reg.Attached(a.thing, a.caller.CertificateID) {
		refuse(http.StatusForbidden, sigv4.CodeDenied, "Invalid thing name passed",
			fmt.Sprintf("the header x-amzn-iot-thingname says %.128q, and the certificate is not attached to that thing: attach it with attach-thing-principal", a.thing))
		return
	}
	if err := p.mayAssume(r, a); err != nil {
		refuse(http.StatusForbidden, sigv4.CodeDenied, "Access Denied", err.Error())
		return
	}
	alias, err := p.reg.RoleAlias(a.alias)
	if err != nil {
		refuse(http.StatusNotFound, string(registry.NotFound), "Role alias does not exist", err.Error()+": make it with create-role-alias")
		return
	}
	key, err := p.issue(&alias, a)
	if err != nil {
		p.o.Log.Error("temporary credentials cannot be made", "role_alias", alias.Name, "err", err)
		awsapi.WriteError(w, err)
		return
	}
	awsapi.WriteJSON(w, map[string]any{"credentials": key})
}

func (p *Provider) mayAssume(r *http.Request, a ask) error {
	s := policy.Subject{CertificateID: a.caller.CertificateID, ClientID: a.thing, SourceIP: a.caller.SourceIP}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		s.Certificate, s.DomainName = r.TLS.PeerCertificates[0], r.TLS.ServerName
	}
	if d := p.reg.Judge(&s).Decide("iot:AssumeRoleWithCertificate", p.reg.ARN("rolealias/"+a.alias)); !d.Allowed {
		return errors.New(d.Reason)
	}
	return nil
}

// accessKey is a temporary access key as the device gets it.
type accessKey struct {
	ID         string `json:"accessKeyId"`
	Secret     string `json:"secretAccessKey"`
	Token      string `json:"sessionToken"`
	Expiration string `json:"expiration"` // RFC 3339, whole seconds
}

func (p *Provider) issue(alias *registry.RoleAlias, a ask) (accessKey, error) {
	ends := p.o.Now().Add(alias.Duration).UTC().Truncate(time.Second)
	id := newKeyID()
	token, err := p.seal.seal(id, contents{Alias: alias.Name, AliasID: alias.ID, Certificate: a.caller.CertificateID, Thing: a.thing, Ends: ends.Unix()})
	return accessKey{id, p.seal.secret(token), token, ends.Format(time.RFC3339)}, err
}
