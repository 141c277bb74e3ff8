package console

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	"mote/internal/pageguard"
)

// policy lets the page load only what this origin serves as files, and lets no
// script make markup from text (W3C Content Security Policy Level 3, Trusted
// Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// admit says why r may not see the console, nil when it may.
func admit(r *http.Request) error {
	if ip := remoteIP(r); !isLoopback(ip) {
		return fmt.Errorf("the console is only for the machine that it runs on, and this request comes from %s: "+
			"open it there, or forward the port with ssh -L", clip(ip, maxText))
	}
	if name := pageguard.HostName(r.Host); name != "localhost" && !isLoopback(name) {
		return fmt.Errorf("the console does not answer to the host name %q: open it as http://localhost or http://127.0.0.1, with its port", clip(name, maxText))
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" && strings.HasPrefix(r.URL.Path, "/console/") {
		return fmt.Errorf("the console does not answer requests that another site's page makes")
	}
	return nil
}

// remoteIP is the address of the client without its port.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// clip cuts a stranger's text to n bytes at most, at a whole character, and
// makes it valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
