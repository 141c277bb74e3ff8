package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDamageIsNamed damages the files of a cloud, one at a time: mote verify
// names what is damaged and ends with status 1, mote cloud says what to do.
func TestDamageIsNamed(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	h := startHost(t, whole, "up")
	for i := range 40 {
		if err := h.put(fmt.Sprint("first", i), 20<<10); err != nil {
			t.Fatal(err)
		}
	}
	wantStop(t, h.process)
	h = startHost(t, whole, "cloud") // brings the log into a file of its own
	for i := range 40 {
		if err := h.put(fmt.Sprint("later", i), 20<<10); err != nil {
			t.Fatal(err)
		}
	}
	h.kill()
	const advice = "restore the last good backup"
	for _, c := range []struct {
		name   string
		file   string // the last one with such a name is damaged
		damage func(t *testing.T, path string) error
		says   string // by mote verify; with %s: the file
		starts bool   // mote cloud
	}{
		{"a flipped byte in a table file", "*.sst", flip(5000), "the file %s of the store is damaged", true},
		{"a table file that is gone", "*.sst", remove, "a file of the store", false},
		{"a flipped byte in the log", "*.log", flip(9000), "a log of the store", false},
		{"a log that a crash has cut off", "*.log", cutOff, "", true},
		{"a flipped byte in the list of files", "MANIFEST-*", flip(30), "the file %s of the store is damaged at byte", false},
		{"a list of files that is gone", "MANIFEST-*", remove, "lacks its file %s", false},
		{"a marker that is gone", "marker.manifest.*", remove, "no marker that names its MANIFEST", false},
		{"a store that is gone", "", remove, "the store is missing", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if out, err := exec.Command("cp", "-a", whole, data).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			files, err := filepath.Glob(filepath.Join(data, "store", c.file))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			file := slices.Max(files)
			if err := c.damage(t, file); err != nil {
				t.Fatal(err)
			}
			out, status := verify(t, data)
			says := strings.ReplaceAll(c.says, "%s", filepath.Base(file))
			if c.says == "" && (status != 0 || !strings.Contains(out, "nothing is wrong")) || c.says != "" && (status != 1 || !strings.Contains(out, says) || !strings.Contains(out, advice)) {
				t.Errorf("mote verify: status %d, want %q: %s", status, says, out)
			}
			if c.starts {
				return
			}
			cloud := exec.Command(binary, append([]string{"cloud", "--data", data}, freePorts...)...)
			text, err := cloud.CombinedOutput()
			if code := cloud.ProcessState.ExitCode(); err == nil || code != 1 || !strings.Contains(string(text), advice) {
				t.Errorf("mote cloud: status %d: %s", code, text)
			}
		})
	}
}

// verify runs mote verify and returns what it says, and its status.
func verify(t *testing.T, data string) (out string, status int) {
	t.Helper()
	text, err := exec.Command(binary, "verify", "--data", data).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return string(text), status
}

func flip(at int) func(t *testing.T, path string) error {
	return func(t *testing.T, path string) error {
		data, err := os.ReadFile(path)
		if err != nil || len(data) <= at {
			return fmt.Errorf("%s has %d bytes: %w", path, len(data), err)
		}
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x10
		return os.WriteFile(path, damaged, 0o600)
	}
}

func remove(_ *testing.T, path string) error { return os.RemoveAll(path) }

func cutOff(_ *testing.T, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()-9)
}
