//go:build gateway

package main

// kind says in the version which build this is.
const kind = "gateway only, "

// hostVerbs and cloudVerbs are left out of the gateway-only build.
type (
	hostVerbs  struct{}
	cloudVerbs struct{}
)
