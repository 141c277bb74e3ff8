package refusal

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFloodOfRefusals: who is refused again and again cannot fill the disk
// with log lines, and nothing of it is lost without a word.
func TestFloodOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		for range 5000 {
			l.Add(Refusal{Where: "tls", Reason: "no"})
		}
		if n := strings.Count(out.String(), "msg=refused"); n != logBurst {
			t.Errorf("%d lines for 5000 refusals, want %d", n, logBurst)
		}
		if _, total := l.Recent(1); total != 5000 {
			t.Errorf("counted %d", total)
		}
		time.Sleep(time.Second)
		out.Reset()
		for range 5000 {
			l.Add(Refusal{Where: "tls", Reason: "no"})
		}
		if n := strings.Count(out.String(), "msg=refused"); n != logPerSec || !strings.Contains(out.String(), "refusals_not_logged_before=4800") {
			t.Errorf("%d lines a second later, want %d:\n%.300s", n, logPerSec, out.String())
		}
		time.Sleep(time.Hour)
		out.Reset()
		for range logBurst + 1 {
			l.Add(Refusal{Where: "tls", Reason: "no"})
		}
		if n := strings.Count(out.String(), "msg=refused"); n != logBurst {
			t.Errorf("%d lines after an hour of silence, want %d", n, logBurst)
		}
	})
}
