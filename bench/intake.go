package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// telegraf is where ./bench/telegraf puts it.
const telegraf = ".cache/telegraf/telegraf"

// telegrafFrames are fewer, because Telegraf syncs for each metric.
const telegrafFrames = 3_000

// intake is what one turn of taking frames in durably costs, with nobody to
// deliver them to.
type intake struct {
	cpu     float64 // µs/frame
	elapsed float64 // µs/frame
	device  float64 // bytes/frame
	record  float64 // bytes of a reading as the gateway keeps it, 0 for others
	empty   float64 // MB resident before
}

// intakes measures mote gateway and Telegraf while their server is away.
func (b *bench) intakes() error {
	compared := "Telegraf, a file per output"
	measure := []func() (intake, error){b.moteIntake, b.telegrafIntake}
	_, missing := os.Stat(telegraf)
	if missing != nil {
		measure, compared = measure[:1], ""
	}
	all := make([][]intake, 2)
	for range b.rounds {
		for i, m := range measure {
			got, err := m()
			if err != nil {
				return err
			}
			all[i] = append(all[i], got)
		}
	}
	figure := func(what, unit string, of func(intake) float64, goal float64) {
		w := row{what: what, unit: unit, baseline: compared, value: median(each(all[0], of)), goal: goal}
		if compared != "" {
			w.base = median(each(all[1], of))
		} else {
			w.goal = 0
		}
		b.report.add(w)
	}
	figure("durable intake, server away", "CPU µs/frame", func(i intake) float64 { return i.cpu }, 0.1)
	figure("durable intake, server away, time that passes", "µs/frame", func(i intake) float64 { return i.elapsed }, 0.1)
	figure("durable intake, server away, written", "B/frame", func(i intake) float64 { return i.device }, 0)
	figure("resident, nothing waits", "MB", func(i intake) float64 { return i.empty }, 0)
	b.report.add(row{what: "durable intake, server away, written", unit: "B/payload B", goal: 2, absolute: true,
		value: median(each(all[0], func(i intake) float64 { return i.device / i.record }))})
	if err := b.manyWaiting(); err != nil {
		return err
	}
	if missing != nil {
		return fmt.Errorf("beside Telegraf: %w: run ./bench/telegraf, which builds it", missing)
	}
	return nil
}

func each(all []intake, of func(intake) float64) (v []float64) {
	for _, i := range all {
		v = append(v, of(i))
	}
	return v
}

// take measures p while write runs, until p writes no more to its disk.
func (p *process) take(frames int, write func() error) (got intake, err error) {
	if got.empty, _, err = p.resident(); err != nil {
		return got, err
	}
	cpu, err := p.settled()
	if err != nil {
		return got, err
	}
	device, err := p.written()
	if err != nil {
		return got, err
	}
	begun := time.Now()
	if err := write(); err != nil {
		return got, err
	}
	quiet, after, err := p.atRest(device)
	if err != nil {
		return got, err
	}
	now, err := p.cpu()
	if err != nil {
		return got, err
	}
	n := float64(frames)
	got.cpu = float64((now - cpu).Microseconds()) / n
	got.elapsed = float64(quiet.Sub(begun).Microseconds()) / n
	got.device = float64(after-device) / n
	return got, nil
}

// atRest waits until p has written something beyond before and then nothing
// for a while, and says since when.
func (p *process) atRest(before int64) (since time.Time, last int64, err error) {
	since, last = time.Now(), before
	for begun := since; last == before || time.Since(since) < 2*time.Second; time.Sleep(20 * time.Millisecond) {
		now, err := p.written()
		if err != nil {
			return since, last, err
		}
		if now != last {
			since, last = time.Now(), now
		}
		if time.Since(begun) > 10*time.Minute {
			return since, last, errors.New("it writes for ever, or nothing")
		}
	}
	return since, last, nil
}

// written is what p has caused to be written to block devices (proc_pid_io(5),
// write_bytes); the file system's journal is not in it.
func (p *process) written() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, errors.New("/proc/PID/io has no write_bytes")
	}
	return strconv.ParseInt(f[0], 10, 64)
}

// lonely starts a gateway whose server is away, with a board connected.
func (b *bench) lonely() (p *process, conn net.Conn, spool string, err error) {
	d, err := newBoard()
	if err != nil {
		return nil, nil, "", err
	}
	defer d.listener.Close()
	dir, err := os.MkdirTemp(b.dir, "lonely")
	if err != nil {
		return nil, nil, "", err
	}
	away, err := freeAddr()
	if err != nil {
		return nil, nil, "", err
	}
	spool = filepath.Join(dir, "spool")
	config := fmt.Sprintf("[gateway]\nname = \"bench\"\nspool = { dir = %q, max = \"2GiB\" }\n[[source]]\ntcp = %q\n[uplink.rest]\nurl = \"http://%s/prod/dust\"\n", spool, d.addr(), away)
	path := filepath.Join(dir, "mote.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, nil, "", err
	}
	if p, err = b.start(b.mote, "gateway", "--config", path); err != nil {
		return nil, nil, "", err
	}
	if conn, err = d.accept(); err != nil {
		p.stop()
		return nil, nil, "", fmt.Errorf("the gateway does not connect: %w\n%s", err, p.out.String())
	}
	time.Sleep(time.Second) // its start is not measured
	return p, conn, spool, nil
}

func (b *bench) moteIntake() (intake, error) {
	p, conn, _, err := b.lonely()
	if err != nil {
		return intake{}, err
	}
	defer p.stop()
	defer conn.Close()
	got, err := p.take(framesPerTurn, func() error { return feed(conn, "bench", framesPerTurn) })
	got.record = float64(len(`{"time":"2026-11-22T10:15:30.123Z","id":"bench","dust":50000,"temp":21.5,"humid":40}`))
	return got, err
}

// manyWaiting compares the memory of a gateway with nothing and with a million
// readings waiting, and then with as many as are asked for, each time after some
// seconds of rest.
func (b *bench) manyWaiting() error {
	p, conn, spool, err := b.lonely()
	if err != nil {
		return err
	}
	defer p.stop()
	defer conn.Close()
	empty, ownEmpty, err := p.resident()
	if err != nil {
		return err
	}
	waiting := 0
	for _, n := range []int{1_000_000, b.waiting} {
		if n <= waiting {
			continue
		}
		if _, err := p.take(n-waiting, func() error { return feed(conn, "bench", n-waiting) }); err != nil {
			return err
		}
		waiting = n
		time.Sleep(idleFor)
		full, own, err := p.resident()
		if err != nil {
			return err
		}
		size, err := folderSize(spool)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%.0e readings wait", float64(n))
		b.report.add(row{what: "resident, " + what, unit: "MB", baseline: "nothing waits", base: empty, value: full})
		b.report.add(row{what: "resident, of it not pages of the binary, " + what, unit: "MB", baseline: "nothing waits", base: ownEmpty, value: own})
		b.report.add(row{what: "spool on disk, " + what, unit: "B/reading", value: float64(size) / float64(n)})
	}
	return nil
}

func folderSize(dir string) (sum int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, err
}

// telegrafIntake measures Telegraf with its buffer on disk.
func (b *bench) telegrafIntake() (intake, error) {
	dir, err := os.MkdirTemp(b.dir, "telegraf")
	if err != nil {
		return intake{}, err
	}
	addr, err := freeAddr()
	if err != nil {
		return intake{}, err
	}
	away, err := freeAddr()
	if err != nil {
		return intake{}, err
	}
	config := fmt.Sprintf(`[agent]
interval = "1s"
flush_interval = "10s"
metric_batch_size = 1000
metric_buffer_limit = 2000000
buffer_strategy = "disk"
buffer_directory = %q
omit_hostname = true
quiet = true
[[inputs.socket_listener]]
service_address = "tcp://%s"
data_format = "influx"
[[outputs.http]]
url = "http://%s/"
data_format = "influx"
`, filepath.Join(dir, "buffer"), addr, away)
	path := filepath.Join(dir, "telegraf.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return intake{}, err
	}
	p, err := b.start(telegraf, "--config", path)
	if err != nil {
		return intake{}, err
	}
	defer p.stop()
	if err := p.ready(func() error { return listening(addr) }); err != nil {
		return intake{}, err
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return intake{}, err
	}
	defer conn.Close()
	time.Sleep(time.Second)
	return p.take(telegrafFrames, func() error {
		for i := range telegrafFrames {
			if _, err := fmt.Fprintf(conn, "air,id=bench dust=%d,temp=21.5,humid=40,rate=1\n", i); err != nil {
				return err
			}
		}
		return nil
	})
}
