package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mote/test/machine/inside"
)

const (
	conf   = "/etc/mote/mote.toml"
	own    = "/etc/systemd/system/mote.service"
	dropIn = "/etc/systemd/system/mote.service.d"
)

// station is the machine with a gateway, its boards and its server.
type station struct {
	server  server
	uplink  string // URL
	sources map[string]string
}

// configure writes the configuration with those sources.
func (s *station) configure(t *testing.T, ids ...string) {
	t.Helper()
	text := "[gateway]\nname = \"roof\"\nlisten = \"127.0.0.1:9101\"\n[gateway.spool]\ndir = \"/var/lib/mote/spool\"\n[uplink.rest]\nurl = \"" + s.uplink + "\"\n"
	for _, id := range ids {
		text += "[[source]]\n" + s.sources[id] + "\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestService installs the package, and has systemd run the gateway, end it in
// every way, and lose it.
func TestService(t *testing.T) {
	inside.Need(t, "make machines")
	if err := errors.Join(os.Chown("/dev/ttyS1", 0, 20), os.Chmod("/dev/ttyS1", 0o660)); err != nil { // as udev does
		t.Fatal(err)
	}
	s := &station{server: server{boards: map[string]int{}}}
	l := listen(t)
	board(t, l, "tcp")
	s.sources = map[string]string{
		"serial": `serial = "/dev/ttyS1"`,
		"tcp":    fmt.Sprintf("tcp = %q", l.Addr()),
		"radio":  fmt.Sprintf("bluetooth = %q", radioBoard(t, "radio")),
	}
	s.uplink = "http://" + s.server.begin(t) + "/prod/dust"
	for _, step := range []struct {
		name string
		try  func(*testing.T)
	}{
		{"package", packageIsInstalled}, {"install", s.isInstalled}, {"sandbox", s.isConfined}, {"frozen", s.isThawed}, {"killed", s.comesBack},
		{"reload", s.isReloaded}, {"upgrade", s.isUpgraded}, {"stop", s.isStopped}, {"own program", s.ownProgram}, {"purge", s.isPurged},
	} {
		if !t.Run(step.name, step.try) {
			t.FailNow() // the others begin where it ends
		}
	}
}

func packageIsInstalled(t *testing.T) {
	if out := run(t, "dpkg", "--install", "/mote.deb"); !strings.Contains(out, "edit /etc/mote/mote.toml") {
		t.Errorf("the installation does not say what comes next:\n%s", out)
	}
	if is := strings.TrimSpace(try("systemctl", "is-enabled", "mote")); !strings.HasPrefix(is, "disabled") {
		t.Errorf("after the installation the service is %s", is)
	}
	if is := property("ActiveState"); is != "inactive" {
		t.Errorf("after the installation the service is %s", is)
	}
}

// isInstalled starts the service, with shorter times than the unit's: those of
// a test.
func (s *station) isInstalled(t *testing.T) {
	if err := errors.Join(os.MkdirAll(dropIn, 0o755), os.WriteFile(filepath.Join(dropIn, "test.conf"), []byte("[Service]\nWatchdogSec=20\nRestartSec=1\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s.configure(t, "serial", "tcp", "radio")
	run(t, "mote", "service", "install")
	if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("beside the package's unit there is another: %v", err)
	}
	for name, want := range map[string]string{"ActiveState": "active", "SubState": "running", "Type": "notify", "UnitFileState": "enabled", "NRestarts": "0", "WatchdogUSec": "20s"} {
		if got := property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	s.server.more(t, "serial", "tcp", "radio")
	statusIs(t, "3 of 3 sources open, 1 of 1 uplink connected, nothing waits")
	if out := run(t, "mote", "service", "status"); !strings.Contains(out, `Status: "3 of 3 sources open`) || !strings.Contains(out, "active (running)") {
		t.Errorf("mote service status:\n%s", out)
	}
}

func statusIs(t *testing.T, want string) {
	t.Helper()
	until(t, "the status "+want, func() bool { return property("StatusText") == want })
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(property("MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("the service has no process: %v", err)
	}
	return pid
}

// isConfined looks at what the running gateway may still do.
func (s *station) isConfined(t *testing.T) {
	pid := mainPID(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("%q is not in\n%s", want, status)
		}
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	if info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Error("it runs as root")
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" / / ro,", " /var/lib/mote rw,", " /tmp rw,"} {
		if !strings.Contains(string(mounts), want) {
			t.Errorf("%q is not among its mounts:\n%s", want, mounts)
		}
	}
}

// isThawed freezes the gateway: the watchdog ends it, and it is started again.
func (s *station) isThawed(t *testing.T) {
	s.restarts(t, syscall.SIGSTOP)
	log := run(t, "journalctl", "--no-pager", "--output=short-monotonic", "--unit=mote")
	t.Log(log)
	if !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("the log says nothing of the watchdog:\n%s", log)
	}
}

func (s *station) comesBack(t *testing.T) { s.restarts(t, syscall.SIGKILL) }

// restarts sends a signal that ends the gateway sooner or later, and waits for
// the next one, which reads all boards and delivers.
func (s *station) restarts(t *testing.T, signal syscall.Signal) {
	t.Helper()
	pid, before, began := mainPID(t), property("NRestarts"), time.Now()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
	until(t, "a restart", func() bool { return property("NRestarts") != before && property("ActiveState") == "active" })
	if mainPID(t) == pid {
		t.Error("it is the same process")
	}
	t.Logf("it runs again after %v", time.Since(began).Round(time.Millisecond))
	s.server.more(t, "serial", "tcp", "radio")
}

func (s *station) isReloaded(t *testing.T) {
	pid := mainPID(t)
	s.configure(t, "serial", "radio")
	run(t, "systemctl", "reload", "mote")
	statusIs(t, "2 of 2 sources open, 1 of 1 uplink connected, nothing waits")
	if now := mainPID(t); now != pid {
		t.Errorf("after a reload it is another process: %d, %d before", now, pid)
	}
	s.server.more(t, "serial", "radio")
}

// isUpgraded installs the package over itself.
func (s *station) isUpgraded(t *testing.T) {
	pid := mainPID(t)
	if out := run(t, "dpkg", "--force-confold", "--install", "/mote.deb"); strings.Contains(out, "edit /etc/mote/mote.toml") {
		t.Errorf("an upgrade talks as the first installation:\n%s", out)
	}
	until(t, "the service after the upgrade", func() bool { return property("ActiveState") == "active" })
	if mainPID(t) == pid {
		t.Error("the upgrade did not restart it")
	}
	s.server.more(t, "serial", "radio")
}

func (s *station) isStopped(t *testing.T) {
	run(t, "systemctl", "stop", "mote")
	for name, want := range map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0"} { // 1 is CLD_EXITED
		if got := property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if out := try("mote", "service", "status"); !strings.Contains(out, "inactive (dead)") || !strings.HasSuffix(out, "exit status 1") {
		t.Errorf("mote service status of a stopped service:\n%s", out)
	}
	run(t, "systemctl", "start", "mote")
	s.server.more(t, "serial", "radio")
}

// ownProgram installs a service beside the package's, which comes back when it
// is removed, and when it is installed again.
func (s *station) ownProgram(t *testing.T) {
	const program = "/usr/local/bin/mote"
	data, err := os.ReadFile("/usr/bin/mote")
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(program), 0o755), os.WriteFile(program, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{program, "/usr/bin/mote", program} {
		run(t, p, "service", "install")
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", mainPID(t))); exe != p {
			t.Errorf("the service of %s runs %s: %v", p, exe, err)
		}
	}
	s.server.more(t, "serial", "radio")
	run(t, program, "service", "uninstall")
	if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) || property("ActiveState") != "inactive" || !strings.HasSuffix(property("FragmentPath"), "/lib/systemd/system/mote.service") {
		t.Errorf("after uninstall: %v; %s, %s", err, property("ActiveState"), property("FragmentPath"))
	}
	if out := try("mote", "service", "uninstall"); !strings.Contains(out, "the service is the package's") {
		t.Errorf("uninstall of the package's service: %s", out)
	}
	run(t, "mote", "service", "install")
}

// isPurged removes the package of a running service, and then all.
func (s *station) isPurged(t *testing.T) {
	pid := mainPID(t)
	run(t, "dpkg", "--remove", "mote")
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the gateway runs without its package: %v", err)
	}
	for _, path := range []string{conf, "/var/lib/mote/spool"} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the removal took what is the user's: %v", err)
		}
	}
	run(t, "dpkg", "--purge", "mote")
	if err := os.RemoveAll(dropIn); err != nil { // ours
		t.Fatal(err)
	}
	left, err := filepath.Glob("/etc/systemd/system/*/mote*")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, path := range []string{"/var/lib/mote", "/etc/mote", own, "/usr/lib/systemd/system/mote.service"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left: %s, %v", path, err)
		}
	}
	if users, err := os.ReadFile("/etc/passwd"); err != nil || strings.Contains(string(users), "mote") {
		t.Errorf("left: %s, %v", users, err)
	}
	if is := property("LoadState"); is != "not-found" {
		t.Errorf("the unit is %s after the purge", is)
	}
}
