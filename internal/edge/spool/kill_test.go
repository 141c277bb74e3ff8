package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/watch"
)

const (
	victimEnv = "MOTE_SPOOL_VICTIM"
	keepEnv   = "MOTE_SPOOL_VICTIM_KEEPS" // it only appends
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

var killOptions = Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 64 << 20}

// victim appends and delivers until it is killed. It prints "A text" when an
// append returned, and "D text" before it acknowledges a record.
func victim(dir string) {
	s, err := Open(dir, killOptions)
	if err != nil {
		fmt.Println("E", err)
		os.Exit(1)
	}
	life := fmt.Sprintf("%d.%d", time.Now().UnixNano(), os.Getpid())
	for worker := range 3 {
		go appendForever(s, fmt.Sprintf("%s.%d", life, worker))
	}
	if os.Getenv(keepEnv) != "" {
		select {}
	}
	for r := s.Reader("iot"); ; {
		seq, data, err := r.Next(context.Background())
		if err != nil {
			fmt.Println("E", err)
			os.Exit(1)
		}
		fmt.Println("D", string(data[:strings.IndexByte(string(data), ' ')]))
		r.Ack(seq)
	}
}

func appendForever(s *Spool, prefix string) {
	for i := 0; ; i++ {
		var lines string
		var records [][]byte
		for k := range 1 + rand.IntN(8) {
			name := fmt.Sprintf("%s.%06d.%d", prefix, i, k)
			records = append(records, []byte(name+" "+strings.Repeat("x", rand.IntN(2000))))
			lines += "A " + name + "\n"
		}
		if _, err := s.Append(context.Background(), records...); err != nil {
			fmt.Println("E", err)
			os.Exit(1)
		}
		_, _ = io.WriteString(os.Stdout, lines)
	}
}

// TestKill kills a process that uses a real directory, at random moments, and
// then looks for everything that it was promised.
func TestKill(t *testing.T) {
	kills := 10
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	appended, delivered := map[string]bool{}, map[string]bool{}
	for range kills {
		oneLife(t, dir, appended, delivered)
	}
	s := open(t, dir, killOptions)
	last := map[string]string{} // per appender: its records come in order
	for _, rec := range drain(t, s.Reader("iot")) {
		name := string(rec.Data[:strings.IndexByte(string(rec.Data), ' ')])
		delivered[name] = true
		worker := strings.Join(strings.Split(name, ".")[:3], ".")
		if name <= last[worker] {
			t.Errorf("%s after %s", name, last[worker])
		}
		last[worker] = name
	}
	for name := range appended {
		if !delivered[name] {
			t.Errorf("%s was appended and is lost", name)
		}
	}
}

func oneLife(t *testing.T, dir string, appended, delivered map[string]bool) {
	var said []string
	v := startVictim(t, dir, 50+rand.IntN(300), func(what, name string) {
		switch what {
		case "A":
			appended[name] = true
		case "D":
			delivered[name] = true
		default:
			said = append(said, what+" "+name)
		}
	})
	v.awaitEnough(t)
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	_ = v.cmd.Process.Kill()
	v.wait()
	if len(said) > 0 {
		t.Errorf("the victim says %q", said)
	}
}

// running is a victim whose words are read.
type running struct {
	cmd     *exec.Cmd
	enough  chan struct{} // closed when it has appended that many records
	reading sync.WaitGroup
}

// startVictim runs a victim on dir, with more for its environment, and hands its
// words to note, one after the other, until it ends.
func startVictim(t *testing.T, dir string, enough int, note func(what, name string), env ...string) *running {
	t.Helper()
	v := &running{cmd: exec.Command(os.Args[0]), enough: make(chan struct{})}
	v.cmd.Env = append(append(os.Environ(), victimEnv+"="+dir), env...)
	out, err := v.cmd.StdoutPipe()
	if err == nil {
		err = v.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	v.reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, name, _ := strings.Cut(lines.Text(), " ")
			note(what, name)
			if what != "A" {
				continue
			}
			if enough--; enough == 0 {
				close(v.enough)
			}
		}
	})
	return v
}

func (v *running) awaitEnough(t *testing.T) {
	t.Helper()
	select {
	case <-v.enough:
	case <-time.After(watch.Patience):
		t.Error("the victim appends little or nothing: the test tests little")
	}
}

// wait returns when it has ended, by whatever, and all its words were noted.
func (v *running) wait() {
	v.reading.Wait()
	_ = v.cmd.Wait()
}
