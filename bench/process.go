package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that is measured.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer // read after done only
	done chan struct{}
}

// start runs a program until stop.
func (b *bench) start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := p.cmd.Start
	if b.oneCore {
		start = func() error { return onOneCore(p.cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// onOneCore calls start with this thread bound to the machine's last core, which
// the process that it starts inherits (sched_setaffinity(2)).
func onOneCore(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	for i := range len(all) * 64 {
		if all.IsSet(i) {
			one.Zero()
			one.Set(i)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	err := start()
	return errors.Join(err, unix.SchedSetaffinity(0, &all))
}

// stop ends the process, first in order.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// ready polls ok until it returns nil, the process ends, or a time that is
// long enough for any machine.
func (p *process) ready(ok func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended; it printed:\n%s", p.cmd.Path, p.out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after 30 s: %w", p.cmd.Path, err)
		}
	}
}

// listening says whether something accepts connections at addr.
func listening(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// freeAddr is an address of this machine that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on Linux for every
// architecture that mote runs on.
const tick = 10 * time.Millisecond

// cpu is user and system time of the process and all its threads so far
// (proc_pid_stat(5), fields 14 and 15).
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from field 3 on
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// settled is cpu after the process has come to rest, so that work put off, such
// as compaction, is counted too.
func (p *process) settled() (time.Duration, error) {
	last, err := p.cpu()
	for calm := 0; err == nil && calm < 2; {
		time.Sleep(80 * time.Millisecond)
		var now time.Duration
		if now, err = p.cpu(); now-last < 2*tick {
			calm++
		} else {
			calm = 0
		}
		last = now
	}
	return last, err
}

// perItem measures the CPU of p while work runs: microseconds for each of the
// items that work says it did.
func (p *process) perItem(work func() (items int, err error)) (float64, error) {
	before, err := p.settled()
	if err != nil {
		return 0, err
	}
	n, err := work()
	if err != nil {
		return 0, err
	}
	after, err := p.settled()
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("no work was done")
	}
	return float64((after - before).Microseconds()) / float64(n), nil
}

// resident is the resident memory in MB (proc_pid_status(5)): all of it, and
// what of it is not pages of files.
func (p *process) resident() (all, anonymous float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	if all, err = statusMB(string(text), "VmRSS:"); err != nil {
		return 0, 0, err
	}
	anonymous, err = statusMB(string(text), "RssAnon:")
	return all, anonymous, err
}

// peak is the most resident memory that the process ever had, in MB.
func (p *process) peak() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return statusMB(string(text), "VmHWM:")
}

func statusMB(status, field string) (float64, error) {
	_, rest, _ := strings.Cut(status, "\n"+field)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, fmt.Errorf("/proc/PID/status has no %s", field)
	}
	kib, err := strconv.ParseFloat(f[0], 64)
	return kib * 1024 / 1e6, err
}

// cloud is a running mote cloud.
type cloud struct {
	*process
	data string
	MQTT string `json:"mqtt"`
	HTTP string `json:"http"`
	CA   string `json:"ca"`
	Key  string `json:"api_key_file"`
	PID  int    `json:"pid"`
}

// cloudConfig is what the measured cloud is made of: one rule for MQTT, one
// for HTTP, each into a table.
const cloudConfig = `
[[policy]]
name = "bench"
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
[[thing]]
name = "bench"
policy = "bench"
[[table]]
name = "air"
hash = "id"
range = "time"
[[rule]]
name = "store_air"
sql = "SELECT * FROM 'sensors/+/air'"
table = "air"
[[route]]
method = "POST"
path = "/prod/dust"
auth = "api-key"
[[rule]]
name = "store_rest"
sql = "SELECT * FROM 'rest/prod/dust'"
table = "air"
`

// newCloud makes a data directory with mote up and runs mote cloud on it.
func (b *bench) newCloud() (*cloud, error) {
	dir, err := os.MkdirTemp(b.dir, "cloud")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "mote.toml")
	if err := os.WriteFile(config, []byte(cloudConfig), 0o600); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	up, err := b.startCloud(data, "up", "--config", config)
	if err != nil {
		return nil, err
	}
	up.stop()
	return b.startCloud(data, "cloud")
}

// startCloud starts a verb of mote that runs a cloud and waits for it.
func (b *bench) startCloud(data, verb string, args ...string) (*cloud, error) {
	args = append([]string{verb, "--data", data, "--mqtt", "127.0.0.1:0", "--https", "off", "--http", "127.0.0.1:0"}, args...)
	p, err := b.start(b.mote, args...)
	if err != nil {
		return nil, err
	}
	c := &cloud{process: p, data: data}
	err = p.ready(func() error {
		text, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, c); err != nil {
			return err
		}
		if c.PID != p.cmd.Process.Pid {
			return errors.New("endpoints.json is of an earlier process")
		}
		return nil
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return c, nil
}

// certificate is the file of the thing that everything connects as.
func (c *cloud) certificate(name string) string {
	return filepath.Join(c.data, "things", "bench", name)
}
