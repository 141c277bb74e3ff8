package tabletest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"mote/internal/watch"
)

// Dynalite is npm's dynalite, a DynamoDB server that others wrote, as a process
// of its own.
type Dynalite struct {
	URL string

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// StartDynalite starts dynalite on a free port of this machine; it ends with the
// test. dir keeps its tables, so that they outlive the process; "": they are in
// memory. Without node or dynalite the test is skipped.
func StartDynalite(t testing.TB, dir string) *Dynalite {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed, so there is no dynalite: test/install-tools installs both")
	}
	cli := filepath.Join(root(t), ".cache", "dynalite", "node_modules", "dynalite", "cli.js")
	if _, err := os.Stat(cli); err != nil {
		t.Skip("dynalite is not installed: test/install-tools installs it")
	}
	port := freePort(t)
	d := &Dynalite{t: t, URL: "http://127.0.0.1:" + port, args: []string{
		node, cli, "--host", "127.0.0.1", "--port", port, "--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0",
	}}
	if dir != "" {
		d.args = append(d.args, "--path", dir)
	}
	t.Cleanup(d.Kill)
	d.Start()
	return d
}

// root is the repository's directory.
func root(t testing.TB) string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no go.mod above the working directory: %v", err)
	return ""
}

// freePort is one that stays free while dynalite is dead: it is below those that
// the kernel gives away.
func freePort(t testing.TB) string {
	for {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return port
	}
}

// Start starts the process again after Kill, on the same port, and waits until
// it answers.
func (d *Dynalite) Start() {
	d.t.Helper()
	d.cmd, d.done = exec.Command(d.args[0], d.args[1:]...), make(chan struct{})
	d.cmd.Stderr = os.Stderr
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(done)
	}(d.cmd, d.done)
	watch.Until(d.t, "dynalite answers", func() bool { return d.ping() == nil })
}

func (d *Dynalite) ping() error {
	select {
	case <-d.done:
		d.t.Fatalf("dynalite ended: %v", d.cmd.ProcessState)
	default:
	}
	resp, err := http.Get(d.URL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// Kill is kill -9.
func (d *Dynalite) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.done
}
