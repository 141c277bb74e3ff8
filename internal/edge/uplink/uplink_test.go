package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAcksGiveOnlyThePrefixWithoutHoles(t *testing.T) {
	for range 50 {
		var a Acks
		seqs, seq := []uint64{}, uint64(0)
		for range 300 {
			seq += 1 + rand.Uint64N(3) // gaps
			seqs = append(seqs, seq)
		}
		done := map[uint64]bool{}
		acked, next := uint64(0), 0
		var open []uint64
		for next < len(seqs) || len(open) > 0 {
			if next < len(seqs) && (len(open) == 0 || rand.IntN(2) == 0) {
				a.Sent(seqs[next])
				open = append(open, seqs[next])
				next++
				continue
			}
			i := rand.IntN(len(open))
			s := open[i]
			open = append(open[:i], open[i+1:]...)
			done[s] = true
			if upTo, ok := a.Done(s); ok {
				acked = upTo
			}
			want := uint64(0)
			for _, s := range seqs[:next] {
				if !done[s] {
					break
				}
				want = s
			}
			if acked != want {
				t.Fatalf("acknowledged up to %d, want %d", acked, want)
			}
		}
		if acked != seq || a.Len() != 0 {
			t.Fatalf("at the end up to %d of %d, %d open", acked, seq, a.Len())
		}
	}
}

func TestAcksForgetAndIgnore(t *testing.T) {
	var a Acks
	a.Sent(5)
	a.Sent(7)
	a.Reset()
	if _, ok := a.Done(5); ok || a.Len() != 0 {
		t.Error("5 was forgotten")
	}
	a.Sent(5)
	for _, seq := range []uint64{0, 4, 6, 9} {
		if _, ok := a.Done(seq); ok {
			t.Errorf("%d was never sent", seq)
		}
	}
	if upTo, ok := a.Done(5); !ok || upTo != 5 {
		t.Error(upTo, ok)
	}
	if _, ok := a.Done(5); ok {
		t.Error("5 is complete already")
	}
}

func TestAcksBoundHowFarDeliveriesRunAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Acks
		for seq := range uint64(3) {
			a.Sent(seq)
		}
		a.Done(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Room(ctx, 3); err == nil {
			t.Error("there is room for a fourth behind one that does not end")
		}
		if err := a.Room(t.Context(), 4); err != nil {
			t.Error(err)
		}
		got := make(chan error, 1)
		go func() { got <- a.Room(t.Context(), 3) }()
		synctest.Wait()
		a.Done(0)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Minute}
	for round := range 2 {
		for i := range 100 {
			want := min(time.Second<<min(i, 10), time.Minute)
			if got := b.Next(); got < want/2 || got > want {
				t.Errorf("round %d, pause %d is %v, want %v to %v", round, i, got, want/2, want)
			}
		}
		b.Reset()
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if !Sleep(ctx, time.Second) || time.Since(start) != time.Second {
			t.Error("slept", time.Since(start))
		}
		if Sleep(ctx, time.Hour) || time.Since(start) != time.Minute {
			t.Error("slept", time.Since(start))
		}
	})
}

func TestRefusedKeepsRecordsWithinBounds(t *testing.T) {
	var log bytes.Buffer
	file := filepath.Join(t.TempDir(), "refused.jsonl")
	r := &Refused{File: file, Uplink: "iot", Log: slog.New(slog.NewTextHandler(&log, nil))}
	r.Add([]byte(`{"id":"1"}`), "too large")
	r.Add([]byte(`not JSON`), "why")
	r.Add([]byte("\xff\x00"), "why")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, want := range []string{`{"id":"1"}`, `"not JSON"`, `"ff00"`} {
		var got struct {
			Uplink, Reason string
			Record         json.RawMessage
		}
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || string(got.Record) != want || got.Uplink != "iot" || got.Reason == "" {
			t.Errorf("line %d: %s: %v", i, lines[i], err)
		}
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	defer func(n int64) { maxRefusedFile = n }(maxRefusedFile)
	maxRefusedFile = 8 << 10
	big, _ := json.Marshal(strings.Repeat("x", 3<<10))
	for range 6 {
		r.Add(big, "big")
	}
	for _, name := range []string{file, file + ".old"} {
		if info, err := os.Stat(name); err != nil || info.Size() > maxRefusedFile {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if r.Count() != 9 {
		t.Errorf("count %d", r.Count())
	}
	log.Reset()
	r.File = filepath.Join(t.TempDir(), "no such dir", "x")
	r.Add([]byte(`{"id":"2"}`), "why")
	if !strings.Contains(log.String(), `id`) || !strings.Contains(log.String(), "cannot keep") {
		t.Errorf("a record that cannot be kept is not in the log: %s", &log)
	}
}

func TestStateLogsEachChangeOnce(t *testing.T) {
	var log bytes.Buffer
	s := &State{Log: slog.New(slog.NewTextHandler(&log, nil))}
	network := func(port int) error {
		return fmt.Errorf("a: %w", &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: port}, Err: errors.New("reset")})
	}
	count := func(what string) int { return strings.Count(log.String(), what) }
	s.Up()
	s.Well()
	for i := range 3 {
		s.Failed(network(i))
	}
	if count("cannot deliver") != 1 || count("again") != 0 {
		t.Error(log.String())
	}
	s.Failed(errors.New("other"))
	if count("cannot deliver") != 2 {
		t.Error(log.String())
	}
	if st := s.Status(); !st.Connected || st.Since.IsZero() || st.Failures != 4 || st.LastError != "other" || st.LastErrorAt.IsZero() {
		t.Errorf("%+v", st)
	}
	s.Down()
	s.Up()
	s.Well()
	s.Well()
	if count("again") != 1 {
		t.Error(log.String())
	}
}
