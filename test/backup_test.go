package test

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// load writes rows from several clients until it is stopped.
type load struct {
	mu    sync.Mutex
	acked map[string]bool // guarded by mu
	quit  chan struct{}
	done  sync.WaitGroup
	stop  func() // once is enough, and the end of the test stops it too
}

func (h *host) startLoad(clients int) *load {
	l := &load{acked: map[string]bool{}, quit: make(chan struct{})}
	l.stop = sync.OnceFunc(func() { close(l.quit); l.done.Wait() })
	h.t.Cleanup(l.stop)
	for c := range clients {
		l.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.quit:
					return
				default:
				}
				id := fmt.Sprintf("load%d-%d", c, i)
				if h.put(id, 500) == nil {
					l.mu.Lock()
					l.acked[id] = true
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *load) soFar() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked)
}

func TestABackupUnderLoadGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	h := startHost(t, t.TempDir(), "up")
	tools := func(data string) device {
		dir := filepath.Join(data, "things", "tools")
		return device{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	}
	l := h.startLoad(4)
	waitFor(t, "rows", 30*time.Second, func() error {
		if n := len(l.soFar()); n < 200 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	before := l.soFar()
	dir := filepath.Join(t.TempDir(), "backup")
	t.Log(h.mustRun(binary, "backup", dir, "--data", h.data))
	if out, err := h.run(binary, "backup", dir, "--data", h.data); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a backup over a backup: %s, %v", out, err)
	}
	l.stop()
	t.Log(h.mustRun(binary, "verify", "--data", h.data))
	wantStop(t, h.process)

	data := filepath.Join(t.TempDir(), "elsewhere")
	h.mustRun("sh", "-c", "cd '"+dir+"' && sha256sum --quiet -c SHA256SUMS")
	h.mustRun(binary, "verify", dir)
	if out, err := h.run(binary, "restore", dir, "--data", h.data); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a restore over a cloud: %s, %v", out, err)
	}
	t.Log(h.mustRun(binary, "restore", dir, "--data", data))
	r := startHost(t, data, "cloud")
	stored := map[string]bool{}
	for _, row := range r.rows("air") {
		stored[text(row["id"])] = true
	}
	for id := range before {
		if !stored[id] {
			t.Errorf("%s was acknowledged before the backup began, and is not in it", id)
		}
	}
	t.Logf("%d rows before the backup began, %d in it, %d at the end", len(before), len(stored), len(l.soFar()))
	if r.ep.Account != h.ep.Account {
		t.Errorf("account %s became %s", h.ep.Account, r.ep.Account)
	}
	r.mustRun(tool(t, "mosquitto_pub"), r.mosquitto(tools(data), "-i", "tools", "-q", "1", "-t", "sensors/old/air", "-m", `{"id":"old","time":"2026-01-01T00:00:00.000Z","dust":1}`)...)
	waitFor(t, "the row of an old device", 10*time.Second, func() error {
		for _, row := range r.rows("air") {
			if text(row["id"]) == "old" {
				return nil
			}
		}
		return fmt.Errorf("not there")
	})
	wantStop(t, r.process)
	out, err := exec.Command(binary, "verify", "--data", data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing is wrong") {
		t.Errorf("verify: %v, %s", err, out)
	}
}

func TestADiskWithoutRoomGetsNoBackup(t *testing.T) {
	t.Parallel()
	h := startHost(t, t.TempDir(), "cloud")
	d := newDisk(t, 80)
	d.fill(60 << 10) // less than what stays free
	dir := filepath.Join(d.dir, "backup")
	out, err := h.run(binary, "backup", dir, "--data", h.data)
	if err == nil || !strings.Contains(err.Error(), "make space") {
		t.Errorf("%s, %v", out, err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.dir, ".*")); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
	d.free()
	h.mustRun(binary, "backup", dir, "--data", h.data)
	wantStop(t, h.process)
}
