//go:build gateway

package main

// kind says in the version which build this is.
const kind = "gateway only, "

// cli is the command line of the gateway-only build (make gateway).
type cli struct {
	carryVerbs
	toolVerbs
}
