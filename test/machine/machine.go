// Package machine runs tests in a virtual machine whose kernel is not this
// machine's: with modules, rights and a network that a test does not have here.
// QEMU emulates it, without acceleration.
//
// The tests are those of another package, the guest; its test program is the
// machine's first process, see [mote/test/machine/inside]. Only tests import it.
package machine

import (
	"bytes"
	"cmp"
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

// Guest is a machine and the tests that it runs.
type Guest struct {
	What     string            // is not tested without the machine, in capitals
	Modules  []string          // of the kernel, in the order of loading
	Programs []string          // of this machine that the guest runs too, with their libraries
	Files    map[string]string // further files, by where they are in the guest: where they are here
	Texts    map[string]string // further files: what they say
	Memory   int               // MB

	// First is the first process, when it is not the test program itself but
	// starts that, /init, with MOTE_MACHINE=1 in the environment; and Kernel are
	// words for it.
	First, Kernel string
	Serial        string        // socket to which the machine's second serial port connects; "" for none
	Limit         time.Duration // default five minutes
}

// defaultLimit is far above what a run takes; without it a machine that hangs
// would hold the tests up forever.
const defaultLimit = 5 * time.Minute

// passed is QEMU's exit status when the guest has written 0 to its exit port.
// A kernel that panics ends with 0, a failed test with 3.
const passed = 1

// Run runs all tests of the package in the folder guest, each of which must
// pass. Without what test/install-tools installs the test is skipped.
func (g Guest) Run(t *testing.T) {
	t.Helper()
	qemu, kernel := g.need(t)
	dir := t.TempDir()
	guest := filepath.Join(dir, "guest.test")
	build := exec.Command("go", "test", "-c", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	image := filepath.Join(dir, "initramfs.cpio")
	if err := os.WriteFile(image, g.initramfs(t, guest, kernel), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := g.boot(t, qemu, filepath.Join(kernel, "vmlinuz"), image)
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

// Slow skips a test whose machine takes minutes, unless MOTE_TEST_MACHINES is
// set, as make machines does. What is as in [Guest].
func Slow(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MOTE_TEST_MACHINES") == "" {
		t.Skipf("%s NOT TESTED: an emulated machine takes minutes; make machines runs it", what)
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

// need finds what test/install-tools installs. Without it the test is skipped,
// and says what was not tried.
func (g Guest) need(t *testing.T) (qemu, kernel string) {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skipf("%s NOT TESTED: there is no qemu-system-x86_64 (Debian package qemu-system-x86); run test/install-tools machine as root", g.What)
	}
	kernel = filepath.Join("..", "..", ".cache", "linux")
	if _, err := os.Stat(filepath.Join(kernel, "vmlinuz")); err != nil {
		t.Skipf("%s NOT TESTED: there is no kernel for the virtual machine (%v); run test/install-tools machine", g.What, err)
	}
	for _, p := range g.Programs {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("%s NOT TESTED: %v; run test/install-tools machine as root", g.What, err)
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
		for _, m := range testName.FindAllSubmatch(read(t, f), -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) == 0 {
		t.Fatal("found no tests in the guest")
	}
	return names
}

// initramfs is the guest's file system: its first process, the modules and the
// programs.
func (g Guest) initramfs(t *testing.T, guest, kernel string) []byte {
	t.Helper()
	a := archive{made: map[string]bool{}}
	a.layOut()
	a.dir("dev")
	a.device("dev/console", 5, 1)
	a.file("init", read(t, guest), 0o755)
	g.modules(t, &a, kernel)
	for at, here := range g.Files {
		a.fileWithDirs(at, read(t, here), 0o755)
	}
	for at, text := range g.Texts {
		a.fileWithDirs(at, []byte(text), 0o644)
	}
	for _, f := range g.withLibraries(t) {
		a.fileWithDirs(f, read(t, f), 0o755)
	}
	return a.end()
}

// modules adds the kernel's modules; what of them a kernel has built in is not
// among its files.
func (g Guest) modules(t *testing.T, a *archive, kernel string) {
	t.Helper()
	found := 0
	for i, m := range g.Modules {
		data, err := os.ReadFile(filepath.Join(kernel, m+".ko"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		a.fileWithDirs(fmt.Sprintf("/modules/%d-%s.ko", i, m), data, 0o644)
		found++
	}
	if found < (len(g.Modules)+1)/2 {
		t.Fatalf("%s has only %d of the modules %v; remove it and run test/install-tools again", kernel, found, g.Modules)
	}
}

// withLibraries are the programs and the libraries that this machine's have.
func (g Guest) withLibraries(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("ldd", g.Programs...).Output()
	if err != nil {
		t.Fatalf("ldd %v: %v; run test/install-tools machine", g.Programs, err)
	}
	files := slices.Clone(g.Programs)
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
			files = append(files, word)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
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
func (g Guest) boot(t *testing.T, qemu, kernel, image string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(g.Limit, defaultLimit))
	defer cancel()
	words := "-- -test.v -test.timeout=270s"
	if g.First != "" {
		words = "rdinit=" + g.First + " " + g.Kernel
	}
	args := []string{"-machine", "pc", "-accel", "tcg", "-cpu", "qemu64", "-smp", "1", "-m", fmt.Sprint(g.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernel, "-initrd", image,
		// A kernel that goes on after an oops would read as a pass.
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off cryptomgr.notests " + words}
	if g.Serial != "" {
		args = append(args, "-chardev", "socket,id=second,path="+g.Serial, "-serial", "chardev:second")
	}
	cmd := exec.CommandContext(ctx, qemu, args...)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return printed.String(), cmd.ProcessState.ExitCode()
}
