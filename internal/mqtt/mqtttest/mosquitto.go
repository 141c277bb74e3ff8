// Package mqtttest gives tests a real MQTT server, Eclipse Mosquitto, and the
// certificates for mutual TLS. Only tests import it.
package mqtttest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mote/internal/watch"
)

// Mosquitto is a running server on a free loopback port.
type Mosquitto struct {
	Addr string

	t      testing.TB
	config string
	binary string
	log    *watch.Log

	mu      sync.Mutex
	process *os.Process   // guarded by mu; nil when there is none
	ended   chan struct{} // guarded by mu; closed when process has ended
}

// Start starts the server with more lines for its configuration file; with
// certs it asks for TLS with a client certificate. It keeps its state over
// Stop and Start. The test is skipped when Mosquitto is not installed, and
// fails instead when CI=true is set.
func Start(t testing.TB, certs *Certs, lines ...string) *Mosquitto {
	t.Helper()
	binary, err := exec.LookPath("mosquitto")
	if err != nil {
		binary = "/usr/sbin/mosquitto"
		_, err = os.Stat(binary)
	}
	if err != nil {
		const text = "mosquitto is not installed: apt-get install mosquitto"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	m := &Mosquitto{t: t, binary: binary, log: &watch.Log{}}
	dir := t.TempDir()
	t.Cleanup(m.Kill) // before dir goes
	for range 5 {     // another program may take the port first
		m.configure(dir, certs, lines)
		if m.start() == nil {
			return m
		}
	}
	t.Fatalf("mosquitto does not start:\n%s", m.log)
	return nil
}

// StartSecured starts a server that asks for a login. The user gateway may read
// sensors/# only; its password is in a file. The user board may publish there.
func StartSecured(t testing.TB, certs *Certs) (m *Mosquitto, passwordFile string) {
	t.Helper()
	dir := t.TempDir()
	users, acl, passwordFile := filepath.Join(dir, "users"), filepath.Join(dir, "acl"), filepath.Join(dir, "password")
	for _, args := range [][]string{{"-c", users, "gateway", "secret"}, {users, "board", "other"}} {
		if out, err := exec.Command("mosquitto_passwd", append([]string{"-b"}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("mosquitto_passwd: %v %s", err, out)
		}
	}
	for file, text := range map[string]string{acl: "user gateway\ntopic read sensors/#\nuser board\ntopic write sensors/#\n", passwordFile: "secret\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Start(t, certs, "allow_anonymous false", "password_file "+users, "acl_file "+acl), passwordFile
}

func (m *Mosquitto) configure(dir string, certs *Certs, lines []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.Addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(m.Addr)
	all := []string{
		"user root", "log_dest stderr", "log_type all", "max_queued_messages 0",
		"persistence true", "persistence_location " + dir + "/", "autosave_interval 0",
		"listener " + port + " 127.0.0.1", "allow_anonymous true",
	}
	if certs != nil {
		all = append(all, "cafile "+certs.CAFile, "certfile "+certs.ServerCertFile, "keyfile "+certs.ServerKeyFile, "require_certificate true")
	}
	m.config = filepath.Join(dir, "mosquitto.conf")
	text := strings.Join(append(all, lines...), "\n") + "\n"
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// start starts the process and waits until it takes connections, which it says:
// somebody who answers on the port may be another program.
func (m *Mosquitto) start() error {
	cmd := exec.Command(m.binary, "-c", m.config)
	cmd.Stderr = m.log
	before, ended := m.runs(), make(chan struct{})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // signal waits for it
		defer close(ended)
		_ = cmd.Wait()
	}()
	m.mu.Lock()
	m.process, m.ended = cmd.Process, ended
	m.mu.Unlock()
	for end := time.Now().Add(patience); m.runs() == before; {
		select {
		case <-ended:
			m.Kill()
			return fmt.Errorf("it ended instead of listening on %s", m.Addr)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			m.Kill()
			return fmt.Errorf("it does not listen on %s after %v", m.Addr, patience)
		}
	}
	return nil
}

// runs is how often it has said that it listens.
func (m *Mosquitto) runs() int { return strings.Count(m.Log(), " running\n") }

// Start starts it again on the same port after Stop or Kill.
func (m *Mosquitto) Start() {
	m.t.Helper()
	if err := m.start(); err != nil {
		m.t.Fatalf("mosquitto: %v\n%s", err, m.log)
	}
}

// Stop ends it in order, so that it keeps its sessions and queued messages.
func (m *Mosquitto) Stop() { m.signal(syscall.SIGTERM) }

// Kill ends it at once.
func (m *Mosquitto) Kill() { m.signal(syscall.SIGKILL) }

// patience is how long the server may take to begin and to end.
const patience = watch.Patience

func (m *Mosquitto) signal(s os.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for end := time.Now().Add(patience); m.process != nil; {
		if time.Now().After(end) {
			s = syscall.SIGKILL
		}
		m.process.Signal(s) // again and again: it may miss one
		select {
		case <-m.ended:
			m.process = nil
		case <-time.After(time.Second):
		}
	}
}

// Log returns what the server has logged.
func (m *Mosquitto) Log() string { return m.log.String() }
