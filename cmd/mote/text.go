package main

import (
	"strings"
	"unicode"
)

// printable keeps terminal control characters and tabs out of a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func firstSet(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
