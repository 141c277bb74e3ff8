package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"mote/internal/edge/source/rfcomm"
)

// exitPort is QEMU's isa-debug-exit: a byte b written there ends the machine
// with the status 2b+1.
const exitPort = 0xf4

func TestMain(m *testing.M) {
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	// Whatever goes wrong here ends the first process, and with it the machine,
	// with a status that is not that of a pass.
	if err := boot(); err != nil {
		fmt.Println("boot:", err)
		powerOff(1)
	}
	powerOff(m.Run())
}

// before are the errors of a dial before the modules that it needs were there.
var before = map[string]error{}

func boot() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	modules, err := filepath.Glob("/modules/*.ko") // their names begin with their turns
	if err != nil {
		return err
	}
	dialBefore("bluetooth")
	for _, name := range modules {
		if filepath.Base(name) == "5-rfcomm.ko" {
			dialBefore("rfcomm")
		}
		if err := load(name); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

func dialBefore(module string) {
	s, err := rfcomm.New(rfcomm.Options{Address: "00:18:E4:00:00:01"})
	if err == nil {
		_, err = s.Dial(context.Background())
	}
	before[module] = err
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
