package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set at release: -ldflags "-X main.version=1.2.3".
var version = ""

type versionCmd struct{}

// Run prints the version, the Go release and the platform.
func (versionCmd) Run(s *session) error {
	_, err := fmt.Fprintf(s.stdout, "mote %s (%s%s, %s/%s)\n", programVersion(), kind, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// programVersion is the release, or what Go knows of the source.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version
}
