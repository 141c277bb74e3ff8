// Package bluetooth tries boards over Bluetooth with the kernel's own stack: in
// a virtual machine, since that needs modules and rights that a test does not
// have, with emulated controllers, since it needs no hardware then.
//
// [mote/test/bluetooth/guest] is what runs inside, [mote/test/bluetooth/radio]
// the controllers.
package bluetooth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// modules in the order of loading; what of them a kernel has built in is not
// among its files.
var modules = []string{"crc16", "ecc", "rfkill", "ecdh_generic", "bluetooth", "rfcomm", "hci_vhci"}

// programs of this machine that the guest runs too.
var programs = []string{"/usr/bin/dbus-daemon", "/usr/libexec/bluetooth/bluetoothd"}

// limit is far above what a run takes; without it a machine that hangs would
// hold the tests up forever.
const limit = 150 * time.Second

// passed is QEMU's exit status when the guest has written 0 to its exit port.
// A kernel that panics ends with 0, a failed test with 3.
const passed = 1

func TestRealKernel(t *testing.T) {
	qemu, kernel := needMachine(t)
	dir := t.TempDir()
	guest := filepath.Join(dir, "guest.test")
	build := exec.Command("go", "test", "-c", "-o", guest, "mote/test/bluetooth/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	image := filepath.Join(dir, "initramfs.cpio")
	if err := os.WriteFile(image, initramfs(t, guest, kernel), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := boot(t, qemu, filepath.Join(kernel, "vmlinuz"), image)
	t.Logf("%s", out)
	if status != passed {
		t.Errorf("the machine ended with status %d (%s); 1 is a pass", status, meaning(status))
	}
	for _, name := range guestTests(t) {
		if !strings.Contains(out, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass", name)
		}
	}
}

func meaning(status int) string {
	switch status {
	case 0:
		return "its kernel panicked"
	case 3:
		return "a test failed"
	}
	return "it hung, or QEMU failed"
}

// needMachine finds what test/install-tools installs. Without it the test is
// skipped, and says what was not tried.
func needMachine(t *testing.T) (qemu, kernel string) {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("BLUETOOTH IS NOT TESTED: there is no qemu-system-x86_64 (Debian package qemu-system-x86); run test/install-tools bluetooth as root")
	}
	kernel = filepath.Join("..", "..", ".cache", "linux")
	if _, err := os.Stat(filepath.Join(kernel, "vmlinuz")); err != nil {
		t.Skipf("BLUETOOTH IS NOT TESTED: there is no kernel for the virtual machine (%v); run test/install-tools bluetooth", err)
	}
	for _, p := range programs {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("BLUETOOTH IS NOT TESTED: %v (Debian packages bluez and dbus-daemon); run test/install-tools bluetooth as root", err)
		}
	}
	return qemu, kernel
}

var testName = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(t \*testing\.T\)`)

// guestTests are the tests that the guest must have passed, by its sources.
func guestTests(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("guest/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) < 10 {
		t.Fatalf("found only the tests %v in the guest", names)
	}
	return names
}

// initramfs is the guest's file system: its first process and the modules.
func initramfs(t *testing.T, guest, kernel string) []byte {
	t.Helper()
	var a archive
	a.dir("dev")
	a.device("dev/console", 5, 1)
	a.dir("modules")
	a.file("init", read(t, guest), 0o755)
	daemons(t, &a)
	found := 0
	for i, m := range modules {
		data, err := os.ReadFile(filepath.Join(kernel, m+".ko"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		a.file(fmt.Sprintf("modules/%d-%s.ko", i, m), data, 0o644)
		found++
	}
	if found < 4 {
		t.Fatalf("%s has only %d of the modules %v; remove it and run test/install-tools again", kernel, found, modules)
	}
	return a.end()
}

// daemons adds BlueZ's bluetoothd and a bus for it, with the libraries that
// this machine's have.
func daemons(t *testing.T, a *archive) {
	t.Helper()
	out, err := exec.Command("ldd", programs...).Output()
	if err != nil {
		t.Fatalf("ldd %v: %v; run test/install-tools bluetooth", programs, err)
	}
	files := slices.Clone(programs)
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
			files = append(files, word)
		}
	}
	slices.Sort(files)
	made := map[string]bool{}
	for _, f := range slices.Compact(files) {
		for i, c := range f {
			if dir := f[:i]; c == '/' && i > 0 && !made[dir] {
				made[dir] = true
				a.dir(dir[1:])
			}
		}
		a.file(f[1:], read(t, f), 0o755)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// boot runs the machine to its end and returns what it printed and its status.
func boot(t *testing.T, qemu, kernel, image string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, "-machine", "pc", "-accel", "tcg", "-cpu", "qemu64", "-smp", "1", "-m", "192",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernel, "-initrd", image,
		// A kernel that goes on after an oops would read as a pass.
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off cryptomgr.notests -- -test.v -test.timeout=120s")
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return printed.String(), cmd.ProcessState.ExitCode()
}
