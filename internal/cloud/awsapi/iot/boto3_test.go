package iot

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBoto3 runs the session testdata/groups.py with Debian's boto3.
func TestBoto3(t *testing.T) {
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("no boto3 is installed")
	}
	srv, _, _ := newServer(t, t.TempDir())
	out, err := exec.Command(python, "testdata/groups.py", srv.URL).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%v\n%s", err, out)
	}
}
