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
	if len(appended) < 50*kills {
		t.Errorf("only %d records in %d lives: the test tests little", len(appended), kills)
	}
}

func oneLife(t *testing.T, dir string, appended, delivered map[string]bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, name, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "A":
				appended[name] = true
			case "D":
				delivered[name] = true
			default:
				t.Errorf("victim says %q", lines.Text())
			}
		}
	})
	time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
	_ = cmd.Process.Kill()
	wg.Wait()
	_ = cmd.Wait() // it was killed
}
