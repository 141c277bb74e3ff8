package credentials

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/cloud/registry"
	"mote/internal/sigv4"
)

// Session returns the session of an access key that was given here; it is a
// [sigv4.Sessions].
func (p *Provider) Session(id, token string) (*sigv4.Session, *sigv4.Error) {
	unknown := func(why string) (*sigv4.Session, *sigv4.Error) {
		return nil, &sigv4.Error{Code: sigv4.CodeUnknownKey, Message: sigv4.UnknownKeyMessage, Diagnosis: "temporary access key " + fmt.Sprintf("%.128q", id) + ": " + why}
	}
	if token == "" {
		return unknown("the request has no session token: send it as X-Amz-Security-Token, from AWS_SESSION_TOKEN")
	}
	c, err := p.seal.open(id, token)
	if err != nil {
		return unknown("its session token is not good: " + err.Error())
	}
	alias, err := p.reg.RoleAlias(c.Alias)
	if err == nil && alias.ID != c.AliasID {
		err = errors.New("the role alias was deleted, and made again")
	}
	if err == nil {
		err = p.reg.ActiveCertificate(c.Certificate)
	}
	if err != nil {
		return unknown(err.Error() + ": the device must ask for new credentials")
	}
	if ends := time.Unix(c.Ends, 0); !p.o.Now().Before(ends) {
		return nil, &sigv4.Error{Code: sigv4.CodeExpired, Message: sigv4.ExpiredMessage,
			Diagnosis: fmt.Sprintf("temporary access key %s of certificate %s ended at %s: the device must ask for new credentials in time", id, c.Certificate, ends.UTC().Format(time.RFC3339))}
	}
	return p.session(alias, c, token), nil
}

func (p *Provider) session(alias registry.RoleAlias, c contents, token string) *sigv4.Session {
	name := alias.Role[strings.LastIndexByte(alias.Role, '/')+1:]
	sum := sha256.Sum256([]byte(alias.Role))
	return &sigv4.Session{
		Secret:    p.seal.secret(token),
		Principal: "arn:aws:sts::" + p.reg.Account() + ":assumed-role/" + name + "/" + c.Certificate,
		UserID:    "AROA" + base32.StdEncoding.EncodeToString(sum[:])[:17] + ":" + c.Certificate,
		May: func(action, resource, sourceIP string) error {
			return p.decide(alias.Role, c, action, p.arn(action, resource), sourceIP)
		},
	}
}

// decide says why a session of role may not do action on resource, or nil.
func (p *Provider) decide(role string, c contents, action, resource, sourceIP string) error {
	s := policy.Subject{CertificateID: c.Certificate, ClientID: c.Thing, SourceIP: sourceIP, Certificate: p.certificate(c.Certificate)}
	own := p.reg.Judge(&s) // which finds the thing too
	doc, configured := p.roles[role]
	if !configured {
		doc = p.roles[""]
	}
	d := policy.NewJudge(&s, p.reg.ARN(""), []*policy.Document{doc}).Decide(action, resource)
	if !d.Allowed {
		return fmt.Errorf("%s; say what role %s may do in [[cloud.role]] of the configuration", d.Reason, role)
	}
	if configured || !strings.HasPrefix(action, "iot:") {
		return nil
	}
	if d := own.Decide(action, resource); !d.Allowed {
		return fmt.Errorf("a role of which [[cloud.role]] says nothing may do with messages what the certificate may, and %s", d.Reason)
	}
	return nil
}

// certificate is that of a session, which policies may ask about; nil when it is
// gone.
func (p *Provider) certificate(id string) *x509.Certificate {
	c, err := p.reg.Certificate(id)
	if err != nil {
		return nil
	}
	cert, _ := c.Parse() // variables of one that cannot be read have no value
	return cert
}

// arn completes a resource that is no ARN.
func (p *Provider) arn(action, resource string) string {
	service, _, _ := strings.Cut(action, ":")
	switch {
	case resource == "*" || strings.HasPrefix(resource, "arn:"):
		return resource
	case service == "iot":
		return p.reg.ARN(resource)
	}
	return "arn:aws:" + service + ":" + p.o.Region + ":" + p.reg.Account() + ":" + resource
}
