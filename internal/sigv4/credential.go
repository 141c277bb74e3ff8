package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	terminator  = "aws4_request"
	basicFormat = "20060102T150405Z" // ISO 8601 basic
	maxExpires  = 604800             // seconds, of a presigned request
	maxEcho     = 2048               // bytes of a stranger's header that go into a message
)

// claim is what a request says about its own signature, before any of it is
// checked against a key.
type claim struct {
	presigned     bool
	credential    string
	signedHeaders string
	signature     string
	rawDate       string
	expires       string // X-Amz-Expires; "" when absent
	query         []pair

	date  time.Time // parsed from rawDate
	names []string  // of the signed headers: lower case, sorted, without repetition
	scope scope
}

// scope is the credential's five elements.
type scope struct{ keyID, day, region, service, term string }

func (s scope) String() string {
	return s.day + "/" + s.region + "/" + s.service + "/" + s.term
}

// Claimed returns the access key id and the service that the request's
// credential scope names, in the header or the query form, without checking
// anything; both are "" when it names none. It is for dispatch and for logs:
// what cannot be a key id comes veiled, since it may be the secret.
func Claimed(r *http.Request) (keyID, service string) {
	credential := ""
	if auth := r.Header.Get("Authorization"); auth != "" {
		_, rest, _ := strings.Cut(auth, "Credential=")
		credential, _, _ = strings.Cut(rest, ",")
	} else if strings.Contains(r.URL.RawQuery, "X-Amz-Credential=") {
		credential = first(parseQuery(r.URL.RawQuery, ' '), "X-Amz-Credential")
	}
	parts := strings.Split(strings.TrimSpace(credential), "/")
	if len(parts) != 5 || len(parts[0]) > 128 {
		return "", ""
	}
	return veilKeyID(parts[0]), parts[3]
}

// Signed says whether r claims to be signed, well or badly.
func Signed(r *http.Request) bool {
	if r.Header.Get("Authorization") != "" {
		return true
	}
	_, inQuery := lookup(parseQuery(r.URL.RawQuery, ' '), "X-Amz-Algorithm")
	return inQuery
}

// readClaim makes the checks of what a request says of itself, in AWS's order.
func readClaim(r *http.Request) (*claim, *Error) {
	query := parseQuery(r.URL.RawQuery, ' ')
	queryAlgorithm, inQuery := lookup(query, "X-Amz-Algorithm")
	auth := r.Header.Get("Authorization")
	var c *claim
	var e *Error
	switch {
	case inQuery && auth != "":
		return nil, &Error{Code: CodeInvalid, Message: "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
			Diagnosis: "the request is signed twice, in its query and in its Authorization header: use one of the two"}
	case inQuery:
		c, e = queryClaim(query, queryAlgorithm)
	case auth != "":
		c, e = headerClaim(r, auth)
	default:
		return nil, &Error{Code: CodeMissingToken, Message: "Request is missing Authentication Token",
			Diagnosis: "the request is not signed: configure the client with an access key of this server (mote env prints one)"}
	}
	if e != nil {
		return nil, e
	}
	c.names = signedNames(c.signedHeaders)
	if !slices.Contains(c.names, "host") {
		return nil, &Error{Code: CodeIncomplete, Message: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
			Diagnosis: "the signed headers are " + quote(c.signedHeaders) + " and lack host: the client must sign the Host header"}
	}
	return c, nil
}

func queryClaim(query []pair, alg string) (*claim, *Error) {
	if alg != algorithm {
		return nil, wrongAlgorithm(alg)
	}
	c := &claim{presigned: true, query: query, credential: first(query, "X-Amz-Credential"), signature: first(query, "X-Amz-Signature"),
		signedHeaders: first(query, "X-Amz-SignedHeaders"), rawDate: first(query, "X-Amz-Date"), expires: first(query, "X-Amz-Expires")}
	var missing strings.Builder
	for _, name := range []string{"X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if first(query, name) == "" {
			missing.WriteString("AWS query-string parameters must include '" + name + "'. ")
		}
	}
	if missing.Len() > 0 {
		return nil, &Error{Code: CodeIncomplete, Message: missing.String() + "Re-examine the query-string parameters.",
			Diagnosis: "the presigned URL is incomplete: " + strings.TrimSpace(missing.String())}
	}
	return c, nil
}

func headerClaim(r *http.Request, auth string) (*claim, *Error) {
	auth = strings.TrimSpace(auth)
	alg, rest, _ := strings.Cut(auth, " ")
	if alg != algorithm {
		return nil, wrongAlgorithm(alg)
	}
	c := &claim{query: parseQuery(r.URL.RawQuery, ' '), rawDate: r.Header.Get("X-Amz-Date")}
	if c.rawDate == "" {
		c.rawDate = r.Header.Get("Date")
	}
	for piece := range strings.SplitSeq(rest, ",") {
		piece = strings.TrimSpace(piece)
		name, value, ok := strings.Cut(piece, "=")
		if !ok && piece != "" {
			return nil, &Error{Code: CodeIncomplete, Message: "'" + cut(piece) + "' not a valid key=value pair (missing equal-sign) in Authorization header: '" + cut(auth) + "'.",
				Diagnosis: "the Authorization header has a part without equal sign, of " + strconv.Itoa(len(piece)) + " bytes"}
		}
		switch name { // the last of a repeated one wins
		case "Credential":
			c.credential = value
		case "SignedHeaders":
			c.signedHeaders = value
		case "Signature":
			c.signature = value
		}
	}
	return c, c.missingParts(auth)
}

func (c *claim) missingParts(auth string) *Error {
	var missing strings.Builder
	for _, p := range []pair{{"Credential", c.credential}, {"Signature", c.signature}, {"SignedHeaders", c.signedHeaders}} {
		if p.value == "" {
			missing.WriteString("Authorization header requires '" + p.name + "' parameter. ")
		}
	}
	if c.rawDate == "" {
		missing.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if missing.Len() == 0 {
		return nil
	}
	return &Error{Code: CodeIncomplete, Message: missing.String() + "Authorization=" + cut(auth),
		Diagnosis: "the signature is incomplete: " + strings.TrimSuffix(strings.TrimSpace(missing.String()), ".")}
}

func wrongAlgorithm(alg string) *Error {
	return &Error{Code: CodeIncomplete, Message: "Unsupported AWS 'algorithm': '" + cut(alg) + "' (only AWS4-HMAC-SHA256 for now). ",
		Diagnosis: "the request is signed with " + schemeOf(alg) + ", only " + algorithm + " is understood"}
}

// readDate makes check 7. A Date header may also have the form of RFC 9110.
func (c *claim) readDate() *Error {
	t, err := time.Parse(basicFormat, c.rawDate)
	if err != nil && !c.presigned {
		t, err = http.ParseTime(c.rawDate)
	}
	if err != nil {
		return &Error{Code: CodeIncomplete, Message: "Date must be in ISO-8601 'basic format'. Got '" + cut(c.rawDate) + "'. See http://en.wikipedia.org/wiki/ISO_8601",
			Diagnosis: "the date " + quote(c.rawDate) + " is not of the form 20060102T150405Z"}
	}
	c.date = t.UTC()
	return nil
}

// readScope makes check 9.
func (c *claim) readScope() *Error {
	p := strings.Split(c.credential, "/")
	if len(p) != 5 {
		return &Error{Code: CodeIncomplete, Message: "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + cut(c.credential) + "'",
			Diagnosis: "the credential has " + strconv.Itoa(len(p)) + " parts, it must be keyid/date/region/service/aws4_request"}
	}
	c.scope = scope{p[0], p[1], p[2], p[3], p[4]}
	return nil
}

// lifetime is how long a presigned request is valid; ok is false when it names
// no lifetime, as some WebSocket clients do.
func (c *claim) lifetime() (d time.Duration, ok bool, e *Error) {
	if !c.presigned || c.expires == "" {
		return 0, false, nil
	}
	n, err := strconv.Atoi(c.expires)
	if err != nil || n < 1 || n > maxExpires {
		return 0, false, &Error{Code: CodeIncomplete, Message: "X-Amz-Expires must be a number of seconds from 1 to 604800, got '" + cut(c.expires) + "'",
			Diagnosis: "X-Amz-Expires is " + quote(c.expires) + ", it must be from 1 to 604800 seconds"}
	}
	return time.Duration(n) * time.Second, true, nil
}

// signedNames returns the canonical list of the signed headers.
func signedNames(list string) []string {
	var names []string
	for n := range strings.SplitSeq(list, ";") {
		if n = strings.ToLower(strings.TrimSpace(n)); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func lookup(query []pair, name string) (string, bool) {
	for _, p := range query {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// first returns the first value of name: of repeated query parameters it wins.
func first(query []pair, name string) string {
	v, _ := lookup(query, name)
	return v
}

// cut bounds what of a stranger's text goes into a message.
func cut(s string) string {
	if len(s) > maxEcho {
		return s[:maxEcho] + "…"
	}
	return s
}

// veilKeyID returns id as it may stand in a log. Key ids are capitals and
// digits; a secret, which people do put in the place of the id, is not.
func veilKeyID(id string) string {
	for i := range len(id) {
		if c := id[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "(no key id)"
		}
	}
	return id
}

// schemeOf names an authentication scheme for a log. Other text may be a token
// that was sent bare.
func schemeOf(alg string) string {
	if strings.HasPrefix(alg, "AWS") && len(alg) <= 32 || slices.Contains([]string{"Basic", "Bearer", "Digest", "Negotiate"}, alg) {
		return alg
	}
	return "something else"
}

// quote bounds and quotes a stranger's text for a diagnosis.
func quote(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strconv.Quote(s)
}
