package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	unit, err := filepath.Abs("mote.service")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("UNIT", unit)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "systemd" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat("/run/systemd/system")
			return err == nil, nil
		},
	})
}
