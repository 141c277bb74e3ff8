package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// canonical holds the parts of a canonical request (IAM user guide,
// "Elements of an AWS API request signature"), each
// in its canonical form, so that a diagnosis can exchange one of them.
type canonical struct {
	method, path, query string
	headers             string // every line ends in "\n"
	signed              string // names of the signed headers
	payload             string // hex hash of the body
	noBlankLine         bool   // a frequent mistake: no empty line after the headers
}

func (c *canonical) String() string {
	blank := "\n"
	if c.noBlankLine {
		blank = ""
	}
	return c.method + "\n" + c.path + "\n" + c.query + "\n" + c.headers + blank + c.signed + "\n" + c.payload
}

// stringToSign joins what the signing key signs.
func stringToSign(date, scope, canonicalRequest string) string {
	return algorithm + "\n" + date + "\n" + scope + "\n" + hashHex([]byte(canonicalRequest))
}

// signingKey derives the key of one day, region and service from the secret.
func signingKey(secret, day, region, service string) []byte {
	key := mac([]byte("AWS4"+secret), day)
	key = mac(key, region)
	key = mac(key, service)
	return mac(key, terminator)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// matches says whether signature (hex) is that of text, in constant time.
func matches(key []byte, text, signature string) bool {
	given, err := hex.DecodeString(signature)
	return err == nil && hmac.Equal(mac(key, text), given)
}

// canonicalPaths returns the forms of the path that a signer may have used,
// the one that AWS expects first: every segment of the path as sent is escaped
// once more (13.2 rule 1). AWS normalises the path; the Go SDK does not.
// Hand-written signers leave out the second escaping.
func canonicalPaths(escaped string) []string {
	if escaped == "" {
		escaped = "/"
	}
	normal := normalPath(escaped)
	paths := []string{escape(normal, true), escape(escaped, true), normal, escaped}
	return distinct(paths)
}

// normalPath removes duplicate slashes and the segments "." and "..".
func normalPath(path string) string {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path
	}
	var out []string
	for s := range strings.SplitSeq(path, "/") {
		switch s {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, s)
		}
	}
	joined := "/" + strings.Join(out, "/")
	if joined != "/" && strings.HasSuffix(path, "/") {
		joined += "/"
	}
	return joined
}

// pair is one parameter of a query, decoded.
type pair struct{ name, value string }

// parseQuery cuts a raw query into decoded pairs, in their order; plus is what
// a "+" stands for.
func parseQuery(raw string, plus byte) []pair {
	var out []pair
	for piece := range strings.SplitSeq(raw, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		out = append(out, pair{unescape(name, plus), unescape(value, plus)})
	}
	return out
}

// canonicalQuery escapes and sorts the pairs that keep wants (13.2 rule 3).
func canonicalQuery(pairs []pair, keep func(name string) bool) string {
	out := make([]pair, 0, len(pairs))
	for _, p := range pairs {
		if keep(p.name) {
			out = append(out, pair{escape(p.name, false), escape(p.value, false)})
		}
	}
	return joinSorted(out)
}

// rawQuery sorts the pairs of a raw query as they are.
func rawQuery(raw string, keep func(name string) bool) string {
	var out []pair
	for piece := range strings.SplitSeq(raw, "&") {
		if name, value, _ := strings.Cut(piece, "="); piece != "" && keep(name) {
			out = append(out, pair{name, value})
		}
	}
	return joinSorted(out)
}

func joinSorted(out []pair) string {
	slices.SortFunc(out, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range out {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

// headerLines returns the canonical lines of the named headers (lower case).
// Go's server keeps some of them outside of the header map (13.2 rule 4).
func headerLines(r *http.Request, names []string, host string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name + ":" + headerValue(r, name, host) + "\n")
	}
	return b.String()
}

func headerValue(r *http.Request, name, host string) string {
	switch name {
	case "host":
		return collapse(host)
	case "content-length":
		if r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10)
		}
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header.Values(name)
	clean := make([]string, len(values))
	for i, v := range values {
		clean[i] = collapse(v)
	}
	return strings.Join(clean, ",")
}

// hasHeader says whether the request carries the header (lower-case name).
func hasHeader(r *http.Request, name string) bool {
	switch name {
	case "host":
		return r.Host != ""
	case "content-length":
		return r.ContentLength >= 0
	case "transfer-encoding":
		return len(r.TransferEncoding) > 0
	}
	return len(r.Header.Values(name)) > 0
}

// collapse trims the ends and makes one space of each inner run of spaces.
func collapse(s string) string {
	s = strings.TrimSpace(s)
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

const upperHex = "0123456789ABCDEF"

// escape leaves the unreserved characters of RFC 3986 and writes every other
// byte as %XX; slashes stay when keepSlash is set.
func escape(s string, keepSlash bool) string {
	clean := 0
	for clean < len(s) && (unreserved(s[clean]) || keepSlash && s[clean] == '/') {
		clean++
	}
	if clean == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:clean]...)
	for i := clean; i < len(s); i++ {
		if c := s[i]; unreserved(c) || keepSlash && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// unescape decodes %XX, and "+" as plus; a "%" that begins no escape stays.
func unescape(s string, plus byte) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 2
				continue
			}
		}
		if s[i] == '+' {
			b = append(b, plus)
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// distinct removes repetitions and keeps the order.
func distinct(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
