// Package policy parses, compiles, evaluates and explains AWS IoT policy
// documents (AWS IoT developer guide, "AWS IoT Core policies"). It knows
// nothing of where documents are kept or to whom they are attached: package
// registry collects the documents of a principal and binds them to a
// [Subject] as a [Judge].
package policy

import "crypto/x509"

// Subject is who asks: the source of the policy variables.
type Subject struct {
	CertificateID string            // lower-case hex SHA-256 of the DER certificate; "" without one
	Account       string            // name of the account whose password was given; "" without one
	Anonymous     bool              // neither; the listener lets them in
	Certificate   *x509.Certificate // for iot:Certificate.* variables; may be nil
	ClientID      string            // MQTT client id; "" over HTTP
	SourceIP      string            // without port
	DomainName    string            // SNI
	Thing         *Thing            // the thing named ClientID when it is attached to the certificate, else nil

	PersistentConnect bool   // iot:ConnectAttributes of a CONNECT
	LastWill          bool   // iot:ConnectAttributes of a CONNECT
	LastWillTopic     string // topic; "" without will
}

// Principal names who asks in messages, refusals and lists: a certificate id,
// "account/NAME" or "anonymous".
func (s *Subject) Principal() string {
	switch {
	case s.Account != "":
		return "account/" + s.Account
	case s.Anonymous:
		return "anonymous"
	}
	return s.CertificateID
}

// Thing is what policy variables can say about an attached thing.
type Thing struct {
	Name       string
	TypeName   string
	Attributes map[string]string
}

// Decision is the outcome of one question, with what decided it.
type Decision struct {
	Allowed bool
	Policy  string // name of the policy with the deciding statement; "" when no statement matched
	// Reason is for people: the deciding statement, or why none matched, and
	// what to change, for example `no statement allows iot:Publish on
	// arn:aws:iot:…:topic/a; policies looked at: gateway`.
	Reason string
}

// Judge answers whether one subject may do things. It is a snapshot: ask the
// registry for a new one when its epoch has changed.
type Judge interface {
	// Decide says whether the subject may do action (for example "iot:Publish")
	// on resource (an ARN).
	Decide(action, resource string) Decision
}
