package policy

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator compares a key's value with one value of the policy (IAM user
// guide, "IAM JSON policy elements: Condition operators").
type operator struct {
	negated bool // true when no value of the policy fits
	wild    bool // "*" and "?" in the policy's values are wildcards
	match   func(have string, want operand) bool
	check   func(want string) error // refuses a value when the document is made; may be nil
}

// operand is a value of the policy with its variables put in.
type operand struct {
	text  string
	parts []part  // of a pattern
	m     matcher // of a pattern
}

func newOperand(parts []part, wild bool) operand {
	if wild {
		return operand{parts: parts, m: compileParts(parts)}
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.text)
	}
	return operand{text: b.String()}
}

var operators = map[string]operator{
	"StringEquals":              {match: equal},
	"StringNotEquals":           {match: equal, negated: true},
	"StringEqualsIgnoreCase":    {match: equalFold},
	"StringNotEqualsIgnoreCase": {match: equalFold, negated: true},
	"StringLike":                {match: like, wild: true},
	"StringNotLike":             {match: like, wild: true, negated: true},
	"Bool":                      {match: equalFold, check: checkBool},
	"IpAddress":                 {match: inNetwork, check: checkNetwork},
	"NotIpAddress":              {match: inNetwork, check: checkNetwork, negated: true},
	"NumericEquals":             numeric(func(c int) bool { return c == 0 }),
	"NumericNotEquals":          negated(numeric(func(c int) bool { return c == 0 })),
	"NumericLessThan":           numeric(func(c int) bool { return c < 0 }),
	"NumericLessThanEquals":     numeric(func(c int) bool { return c <= 0 }),
	"NumericGreaterThan":        numeric(func(c int) bool { return c > 0 }),
	"NumericGreaterThanEquals":  numeric(func(c int) bool { return c >= 0 }),
	"DateEquals":                date(func(c int) bool { return c == 0 }),
	"DateNotEquals":             negated(date(func(c int) bool { return c == 0 })),
	"DateLessThan":              date(func(c int) bool { return c < 0 }),
	"DateLessThanEquals":        date(func(c int) bool { return c <= 0 }),
	"DateGreaterThan":           date(func(c int) bool { return c > 0 }),
	"DateGreaterThanEquals":     date(func(c int) bool { return c >= 0 }),
	"ArnEquals":                 {match: arnLike, wild: true},
	"ArnLike":                   {match: arnLike, wild: true},
	"ArnNotEquals":              {match: arnLike, wild: true, negated: true},
	"ArnNotLike":                {match: arnLike, wild: true, negated: true},
}

func negated(o operator) operator { o.negated = true; return o }

func equal(have string, want operand) bool     { return have == want.text }
func equalFold(have string, want operand) bool { return strings.EqualFold(have, want.text) }
func like(have string, want operand) bool      { return want.m.match(have) }

func checkBool(s string) error {
	if !strings.EqualFold(s, "true") && !strings.EqualFold(s, "false") {
		return fmt.Errorf("%q must be true or false", s)
	}
	return nil
}

func inNetwork(have string, want operand) bool {
	ip, err := netip.ParseAddr(have)
	network, err2 := parseNetwork(want.text)
	return err == nil && err2 == nil && network.Contains(ip.Unmap().WithZone(""))
}

// parseNetwork reads an address or a network in CIDR form.
func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a network such as 192.0.2.0/24", s)
	}
	ip = ip.Unmap()
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

func checkNetwork(s string) error { _, err := parseNetwork(s); return err }

func numeric(ok func(cmp int) bool) operator {
	return operator{
		check: func(s string) error { _, err := parseNumber(s); return err },
		match: func(have string, want operand) bool {
			a, err := parseNumber(have)
			b, err2 := parseNumber(want.text)
			return err == nil && err2 == nil && ok(compare(a, b))
		},
	}
}

// parseNumber reads a decimal number; not what only Go takes for one.
func parseNumber(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(s, "xX_pP") {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return f, nil
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func date(ok func(cmp int) bool) operator {
	return operator{
		check: func(s string) error { _, err := parseDate(s); return err },
		match: func(have string, want operand) bool {
			a, err := parseDate(have)
			b, err2 := parseDate(want.text)
			return err == nil && err2 == nil && ok(a.Compare(b))
		},
	}
}

// dateForms are the ISO 8601 forms that IAM takes (W3C note "Date and Time
// Formats").
var dateForms = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"}

// epochFrom is the smallest number that is seconds since 1970, not a year.
const epochFrom = 10000

func parseDate(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && (n >= epochFrom || n < 0) {
		return time.Unix(n, 0), nil
	}
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date: write it like 2026-11-22T10:15:30Z, or as seconds since 1970", s)
}

// arnLike compares the six parts of two ARNs one by one, so that a wildcard
// does not reach over a colon except in the last part.
func arnLike(have string, want operand) bool {
	fields := strings.SplitN(have, ":", 6)
	patterns := splitARN(want.parts)
	if len(fields) != 6 || len(patterns) != 6 {
		return false
	}
	for i, p := range patterns {
		m := compileParts(p)
		if !m.match(fields[i]) {
			return false
		}
	}
	return true
}

// splitARN cuts a pattern at its first five colons.
func splitARN(parts []part) [][]part {
	out := [][]part{nil}
	for _, p := range parts {
		for p.kind == literal && len(out) < 6 {
			before, after, ok := strings.Cut(p.text, ":")
			if !ok {
				break
			}
			out[len(out)-1] = append(out[len(out)-1], part{text: before})
			out = append(out, nil)
			p.text = after
		}
		out[len(out)-1] = append(out[len(out)-1], p)
	}
	return out
}
