package rest

import (
	"fmt"
	"strings"
	"testing"
)

func TestMatching(t *testing.T) {
	root := &node{}
	for _, r := range []string{"GET /", "GET /a", "GET /a/{x}", "POST /a/b", "GET /{y}/b", "ANY /{z+}", "GET /a/{x}/c"} {
		method, path, _ := strings.Cut(r, " ")
		ok(t, root.add(&endpoint{path: path, method: &Method{HTTPMethod: method}}))
	}
	for request, want := range map[string]string{
		"GET /":       "/ []",
		"GET /a":      "/a []",
		"GET /a/":     "/a []",
		"GET /a/q":    "/a/{x} [q]",
		"GET /a/b":    "/a/{x} [b]",
		"POST /a/b":   "/a/b []",
		"PUT /a/b":    "/{z+} [a/b]",
		"GET /q/b":    "/{y}/b [q]",
		"GET /a/b/c":  "/a/{x}/c [b]",
		"GET /a/b/d":  "/{z+} [a/b/d]",
		"GET /A":      "/{z+} [A]",
		"TRACE /a/b":  "none",
		"GET /a/%2F":  "/a/{x} [/]",
		"GET /a//c":   "/{z+} [a//c]",
		"GET /a/%zzz": "malformed",
	} {
		method, path, _ := strings.Cut(request, " ")
		_, parts, wellFormed := cutStage("/prod" + path)
		got := "malformed"
		if wellFormed {
			got = "none"
			if ep, values := root.find(method, parts, nil); ep != nil {
				got = fmt.Sprint(ep.path, " ", values)
				if len(values) == 0 {
					got = ep.path + " []"
				}
				if len(values) != len(ep.labels) {
					t.Errorf("%s: values %v for labels %v", request, values, ep.labels)
				}
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

func FuzzMatching(f *testing.F) {
	f.Add("GET", "/prod/a/b", "/a/{x}\n/{z+}")
	f.Add("POST", "//%2f/", "/\n/{a}/{b}\n/{a}/c")
	f.Fuzz(func(t *testing.T, method, path, routes string) {
		root := &node{}
		for route := range strings.SplitSeq(routes, "\n") {
			_ = root.add(&endpoint{path: route, method: &Method{HTTPMethod: "ANY"}})
		}
		_, parts, wellFormed := cutStage(path)
		if !wellFormed {
			return
		}
		if ep, values := root.find(method, parts, nil); ep != nil && len(values) != len(ep.labels) {
			t.Errorf("%q on %q: values %q for labels %q", path, ep.path, values, ep.labels)
		}
	})
}
