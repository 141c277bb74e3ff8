package destination

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// target is a URL as destinations are compared: its origin, and the segments of
// its path, unescaped.
type target struct {
	scheme, host, port string
	segments           []string
}

// parseTarget reads the URL of a destination or of an action. The error is an
// *InvalidError that repeats nothing of a URL that holds a password.
func parseTarget(raw string) (target, error) {
	if len(raw) > maxURL {
		return target{}, invalid("the URL has %d bytes, the limit is %d", len(raw), maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return target{}, invalid("not a URL: %v", err)
	}
	switch {
	case u.User != nil:
		return target{}, invalid("the URL holds a user name or password: it must not")
	case u.Scheme != "http" && u.Scheme != "https":
		return target{}, invalid("the URL %.100q is not an http or https URL", raw)
	case u.Hostname() == "":
		return target{}, invalid("the URL %.100q names no host", raw)
	case u.Fragment != "" || u.RawFragment != "":
		return target{}, invalid("the URL %.100q has a fragment, which is not sent", raw)
	case strings.Contains(raw, "${"):
		return target{}, invalid("the URL %.100q holds a template: it must be the same for every message", raw)
	}
	t := target{scheme: u.Scheme, host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port: u.Port()}
	if t.port == "" {
		t.port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	path := strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if path == "" {
		return t, nil
	}
	for part := range strings.SplitSeq(path, "/") {
		s, err := url.PathUnescape(part)
		if err != nil {
			return target{}, invalid("not a URL: %v", err)
		}
		// What a server makes of these is not what stands there.
		if s == "." || s == ".." || strings.ContainsAny(s, "/\\\x00") {
			return target{}, invalid("the path of the URL %.100q has the segment %.40q: write the path that is meant", raw, s)
		}
		t.segments = append(t.segments, s)
	}
	return t, nil
}

// covers says whether o is at or below t: the same origin, and t's path up to
// the end of a segment.
func (t target) covers(o target) bool {
	if t.scheme != o.scheme || t.host != o.host || t.port != o.port || len(o.segments) < len(t.segments) {
		return false
	}
	for i, s := range t.segments {
		if o.segments[i] != s {
			return false
		}
	}
	return true
}

// Allow says whether a rule's action may send to a URL, whose templates are
// already replaced: nil, or what has to be done first. The URL must be at or
// below the confirmation URL of an enabled destination, or be trusted.
func (d *Destinations) Allow(raw string) error {
	t, err := parseTarget(raw)
	if err != nil {
		return err
	}
	if err := d.reachable(t.host); err != nil {
		return err
	}
	if d.opt.Trust == TrustAll || d.opt.Trust == TrustLoopback && isLoopback(t.host) {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var near *Destination
	for id, r := range d.all {
		if r.URL == "" || !r.target.covers(t) {
			continue
		}
		v := d.view(id, r)
		if v.Status == Enabled {
			return nil
		}
		near = &v
	}
	origin := t.scheme + "://" + net.JoinHostPort(t.host, t.port)
	if near != nil {
		why := ""
		if near.Reason != "" {
			why = " (" + near.Reason + ")"
		}
		return fmt.Errorf("the destination %s, which covers %.100s, is %s%s: confirm it, or set its status with update-topic-rule-destination", near.ARN, origin, near.Status, why)
	}
	return fmt.Errorf("no enabled destination covers %.100s and the path of the action's URL: create one with create-topic-rule-destination and confirm it, or set trust in [cloud] of mote.toml", origin)
}

// isLoopback says whether a host is this machine by its very name: an address,
// or localhost. A name that a resolver has to be asked for is not, and Go's asks for
// those below localhost.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// metadata is where clouds hand out credentials to whoever asks, besides the
// link-local addresses (Amazon EC2 user guide, "Access instance metadata").
var metadata = netip.MustParseAddr("fd00:ec2::254")

// reachable refuses hosts that are link-local addresses.
func (d *Destinations) reachable(host string) error {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil // a name: DialControl sees what it stands for
	}
	return d.reachableAddr(a)
}

func (d *Destinations) reachableAddr(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if !a.IsLinkLocalUnicast() && a != metadata {
		return nil
	}
	return invalid("%s is a link-local or metadata address, which nothing is sent to: it may hand out the credentials of this machine", a)
}

// DialControl refuses connections to link-local addresses, whatever name they
// were found under. It is for net.Dialer.ControlContext of whoever sends to
// allowed URLs.
func (d *Destinations) DialControl(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return d.reachableAddr(ap.Addr())
}
