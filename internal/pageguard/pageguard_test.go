package pageguard

import (
	"net/http"
	"testing"
)

func TestHostName(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "LocalHost.:8080": "localhost", "[::1]:80": "::1", "[::1]": "::1", "::1": "::1",
		"Evil.Example:80": "evil.example", "127.0.0.1:1": "127.0.0.1", "": "", ":80": "", "a:b:c": "a:b:c",
	} {
		if got := HostName(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestSetHeaders(t *testing.T) {
	h := http.Header{}
	SetHeaders(h, "default-src 'none'")
	if h.Get("Content-Security-Policy") != "default-src 'none'" || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Error(h)
	}
}

func FuzzHostName(f *testing.F) {
	for _, s := range []string{"localhost:8080", "[::1]:80", "[", "]:", "a.b.:x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if name := HostName(host); len(name) > 4*len(host) {
			t.Errorf("%q became %q", host, name)
		}
	})
}
