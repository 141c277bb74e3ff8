package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// managerSocket is what systemd listens on. take waits for the next message
// that has line.
type managerSocket struct {
	*net.UnixConn
	t *testing.T
}

func listenAsManager(t *testing.T) (*managerSocket, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &managerSocket{conn, t}, path
}

func (m *managerSocket) take(line string) string {
	m.t.Helper()
	_ = m.SetReadDeadline(time.Now().Add(10 * patience * time.Second))
	buf := make([]byte, 4096)
	for {
		n, err := m.Read(buf)
		if err != nil {
			m.t.Fatalf("no %s: %v", line, err)
		}
		text := string(buf[:n])
		if strings.HasPrefix(text, line) {
			return text
		}
	}
}

func TestSystemdIsToldHowTheGatewayIs(t *testing.T) {
	manager, path := listenAsManager(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "600000")
	conf := filepath.Join(t.TempDir(), "mote.toml")
	text := fmt.Sprintf("[gateway]\nname = \"roof\"\n[[source]]\ntcp = %q\n[uplink.rest]\nurl = \"http://127.0.0.1:9/x\"\n", freeAddr(t))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "gateway", "--config", conf)
	manager.take("READY=1")
	manager.take("STATUS=0 of 1 source open")
	for range 3 {
		manager.take("WATCHDOG=1")
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := manager.take("RELOADING=1"); !strings.Contains(got, "\nMONOTONIC_USEC=") {
		t.Errorf("RELOADING=1 came as %q", got)
	}
	manager.take("READY=1")
	manager.take("WATCHDOG=1")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	manager.take("STOPPING=1")
	<-p.done
	if p.err != nil {
		t.Errorf("it ended with %v", p.err)
	}
}

// command runs a program in dir and returns all it printed.
func command(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// buildPackage builds the package of this machine's kind, packed quickly.
func buildPackage(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	t.Setenv("OUT", out)
	t.Setenv("VERSION", "1.2.3")
	t.Setenv("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
	t.Setenv("DPKG_DEB_COMPRESSOR_LEVEL", "1")
	command(t, "..", "packaging/deb", "amd64")
	return filepath.Join(out, "mote_1.2.3_amd64.deb")
}

// debianRoot is a directory with as much of Debian as dpkg asks for.
func debianRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"var/lib/dpkg/status": "", "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/shadow": "root:*:1:0:99999:7:::\n",
		"etc/group": "root:x:0:\ndialout:x:20:\n", "etc/gshadow": "root:*::\ndialout:*::\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestThePackageIsInstalledRunsAndGoes(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("THE PACKAGE IS NOT TESTED: no dpkg-deb here")
	}
	deb := buildPackage(t)
	if info := command(t, "", "dpkg-deb", "--info", deb); !strings.Contains(info, "Version: 1.2.3") || !strings.Contains(info, "conffiles") || strings.Contains(info, "warning") {
		t.Errorf("dpkg-deb --info:\n%s", info)
	}
	contents := command(t, "", "dpkg-deb", "--contents", deb)
	for _, want := range []string{"-rwxr-xr-x root/root", "./usr/bin/mote\n", "./usr/lib/systemd/system/mote.service\n", "./etc/mote/mote.toml\n", "./usr/share/doc/mote/copyright\n"} {
		if !strings.Contains(contents, want) {
			t.Errorf("%q is not in\n%s", want, contents)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("THE PACKAGE IS NOT INSTALLED: only root can do that")
	}
	installAndPurge(t, deb)
}

func installAndPurge(t *testing.T, deb string) {
	root := debianRoot(t)
	dpkg := func(args ...string) string {
		t.Helper()
		return command(t, "", "dpkg", append([]string{"--root=" + root, "--log=/dev/null", "--force-script-chrootless", "--force-depends"}, args...)...)
	}
	if out := dpkg("--install", deb); !strings.Contains(out, "edit /etc/mote/mote.toml") {
		t.Errorf("the installation does not say what comes next:\n%s", out)
	}
	users, _ := os.ReadFile(filepath.Join(root, "etc/passwd"))
	groups, _ := os.ReadFile(filepath.Join(root, "etc/group"))
	if !strings.Contains(string(users), "\nmote:") || !strings.Contains(string(users), ":/var/lib/mote:/usr/sbin/nologin\n") || !strings.Contains(string(groups), "dialout:x:20:mote\n") {
		t.Errorf("users:\n%sgroups:\n%s", users, groups)
	}
	tryInstalled(t, root)

	dpkg("--remove", "mote")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/mote")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program after the removal: %v", err)
	}
	for _, kept := range []string{"etc/mote/mote.toml", "var/lib/mote"} {
		if _, err := os.Stat(filepath.Join(root, kept)); err != nil {
			t.Errorf("the removal took what is the user's: %v", err)
		}
	}
	dpkg("--purge", "mote")
	for _, gone := range []string{"etc/mote", "var/lib/mote"} {
		if _, err := os.Stat(filepath.Join(root, gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after the purge: %v", gone, err)
		}
	}
	if users, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || strings.Contains(string(users), "mote") {
		t.Errorf("users after the purge: %s, %v", users, err)
	}
}

// tryInstalled runs the program, and tries the configuration as it is shipped
// and as its comments say to change it.
func tryInstalled(t *testing.T, root string) {
	t.Helper()
	mote, conf := filepath.Join(root, "usr/bin/mote"), filepath.Join(root, "etc/mote/mote.toml")
	if out := command(t, "", mote, "version"); !strings.HasPrefix(out, "mote 1.2.3 (") {
		t.Errorf("version: %s", out)
	}
	if out, err := exec.Command(mote, "gateway", "--check", "--config", conf).CombinedOutput(); err == nil || !strings.Contains(string(out), "there is no [gateway]") {
		t.Errorf("the configuration as shipped: %v, %s", err, out)
	}
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	head, example, found := strings.Cut(string(text), "\n#[gateway]")
	example, _, cut := strings.Cut(example, "#[uplink.iot]") // it needs a certificate
	if !found || !cut {
		t.Fatalf("the example is\n%s", text)
	}
	edited := head + "\n[gateway]" + strings.ReplaceAll(example, "\n#", "\n") + "[uplink.rest]\nurl = \"https://example.com/prod/dust\"\n"
	if err := os.WriteFile(conf, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := command(t, "", mote, "gateway", "--check", "--config", conf); !strings.Contains(out, "is good: 1 source, 1 uplink") {
		t.Errorf("the configuration as edited: %s", out)
	}
}

func TestSystemdTakesTheUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("THE UNIT IS NOT TESTED: no systemd-analyze here")
	}
	for _, user := range []bool{false, true} {
		args := []string{"service", "install", "--dry-run", "--program", "/usr/bin/mote", "--config", "/etc/mote/mote.toml"}
		if user {
			args = append(args, "--user")
		}
		unit, err := exec.Command(binary, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "mote.service")
		here := strings.Replace(string(unit), "ExecStart=/usr/bin/mote ", "ExecStart="+binary+" ", 1)
		if err := os.WriteFile(path, []byte(here), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := command(t, "", "systemd-analyze", "verify", "--man=no", path); strings.Contains(out, "mote.service") {
			t.Errorf("systemd-analyze verify:\n%s", out)
		}
	}
}

// What install and uninstall do on a machine with systemd, as far as that goes
// without one.
func TestTheServiceIsInstalledAndGoes(t *testing.T) {
	if err := exec.Command("unshare", "--mount", "mount", "--make-rprivate", "/").Run(); err != nil {
		t.Skip("THE SERVICE IS NOT INSTALLED: only root, where it may mount, can do that")
	}
	out := command(t, "", "unshare", "--mount", "sh", "testdata/service.sh", binary, t.TempDir())
	for _, want := range []string{
		`the service can write below /var/lib/mote only, not to /etc/mote/spool: set dir = "/var/lib/mote/spool" in [gateway.spool]`,
		"as the user mote: mote: /etc/mote/mote.toml:8: cannot read the API key",
		"sudo chown mote FILE lets the service read a key",
		"names /home/key, and the service has no access to /home: move the file to /etc/mote or /var/lib/mote",
		"systemctl daemon-reload\nsystemctl enable mote.service\nsystemctl restart mote.service\nmote gateway runs with /etc/mote/mote.toml\n",
		"644 root\nExecStart=/usr/local/bin/mote gateway --config /etc/mote/mote.toml\n",
		"systemctl status --no-pager --lines=10 mote.service\n",
		"systemctl disable --now mote.service\nsystemctl daemon-reload\nremoved /etc/systemd/system/mote.service",
		"no service is installed",
	} {
		_, rest, found := strings.Cut(out, want)
		if !found {
			t.Fatalf("%q does not come next in\n%s", want, out)
		}
		out = rest
	}
}
