package sigv4

import (
	"net/http"
	"slices"
	"strings"
)

// maxDiagnosed bounds the size of a canonical request whose mistake is looked
// for, so that a stranger who knows a key id cannot make us hash much.
const maxDiagnosed = 8 << 10

// A mistake is one way in which hand-written signers and proxies go wrong: it
// changes the canonical request as they would, and says what was done.
type mistake struct {
	text  string // "" for none
	apply func(*canonical)
}

// diagnose finds out why a signature by a known key does not match. A hash
// says nothing about what was hashed, but the server has the key, so it signs
// the request with the mistakes that are known, alone and together, and sees
// which of them gives the client's signature.
func (c *claim) diagnose(r *http.Request, body, key []byte, base canonical) string {
	if len(base.String()) <= maxDiagnosed {
		if found := c.search(key, base, c.dimensions(r, body)); found != nil {
			return "the key is right, but the client signed something else than it sent: " + strings.Join(found, "; ")
		}
	}
	notes := c.notes(r, body)
	if len(notes) == 0 {
		return "the signature is of another secret or another request: compare the client's secret key with the one of " + quote(c.scope.keyID) +
			", and see that no proxy changes the method, path, query, host or body"
	}
	return strings.Join(notes, "; ")
}

// search tries every combination of one mistake per dimension.
func (c *claim) search(key []byte, form canonical, dimensions [][]mistake) []string {
	if len(dimensions) == 0 {
		if c.signs(key, &form) {
			return []string{}
		}
		return nil
	}
	for _, m := range dimensions[0] {
		changed := form
		m.apply(&changed)
		if found := c.search(key, changed, dimensions[1:]); found != nil {
			if m.text != "" {
				found = append([]string{m.text}, found...)
			}
			return found
		}
	}
	return nil
}

func none(*canonical) {}

// dimensions lists the mistakes by the part of the request that they concern.
func (c *claim) dimensions(r *http.Request, body []byte) [][]mistake {
	hosts := []mistake{{apply: none}}
	for _, h := range c.likelyHosts(r) {
		lines := headerLines(r, c.names, h)
		hosts = append(hosts, mistake{"it signed the host " + quote(h) + " but sent " + quote(r.Host), func(f *canonical) { f.headers = lines }})
	}
	paths := []mistake{{apply: none}}
	for _, p := range likelyPaths(r) {
		paths = append(paths, mistake{"it signed the path " + quote(p) + " but sent " + quote(r.URL.EscapedPath()), func(f *canonical) { f.path = p }})
	}
	queries := []mistake{{apply: none}}
	if r.URL.RawQuery != "" && !c.presigned {
		queries = append(queries, mistake{"it signed an empty query", func(f *canonical) { f.query = "" }})
	}
	signed := []mistake{{apply: none}}
	if c.signedHeaders != strings.Join(c.names, ";") {
		signed = append(signed, mistake{c.listMistake(), func(f *canonical) { f.signed = c.signedHeaders }})
	}
	blank := []mistake{{apply: none}, {"its canonical request lacks the empty line after the headers", func(f *canonical) { f.noBlankLine = true }}}
	return [][]mistake{signed, blank, queries, likelyPayloads(r, body), paths, hosts}
}

// likelyHosts returns other hosts that the client may have signed.
func (c *claim) likelyHosts(r *http.Request) []string {
	bare, port := r.Host, ""
	if i := strings.LastIndexByte(r.Host, ':'); i > strings.LastIndexByte(r.Host, ']') {
		bare, port = r.Host[:i], r.Host[i:]
	}
	hosts := []string{bare, "localhost" + port, "127.0.0.1" + port, "localhost", "apigateway.amazonaws.com",
		c.scope.service + ".amazonaws.com", c.scope.service + "." + c.scope.region + ".amazonaws.com", "apigateway." + c.scope.region + ".amazonaws.com"}
	if h := r.Header.Get("X-Forwarded-Host"); h != "" {
		hosts = append(hosts, h)
	}
	return slices.DeleteFunc(distinct(hosts), func(h string) bool { return h == r.Host })
}

// likelyPaths returns other paths that the client may have signed.
func likelyPaths(r *http.Request) []string {
	sent := r.URL.EscapedPath()
	paths := []string{"/", r.URL.Path}
	if i := strings.IndexByte(strings.TrimPrefix(sent, "/"), '/'); i >= 0 {
		paths = append(paths, sent[i+1:]) // without the stage
	}
	usual := canonicalPaths(sent)
	return slices.DeleteFunc(distinct(paths), func(p string) bool { return slices.Contains(usual, p) })
}

func likelyPayloads(r *http.Request, body []byte) []mistake {
	out := []mistake{{apply: none}}
	add := func(hash, text string) {
		out = append(out, mistake{text, func(f *canonical) { f.payload = hash }})
	}
	if len(body) > 0 {
		add(hashHex(nil), "it signed an empty body")
	}
	add("UNSIGNED-PAYLOAD", "it signed UNSIGNED-PAYLOAD, which only Amazon S3 accepts: sign the hash of the body")
	if h := r.Header.Get("X-Amz-Content-Sha256"); h != "" && h != hashHex(body) && h != "UNSIGNED-PAYLOAD" {
		add(h, "x-amz-content-sha256 is not the hash of the body that arrived: the body was changed on its way, or hashed in another form than it was sent")
	}
	return out
}

// listMistake says what is wrong with the text of SignedHeaders.
func (c *claim) listMistake() string {
	switch {
	case strings.HasSuffix(c.signedHeaders, ";"):
		return "SignedHeaders " + quote(c.signedHeaders) + " ends in a ';'"
	case strings.ToLower(c.signedHeaders) != c.signedHeaders:
		return "SignedHeaders " + quote(c.signedHeaders) + " is not lower case"
	}
	return "SignedHeaders " + quote(c.signedHeaders) + " is not a sorted list, expected " + quote(strings.Join(c.names, ";"))
}

// notes lists what can be seen without the client's canonical request.
func (c *claim) notes(r *http.Request, body []byte) []string {
	var notes []string
	if c.signedHeaders != strings.Join(c.names, ";") {
		notes = append(notes, c.listMistake())
	}
	for _, n := range c.names {
		if !hasHeader(r, n) {
			notes = append(notes, "the signed header "+quote(n)+" is not in the request: the client did not send it, or a proxy removed it")
		}
	}
	if h := r.Header.Get("X-Amz-Content-Sha256"); len(h) == 64 && h != hashHex(body) {
		notes = append(notes, "x-amz-content-sha256 is not the hash of the body that arrived")
	}
	if len(c.signature) != 64 {
		notes = append(notes, "the signature is not 64 hexadecimal digits")
	}
	return notes
}
