package main

import (
	"io"
	"strings"
	"syscall"
	"testing"
)

func TestFilesAreForThisUserAlone(t *testing.T) {
	old := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(old) })
	if code := run(t.Context(), []string{"version"}, strings.NewReader(""), io.Discard, io.Discard); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	if mask := syscall.Umask(0o077); mask != 0o077 {
		t.Errorf("umask %03o, want 077", mask)
	}
}
