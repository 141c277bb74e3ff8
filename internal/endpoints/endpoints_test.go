package endpoints

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestTheDataDirectoryOfAnotherUserIsNamed(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may read all: this thread, which ends with the test, is another user's
		runtime.LockOSThread()
		t.Cleanup(func() { _ = syscall.Setfsuid(0) })
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
	}
	want := data + " belongs to another user"
	if err := Access(data); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Read(data); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWhatIsNotThereHasNoOtherUser(t *testing.T) {
	data := filepath.Join(t.TempDir(), "none")
	if err := Access(data); err != nil {
		t.Error(err)
	}
	if _, err := Read(data); err == nil || !strings.Contains(err.Error(), "no cloud is running") {
		t.Errorf("got %v", err)
	}
}
