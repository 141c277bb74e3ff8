package awsapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Mux routes REST-JSON operations on the escaped path, so that a label may
// hold an escaped slash, and never redirects (Smithy,
// "HTTP binding traits").
// Labels are read with [http.Request.PathValue]. Patterns are registered
// before the first request; then a Mux is safe for concurrent use.
type Mux struct{ routes []route }

type route struct {
	method   string
	segments []string
	handler  http.HandlerFunc
}

// Handle registers h for method and pattern, for example
// "/things/{thingName}/principals". A last segment "{topic+}" takes the whole
// rest of the path with its slashes. A fixed segment wins over a label, and a
// label over a greedy one.
func (m *Mux) Handle(method, pattern string, h http.HandlerFunc) {
	m.routes = append(m.routes, route{method, segments(pattern), h})
}

// Find returns the handler for r and sets its labels on r. Without one it
// returns nil and the methods under which the path exists, sorted.
func (m *Mux) Find(r *http.Request) (h http.HandlerFunc, allowed []string) {
	path := segments(r.URL.EscapedPath())
	var best *route
	for i := range m.routes {
		c := &m.routes[i]
		if !c.matches(path) {
			continue
		}
		if c.method != r.Method {
			allowed = append(allowed, c.method)
		} else if best == nil || c.closer(best) {
			best = c
		}
	}
	if best == nil {
		slices.Sort(allowed)
		return nil, slices.Compact(allowed)
	}
	if !best.setLabels(r) {
		return nil, nil
	}
	return best.handler, nil
}

// NoOperation refuses r, for which Find found no handler; service is whose
// operation it would be, allowed what Find returned.
func NoOperation(service string, r *http.Request, allowed []string) *Error {
	if len(allowed) > 0 {
		return Errorf(http.StatusMethodNotAllowed, "MethodNotAllowedException", "%s is not possible on this path, only %v", r.Method, allowed)
	}
	return Errorf(http.StatusNotImplemented, "NotImplementedException", "the %s does not offer %s %.128q here", service, r.Method, r.URL.EscapedPath())
}

// segments cuts a path at its slashes; a trailing slash is ignored.
func segments(path string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
}

func isLabel(s string) bool  { return strings.HasPrefix(s, "{") }
func isGreedy(s string) bool { return strings.HasSuffix(s, "+}") }

func (c *route) matches(path []string) bool {
	for i, s := range c.segments {
		switch {
		case i >= len(path):
			return false
		case isGreedy(s):
			return path[i] != ""
		case isLabel(s):
			if path[i] == "" {
				return false
			}
		case s != path[i]:
			return false
		}
	}
	return len(path) == len(c.segments)
}

// closer says whether c matches more exactly than d, both matching one path.
func (c *route) closer(d *route) bool {
	for i := range min(len(c.segments), len(d.segments)) {
		if a, b := rank(c.segments[i]), rank(d.segments[i]); a != b {
			return a < b
		}
	}
	return len(c.segments) > len(d.segments)
}

func rank(segment string) int {
	switch {
	case isGreedy(segment):
		return 2
	case isLabel(segment):
		return 1
	}
	return 0
}

// setLabels unescapes the labels into r; false when one is not well escaped.
// A greedy label keeps a trailing slash: it may be part of a topic.
func (c *route) setLabels(r *http.Request) bool {
	rest := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	for _, s := range c.segments {
		raw := rest
		if !isGreedy(s) {
			raw, rest, _ = strings.Cut(rest, "/")
		}
		if !isLabel(s) {
			continue
		}
		value, err := url.PathUnescape(raw)
		if err != nil {
			return false
		}
		r.SetPathValue(strings.Trim(s, "{+}"), value)
	}
	return true
}
