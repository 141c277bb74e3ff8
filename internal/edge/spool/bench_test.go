package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// frame is a payload of the size that boards send.
var frame = bytes.Repeat([]byte("0123456789"), 12)

// cpuTime is user and system time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// deviceBytes is what the process has caused to be written to block devices,
// from /proc/self/io (proc_pid_io(5), write_bytes); the journal is not in it.
func deviceBytes(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// measure runs commit b.N times over groups of frames and reports the figures
// per frame.
func measure(b *testing.B, group int, commit func()) {
	commit()
	b.ResetTimer()
	cpu, dev := cpuTime(), deviceBytes(b)
	for range b.N {
		commit()
	}
	frames := float64(b.N * group)
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/frames, "cpu-µs/frame")
	b.ReportMetric(float64(deviceBytes(b)-dev)/frames/float64(len(frame)), "device-B/payload-B")
}

func groupOf(n int) [][]byte {
	g := make([][]byte, n)
	for i := range g {
		g[i] = frame
	}
	return g
}

var groups = []int{1, 64, 1024}

// BenchmarkRawAppend is the limit: write and fdatasync of a growing file.
func BenchmarkRawAppend(b *testing.B) {
	for _, n := range groups {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, err := OS{}.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			data := bytes.Repeat(frame, n)
			off := int64(0)
			measure(b, n, func() {
				if err := writeSync(f, data, off); err != nil {
					b.Fatal(err)
				}
				off += int64(len(data))
			})
		})
	}
}

// BenchmarkAppend is the steady state: what is appended is read and
// acknowledged, and the segments go round.
func BenchmarkAppend(b *testing.B) {
	for _, n := range groups {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{Readers: []string{"iot"}})
			data := groupOf(n)
			r := s.Reader("iot")
			commit := func() {
				last, err := s.Append(b.Context(), data...)
				if err != nil {
					b.Fatal(err)
				}
				s.mu.Lock()
				r.seen = last // as if delivered: reading is measured by BenchmarkDrain
				r.cursor = last + 1
				s.mu.Unlock()
				r.Ack(last)
			}
			for range (2 << 20) / (n * len(frame)) { // past the first use of two segments
				if n == 1 {
					break
				}
				commit()
			}
			measure(b, n, commit)
		})
	}
}

// BenchmarkAppendBacklog is an outage: nobody reads, every segment is new and
// must be zeroed first.
func BenchmarkAppendBacklog(b *testing.B) {
	for _, n := range groups {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{Readers: []string{"iot"}, MaxBytes: 64 << 30})
			data := groupOf(n)
			measure(b, n, func() {
				if _, err := s.Append(b.Context(), data...); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkDrain reads a backlog in batches and acknowledges it.
func BenchmarkDrain(b *testing.B) {
	s := open(b, b.TempDir(), Options{Readers: []string{"iot"}, MaxBytes: 64 << 30})
	for left := b.N; left > 0; {
		n := min(left, 4096)
		if _, err := s.Append(b.Context(), groupOf(n)...); err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	r := s.Reader("iot")
	var batch []Record
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	for got := 0; got < b.N; got += len(batch) {
		var err error
		if batch, err = r.Batch(b.Context(), batch[:0], 256); err != nil {
			b.Fatal(err)
		}
		r.Ack(batch[len(batch)-1].Seq)
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/frame")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
