// Package pageguard has what keeps a page that mote serves, and what the page may
// do, from the other pages that its visitors' browsers have open. It leaves to
// who serves the page which host names it answers to.
package pageguard

import (
	"net"
	"net/http"
	"strings"
)

// SetHeaders has browsers keep to policy, a Content-Security-Policy (W3C Content
// Security Policy Level 3), neither guess types nor show the page in another
// one's frame, and give nothing of it to other origins.
func SetHeaders(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// HostName is the name in a Host header, without port and brackets, in lower
// case. Another site can have its own name point here, but not change that name.
func HostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
