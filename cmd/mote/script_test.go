package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the sessions in testdata run the command in processes of its
// own, under the name mote.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mote": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestSessions runs whole command sessions, one .txtar file each.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}
