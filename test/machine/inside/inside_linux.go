package inside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

// exitPort is QEMU's isa-debug-exit: a byte b written there ends the machine
// with the status 2b+1.
const exitPort = 0xf4

// Main is the guest's TestMain. It calls before, which may be nil, before each
// module with its name. Anywhere else than in the machine it runs the tests,
// which then skip themselves with [Need].
func Main(m *testing.M, before func(module string)) {
	if !here() {
		os.Exit(m.Run())
	}
	// Whatever goes wrong here ends the first process, and with it the machine,
	// with a status that is not that of a pass.
	if err := boot(before); err != nil {
		fmt.Println("boot:", err)
		powerOff(1)
	}
	powerOff(m.Run())
}

// here says whether this is the machine: the test program is its first process,
// or was told by the one that is.
func here() bool { return os.Getpid() == 1 || os.Getenv("MOTE_MACHINE") != "" }

// Need skips a test that is not in the machine, and says how it gets there.
func Need(t *testing.T, command string) {
	t.Helper()
	if !here() {
		t.Skip("runs in a virtual machine: " + command)
	}
}

// turn is what the name of a module's file begins with.
var turn = regexp.MustCompile(`^\d+-(.*)\.ko$`)

func boot(before func(module string)) error {
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if os.Getpid() != 1 {
			break // its first process has done that
		}
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	modules, err := filepath.Glob("/modules/*.ko") // sorted
	if err != nil {
		return err
	}
	for _, file := range modules {
		if name := turn.FindStringSubmatch(filepath.Base(file)); before != nil && name != nil {
			before(name[1])
		}
		if err := load(file); err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

func powerOff(code int) {
	if code != 0 {
		code = 1
	}
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1) // what was printed is out first
	f, err := os.OpenFile("/dev/port", os.O_WRONLY, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = f.WriteAt([]byte{byte(code)}, exitPort)
	fmt.Println("the machine did not end:", err)
}
