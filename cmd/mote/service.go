package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"mote/internal/config"
)

// serviceUnit is the unit of the Debian package, word for word; the paths in it
// are the package's.
//
//go:embed mote.service
var serviceUnit string

const (
	serviceName   = "mote.service"
	serviceUser   = "mote" // User= of the unit
	serviceState  = "/var/lib/mote"
	packagedUnit  = "/usr/lib/systemd/system/" + serviceName
	serviceConfig = "/etc/mote/mote.toml"
)

// serviceCmd keeps the gateway running by way of systemd.
type serviceCmd struct {
	Install   serviceInstallCmd   `cmd:"" help:"Make the gateway a service, start it now and at every boot."`
	Uninstall serviceUninstallCmd `cmd:"" help:"Stop the service and remove it; configuration and readings stay."`
	Status    serviceStatusCmd    `cmd:"" help:"Print how the service is, with its last log lines."`
}

// serviceFlags choose the manager: the system's, or that of the user.
type serviceFlags struct {
	User bool `help:"A service of your own, without root and with less protection."`
}

type serviceInstallCmd struct {
	serviceFlags
	Config  string `help:"Configuration file; by default /etc/mote/mote.toml, with --user ~/.config/mote/mote.toml." type:"path" placeholder:"FILE" short:"c"`
	Program string `help:"Program that the service runs; by default this one." type:"path" placeholder:"FILE"`
	DryRun  bool   `help:"Print the unit, and change nothing."`
}

// Run writes the unit and starts the service.
func (c serviceInstallCmd) Run(s *session) error {
	if err := c.complete(); err != nil {
		return err
	}
	if err := c.visible(); err != nil {
		return usageError{err}
	}
	unit := c.unit()
	if c.DryRun {
		_, err := io.WriteString(s.stdout, unit)
		return err
	}
	if err := c.manager(); err != nil {
		return err
	}
	if err := c.tryConfig(s); err != nil {
		return err
	}
	if err := c.write(s, unit); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", serviceName}, {"restart", serviceName}} {
		if err := c.systemctl(s, args...); err != nil {
			return err
		}
	}
	hint := "it starts at every boot; its log: journalctl -u mote"
	if c.User {
		hint = "its log: journalctl --user -u mote; so that it runs while you are not logged in: loginctl enable-linger"
	}
	_, err := fmt.Fprintf(s.stdout, "mote gateway runs with %s\n%s\n", c.Config, hint)
	return err
}

// complete fills in what the command line left out.
func (c *serviceInstallCmd) complete() (err error) {
	if c.Program == "" {
		if c.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	if c.Config == "" {
		c.Config = serviceConfig
		if c.User {
			dir, err := os.UserConfigDir()
			if err != nil {
				return err
			}
			c.Config = filepath.Join(dir, "mote", "mote.toml")
		}
	}
	if c.Program, err = filepath.Abs(c.Program); err != nil {
		return err
	}
	c.Config, err = filepath.Abs(c.Config)
	return err
}

// plainPath are the paths that mean themselves in a unit, see "Quoting" in
// systemd.syntax(7) and "Specifiers" in systemd.unit(5).
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+@:=,~-]+$`)

// visible checks that the service will see its files: ProtectHome and
// PrivateTmp hide some directories.
func (c *serviceInstallCmd) visible() error {
	for _, path := range []string{c.Program, c.Config} {
		if !plainPath.MatchString(path) {
			return fmt.Errorf("%s: systemd reads some of these characters in its own way: move it to a path of letters, digits, / . _ + -", path)
		}
	}
	if c.User {
		return nil
	}
	if dir := hidden(c.Program); dir != "" {
		return fmt.Errorf("the service cannot see %s, because it has no access to %s: copy the program first (sudo install -m 755 %s /usr/local/bin/mote) and call that one, or use --user", c.Program, dir, c.Program)
	}
	if dir := hidden(c.Config); dir != "" {
		return fmt.Errorf("the service cannot see %s, because it has no access to %s: move the configuration and the files that it names to /etc/mote, or use --user", c.Config, dir)
	}
	return nil
}

// hidden returns the directory that hides path from the service, or "".
func hidden(path string) string {
	for _, dir := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"} {
		if strings.HasPrefix(path, dir+"/") {
			return dir
		}
	}
	return ""
}

// unit is the unit with this program and configuration; that of a user without
// what only the system's manager can do.
func (c *serviceInstallCmd) unit() string {
	text := strings.Replace(serviceUnit, "ExecStart=/usr/bin/mote gateway --config "+serviceConfig, "ExecStart="+c.Program+" gateway --config "+c.Config, 1)
	if !c.User {
		return text
	}
	before, after, _ := strings.Cut(text, "\n# What only the system's own manager can do.\n")
	_, install, _ := strings.Cut(after, "\n[Install]\n")
	text = before + "\n[Install]\n" + strings.Replace(install, "multi-user.target", "default.target", 1)
	return userlessTargets.ReplaceAllString(text, "")
}

// userlessTargets are units that a user's manager does not have.
var userlessTargets = regexp.MustCompile(`(?m)^(Wants|After)=.*\n`)

// manager checks that there is a systemd to talk to, and the right to.
func (f serviceFlags) manager() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // see sd_booted(3)
		return errors.New("systemd does not run on this machine: let its own init run mote gateway --config FILE; --dry-run prints the unit")
	}
	if !f.User && os.Geteuid() != 0 {
		return errors.New("only root can change the system's services: run it with sudo, or with --user for a service of your own")
	}
	return nil
}

// tryConfig checks the configuration as the service will read it: as its user,
// with the files that it names.
func (c *serviceInstallCmd) tryConfig(s *session) error {
	file, err := config.Load(c.Config)
	if err != nil {
		return usageError{err}
	}
	check := exec.CommandContext(s.ctx, c.Program, "gateway", "--check", "--config", c.Config)
	whom, hint := "you", "correct it"
	if !c.User {
		if err := c.reaches(file); err != nil {
			return err
		}
		as, err := serviceAccount(s)
		if err != nil {
			return err
		}
		check.SysProcAttr, check.Dir = &syscall.SysProcAttr{Credential: as}, "/"
		whom, hint = "the user "+serviceUser, "correct it; sudo chown "+serviceUser+" FILE lets the service read a key"
	}
	if out, err := check.CombinedOutput(); err != nil {
		return usagef("what the service would meet, as %s: %s\nhint: %s, then install again", whom, strings.TrimSpace(string(out)), hint)
	}
	return nil
}

// reaches refuses a configuration whose files the sandbox of the service keeps
// from it.
func (c *serviceInstallCmd) reaches(file *config.File) error {
	for _, path := range filesOf(file) {
		if dir := hidden(path); dir != "" {
			return usagef("%s names %s, and the service has no access to %s: move the file to /etc/mote or %s, or use --user", c.Config, path, dir, serviceState)
		}
	}
	if file.Gateway != nil && !writable(file.Gateway.Spool.Dir) {
		return usagef("%s: the service can write below %s only, not to %s: set dir = %q in [gateway.spool]", c.Config, serviceState, file.Gateway.Spool.Dir, serviceState+"/spool")
	}
	u := file.Uplink.IoT
	if u == nil || u.Renew.Template == "" {
		return nil
	}
	for _, path := range []string{u.Cert, u.Key} {
		if !writable(filepath.Dir(path)) {
			return usagef("%s: the service can write below %s only, and could not replace %s when it renews the certificate: move certificate and key to %s", c.Config, serviceState, path, serviceState)
		}
	}
	return nil
}

// writable says whether the service may write in a directory.
func writable(dir string) bool { return strings.HasPrefix(dir+"/", serviceState+"/") }

// filesOf are the files that a configuration names.
func filesOf(file *config.File) (paths []string) {
	for _, s := range file.Sources {
		paths = append(paths, s.CA, s.Cert, s.Key, s.PasswordFile)
	}
	if u := file.Uplink.IoT; u != nil {
		paths = append(paths, u.CA, u.Cert, u.Key)
	}
	if u := file.Uplink.REST; u != nil {
		paths = append(paths, u.CA, u.APIKeyFile, u.Credentials.CA, u.Credentials.Cert, u.Credentials.Key)
	}
	if u := file.Uplink.DynamoDB; u != nil {
		paths = append(paths, u.CA, u.Credentials.CA, u.Credentials.Cert, u.Credentials.Key)
	}
	return paths
}

// serviceAccount finds the user of the service, and makes it where there is none.
func serviceAccount(s *session) (*syscall.Credential, error) {
	u, err := user.Lookup(serviceUser)
	if errors.As(err, new(user.UnknownUserError)) {
		args := []string{"--system", "--home-dir", serviceState, "--shell", "/usr/sbin/nologin", "--user-group"}
		if groups := deviceGroups(); groups != "" {
			args = append(args, "--groups", groups)
		}
		if err := tell(s, "useradd", append(args, serviceUser)...); err != nil {
			return nil, err
		}
		u, err = user.Lookup(serviceUser)
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// deviceGroups are the groups of this machine that may open serial ports and
// speak to bluetoothd, separated by commas.
func deviceGroups() string {
	var there []string
	for _, name := range []string{"dialout", "bluetooth"} {
		if _, err := user.LookupGroup(name); err == nil {
			there = append(there, name)
		}
	}
	return strings.Join(there, ",")
}

// path is where an administrator's units lie, see systemd.unit(5).
func (f serviceFlags) path() (string, error) {
	if !f.User {
		return "/etc/systemd/system/" + serviceName, nil
	}
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "systemd", "user", serviceName), err
}

// write puts the unit where systemd finds it. The package's own is used when it
// says the same: one of before that hides it goes.
func (f serviceFlags) write(s *session, unit string) error {
	path, err := f.path()
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(packagedUnit); err == nil && !f.User && string(text) == unit {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, []byte(unit), 0o644); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(next, 0o644), os.Rename(next, path)); err != nil { // the umask has taken the others' right to read
		return err
	}
	_, err = fmt.Fprintln(s.stdout, "wrote", path)
	return err
}

func (f serviceFlags) systemctl(s *session, args ...string) error {
	if f.User {
		args = append([]string{"--user"}, args...)
	}
	return tell(s, "systemctl", args...)
}

// tell runs a program of the system's; its output is the user's to read.
func tell(s *session, name string, args ...string) error {
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

type serviceUninstallCmd struct {
	serviceFlags
	DryRun bool `help:"Print what would be removed, and change nothing."`
}

// Run stops the service and removes its unit.
func (c serviceUninstallCmd) Run(s *session) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		if _, packaged := os.Stat(packagedUnit); packaged == nil && !c.User {
			return errors.New("the service is the package's: systemctl disable --now mote stops it, apt remove mote removes it")
		}
		return fmt.Errorf("no service is installed: %w", err)
	}
	if c.DryRun {
		_, err := fmt.Fprintf(s.stdout, "would stop and disable %s and remove %s\n", serviceName, path)
		return err
	}
	if err := c.manager(); err != nil {
		return err
	}
	if err := c.systemctl(s, "disable", "--now", serviceName); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := c.systemctl(s, "daemon-reload"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "removed %s; configuration and readings are where they were\n", path)
	return err
}

type serviceStatusCmd struct{ serviceFlags }

// Run prints what systemd knows; status 1 when the service does not run.
func (c serviceStatusCmd) Run(s *session) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return errors.New("systemd does not run on this machine: it has no services")
	}
	err := c.systemctl(s, "status", "--no-pager", "--lines=10", serviceName)
	if errors.As(err, new(*exec.ExitError)) { // it has said why
		return exitStatus(1)
	}
	return err
}
