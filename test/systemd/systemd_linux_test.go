// Package systemd tries the gateway as a service where it will live: in a
// virtual machine whose first process is systemd, with Debian's package
// installed by dpkg. The machine's programs are those of this one.
//
// [mote/test/systemd/guest] is what runs inside.
package systemd

import (
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mote/test/machine"
)

// programs are systemd's, dpkg's, and what the scripts of packages call.
var programs = []string{
	"/lib/systemd/systemd", "/lib/systemd/systemd-journald", "/lib/systemd/systemd-shutdown", "/lib/systemd/systemd-executor",
	"/usr/bin/systemctl", "/usr/bin/journalctl",
	"/usr/bin/dpkg", "/usr/bin/dpkg-deb", "/usr/bin/dpkg-split", "/usr/bin/dpkg-query", "/usr/bin/tar", "/usr/sbin/start-stop-daemon", "/sbin/ldconfig",
	"/usr/bin/sh", "/usr/bin/diff", "/usr/bin/find", "/usr/bin/grep", "/usr/bin/tr", "/usr/bin/paste", "/usr/bin/cut", "/usr/bin/mkdir", "/usr/bin/chown", "/usr/bin/rm", "/usr/bin/rmdir", "/usr/bin/kill",
	"/usr/sbin/useradd", "/usr/sbin/userdel", "/usr/sbin/nologin",
}

// units are systemd's own that the machine has; all others are missing there,
// and what wants them goes without.
var units = []string{"*.target", "systemd-journald*.service", "systemd-journald*.socket", "modprobe@.service"}

// what is not tested without the machine.
const what = "THE SERVICE UNDER SYSTEMD IS"

func TestServiceUnderSystemd(t *testing.T) {
	machine.Slow(t, what)
	for _, p := range []string{"/lib/systemd/systemd", "/usr/bin/dpkg", "/usr/sbin/useradd"} {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("THE SERVICE UNDER SYSTEMD IS NOT TESTED: %v; run test/install-tools as root", err)
		}
	}
	guest := machine.Guest{
		What:    what,
		Modules: []string{"crc16", "ecc", "rfkill", "ecdh_generic", "bluetooth", "rfcomm", "hci_vhci"},
		Files:   map[string]string{"/mote.deb": debianPackage(t)}, Texts: maps.Clone(texts),
		Memory: 768, Limit: 10 * time.Minute, Serial: board(t),
		First: "/lib/systemd/systemd", Kernel: "systemd.unit=guest.target systemd.show_status=0",
	}
	for _, p := range programs {
		if _, err := os.Stat(p); err == nil { // some are of some versions only
			guest.Programs = append(guest.Programs, p)
		}
	}
	for _, pattern := range units {
		found, err := filepath.Glob("/lib/systemd/system/" + pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("there is no unit %s: %v", pattern, err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			guest.Texts[path] = string(text)
		}
	}
	guest.Run(t)
}

// texts are the rest of the machine. The guest's service is the only thing that
// is started.
var texts = map[string]string{
	"/etc/passwd":                       "root:x:0:0::/root:/bin/sh\n",
	"/etc/shadow":                       "root:*:1:0:99999:7:::\n",
	"/etc/group":                        "root:x:0:\ntty:x:5:\ndialout:x:20:\n",
	"/etc/gshadow":                      "root:*::\ntty:*::\ndialout:*::\n",
	"/etc/login.defs":                   "SYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\n",
	"/etc/hostname":                     "roof\n",
	"/etc/machine-id":                   "5e2b0d1c7a934f64a1f0c3d2b4a69788\n",
	"/etc/os-release":                   "ID=debian\nPRETTY_NAME=\"Debian\"\n",
	"/etc/nsswitch.conf":                "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
	"/etc/hosts":                        "127.0.0.1 localhost\n",
	"/var/lib/dpkg/status":              "Package: passwd\nStatus: install ok installed\nPriority: required\nSection: admin\nMaintainer: none <none@localhost>\nArchitecture: amd64\nVersion: 1\nDescription: users and groups\n\n",
	"/var/lib/dpkg/info/passwd.list":    "/.\n",
	"/var/lib/dpkg/info/format":         "1\n",
	"/var/lib/dpkg/updates/.keep":       "",
	"/var/lib/dpkg/triggers/.keep":      "",
	"/etc/systemd/system/guest.target":  "[Unit]\nRequires=basic.target systemd-journald.service guest.service\n# systemd forgets how a service ended that nobody refers to.\nAfter=basic.target mote.service\nAllowIsolate=yes\n",
	"/etc/systemd/system/guest.service": "[Unit]\nAfter=basic.target\n[Service]\nEnvironment=MOTE_MACHINE=1\nExecStart=/init -test.v -test.timeout=500s\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n",
}

// debianPackage builds the package of this machine's kind, not packed: the machine is slow.
func debianPackage(t *testing.T) (path string) {
	t.Helper()
	out := t.TempDir()
	build := exec.Command("packaging/deb", "amd64")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "OUT="+out, "VERSION=1.2.3", "DPKG_DEB_COMPRESSOR_TYPE=none")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return filepath.Join(out, "mote_1.2.3_amd64.deb")
}

// board is a board at the other end of the machine's second serial port, which
// is connected to the socket that it returns. It sends a frame twice a second.
func board(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "board")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // while nobody reads there
			if _, err := conn.Write([]byte("{serial:35.2:21.5:40:1}")); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}()
	return socket
}
