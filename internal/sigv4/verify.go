package sigv4

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// DefaultMaxSkew is how far the clocks of client and server may be apart;
// execute-api allows [ExecuteAPIMaxSkew] (IAM user guide,
// "Troubleshoot Signature Version 4 requests").
const (
	DefaultMaxSkew    = 15 * time.Minute
	ExecuteAPIMaxSkew = 5 * time.Minute
)

// Keys returns the secret of an access key, and whether the key is known and
// may be used.
type Keys func(id string) (secret string, ok bool)

// TemporaryPrefix begins the ids of access keys that are good for a time, with
// the session token that was given with them (IAM user guide, "IAM identifiers").
const TemporaryPrefix = "ASIA"

// Session is what a temporary access key stands for.
type Session struct {
	Secret    string
	Principal string // ARN, such as arn:aws:sts::000000000001:assumed-role/gateway/SESSION
	UserID    string // such as AROAEXAMPLE:SESSION
	// May says why the session may not do action, for example "iot:Publish", on a
	// resource (an ARN) from a source address; nil when it may.
	May func(action, resource, sourceIP string) error
}

// Sessions returns the session of a temporary access key and of the token that
// the request brought, "" when it brought none, or why it is refused: with
// [CodeUnknownKey] or [CodeExpired].
type Sessions func(id, token string) (*Session, *Error)

// Options say what is accepted. The zero value accepts any service and region
// within [DefaultMaxSkew], and permanent access keys only.
type Options struct {
	Sessions Sessions         // nil: temporary access keys are not known
	Services []string         // accepted in the credential scope; the first is named to who used another; empty: any
	Regions  []string         // accepted in the credential scope; empty: any
	MaxSkew  time.Duration    // 0: DefaultMaxSkew
	Now      func() time.Time // nil: time.Now
}

// Identity is what a verified signature says.
type Identity struct {
	AccessKeyID   string
	Region        string
	Service       string
	Time          time.Time // when it was signed
	Presigned     bool
	SignedHeaders []string // lower case, sorted
	Session       *Session // of a temporary access key; nil: the key is a permanent one
}

// Verify checks the signature of r, whose body is body as it was on the wire
// (before any decompression), in AWS's order. The answer
// is nil, or the refusal with AWS's text and a diagnosis for the log.
//
// A session token is looked at with a temporary key; with a permanent one it has
// no meaning.
func Verify(r *http.Request, body []byte, keys Keys, o Options) (Identity, *Error) {
	c, e := Examine(r, keys, o)
	if e != nil {
		return Identity{}, e
	}
	return c.Verify(r, body)
}

// Claim is a signature of which everything but the signature itself was
// checked, so that a body need not be read for a caller with an unknown key.
type Claim struct {
	claim
	of      derivation
	key     []byte
	session *Session // nil: of a permanent key
}

// Examine makes all checks of [Verify] that do not need the body.
func Examine(r *http.Request, keys Keys, o Options) (*Claim, *Error) {
	c, e := readClaim(r)
	if e != nil {
		return nil, e
	}
	for _, check := range []func() *Error{c.readDate, func() *Error { return c.checkTime(o) }, c.readScope, func() *Error { return c.checkScope(o) }} {
		if e := check(); e != nil {
			return nil, e
		}
	}
	secret, session, e := c.secret(r, keys, o.Sessions)
	if e != nil {
		return nil, e
	}
	of := derivation{secret, c.scope.day, c.scope.region, c.scope.service}
	return &Claim{*c, of, derived.key(of), session}, nil
}

// secret makes check 11: it finds the secret of the key, and the session when
// the key is a temporary one.
func (c *claim) secret(r *http.Request, keys Keys, sessions Sessions) (string, *Session, *Error) {
	id := c.scope.keyID
	if sessions != nil && strings.HasPrefix(id, TemporaryPrefix) {
		session, e := sessions(id, cmp.Or(r.Header.Get(tokenName), first(c.query, tokenName)))
		if e != nil {
			return "", nil, e
		}
		return session.Secret, session, nil
	}
	if secret, ok := keys(id); ok {
		return secret, nil, nil
	}
	return "", nil, &Error{Code: CodeUnknownKey, Message: UnknownKeyMessage,
		Diagnosis: "access key " + quote(veilKeyID(id)) + " is not known here, or is switched off: the client may be using credentials of AWS; give it those of this server (mote env prints them)"}
}

// tokenName is where a session token stands, as header or in the query.
const tokenName = "X-Amz-Security-Token"

// Verify makes the last check: the signature over r and its body.
func (c *Claim) Verify(r *http.Request, body []byte) (Identity, *Error) {
	if e := c.checkSignature(r, body, c.key); e != nil {
		return Identity{}, e
	}
	derived.keep(c.of, c.key)
	return Identity{AccessKeyID: c.scope.keyID, Region: c.scope.region, Service: c.scope.service,
		Time: c.date, Presigned: c.presigned, SignedHeaders: c.names, Session: c.session}, nil
}

// checkTime makes check 8.
func (c *claim) checkTime(o Options) *Error {
	skew, now := o.MaxSkew, time.Now()
	if skew == 0 {
		skew = DefaultMaxSkew
	}
	if o.Now != nil {
		now = o.Now()
	}
	now = now.UTC().Truncate(time.Second)
	life, presigned, e := c.lifetime()
	if e != nil {
		return e
	}
	minutes := func() string { return fmt.Sprintf("%d min.", int(skew.Minutes())) }
	switch early, late := now.Add(-skew), now.Add(skew); {
	case c.date.After(late):
		return &Error{Code: CodeInvalid, Diagnosis: c.clockDiagnosis(now, skew),
			Message: fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s)", stamp(c.date), stamp(late), stamp(now), minutes())}
	case presigned && now.After(c.date.Add(life)):
		return &Error{Code: CodeInvalid, Message: fmt.Sprintf("Signature expired: %s is now earlier than %s", stamp(c.date.Add(life)), stamp(now)),
			Diagnosis: fmt.Sprintf("the presigned URL of %s was valid for %s: make a new one", c.date.Format(time.RFC3339), life)}
	case !presigned && c.date.Before(early):
		return &Error{Code: CodeInvalid, Diagnosis: c.clockDiagnosis(now, skew),
			Message: fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s)", stamp(c.date), stamp(early), stamp(now), minutes())}
	}
	return nil
}

func (c *claim) clockDiagnosis(now time.Time, allowed time.Duration) string {
	by, side := now.Sub(c.date), "behind"
	if by < 0 {
		by, side = -by, "ahead of"
	}
	return fmt.Sprintf("the request was signed at %s, here it is %s: the client's clock is %s %s this one, %s is allowed: set the clocks, for example by NTP, or sign at the moment of sending",
		c.date.Format(time.RFC3339), now.Format(time.RFC3339), by, side, allowed)
}

func stamp(t time.Time) string { return t.Format(basicFormat) }

// checkScope makes check 10.
func (c *claim) checkScope(o Options) *Error {
	var text, why strings.Builder
	add := func(wire, diagnosis string) {
		text.WriteString(wire)
		if why.Len() > 0 {
			why.WriteString("; ")
		}
		why.WriteString(diagnosis)
	}
	s := c.scope
	if s.region == "" || len(o.Regions) > 0 && !slices.Contains(o.Regions, s.region) {
		add("Credential should be scoped to a valid region, not '"+cut(s.region)+"'. ", "the client signs for region "+quote(s.region)+", here is "+strings.Join(o.Regions, ", "))
	}
	if len(o.Services) > 0 && !slices.Contains(o.Services, s.service) {
		add("Credential should be scoped to correct service: '"+o.Services[0]+"'. ", "the client signs for service "+quote(s.service)+", this is "+o.Services[0])
	}
	if s.term != terminator {
		add("Credential should be scoped with a valid terminator: 'aws4_request', not '"+cut(s.term)+"'. ", "the credential ends in "+quote(s.term)+", it must be aws4_request")
	}
	if day := c.date.Format("20060102"); s.day != day {
		add(fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", cut(s.day), day, stamp(c.date)),
			"the credential is of day "+quote(s.day)+", the request of "+day+", both must be UTC")
	}
	if text.Len() == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: text.String(), Diagnosis: why.String()}
}

// checkSignature makes check 12: it tries the forms that AWS's clients and
// common hand-written ones sign (see canonicalPaths and queryForms).
func (c *claim) checkSignature(r *http.Request, body []byte, key []byte) *Error {
	base := canonical{method: r.Method, headers: headerLines(r, c.names, r.Host), signed: strings.Join(c.names, ";"), payload: hashHex(body)}
	paths, queries := canonicalPaths(r.URL.EscapedPath()), c.queryForms(r.URL.RawQuery)
	for _, path := range paths {
		for _, query := range queries {
			base.path, base.query = path, query
			if c.signs(key, &base) {
				return nil
			}
		}
	}
	base.path, base.query = paths[0], queries[0]
	expected := base.String()
	return &Error{Code: CodeInvalid, Diagnosis: c.diagnose(r, body, key, base),
		Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n" +
			"The Canonical String for this request should have been\n'" + expected + "'\n\n" +
			"The String-to-Sign should have been\n'" + stringToSign(stamp(c.date), c.scope.String(), expected) + "'\n"}
}

func (c *claim) signs(key []byte, form *canonical) bool {
	return matches(key, stringToSign(stamp(c.date), c.scope.String(), form.String()), c.signature)
}

// queryForms returns the canonical forms of the query, the expected one first.
// A "+" is a space to some clients and a plus to others (13.2 rule 3); botocore
// sorts what is on the wire and does not escape it again; the security token of a presigned WebSocket is added after signing (rule 8).
func (c *claim) queryForms(raw string) []string {
	if raw == "" {
		return []string{""}
	}
	all := func(name string) bool { return name != "X-Amz-Signature" || !c.presigned }
	forms := []string{canonicalQuery(c.query, all)}
	if strings.Contains(raw, "+") {
		forms = append(forms, canonicalQuery(parseQuery(raw, '+'), all))
	}
	if _, ok := lookup(c.query, tokenName); ok && c.presigned {
		forms = append(forms, canonicalQuery(c.query, func(name string) bool { return all(name) && name != tokenName }))
	}
	return distinct(append(forms, rawQuery(raw, all)))
}
