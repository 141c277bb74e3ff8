package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// TestNewReadingsOvertakeABacklog fills the spool while the cloud is away. Once
// it is there, what a second board sends arrives before the backlog has, also
// when the gateway is killed meanwhile, and nothing is missing or doubled.
func TestNewReadingsOvertakeABacklog(t *testing.T) {
	t.Parallel()
	waiting := 20_000
	if *torture > 2 {
		waiting = 100_000
	}
	s := newSite(t, "")
	b, late := startBoard(t, 0), startBoard(t, 50*time.Millisecond)
	late.says("{n:%d:21.5:40:1}")
	late.mu.Lock() // it is silent until then
	speak := sync.OnceFunc(late.mu.Unlock)
	t.Cleanup(speak)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	config := filepath.Join(s.dir, "mote.toml")
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, fmt.Appendf(text, "[[source]]\ntcp = %q\n", late.listener.Addr()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.startGateway()
	waitFor(t, "backlog", 60*time.Second, func() error {
		if n := b.written.Load(); int(n) < waiting {
			return fmt.Errorf("%d frames", n)
		}
		return nil
	})
	b.stop()
	waitFor(t, "whole backlog in the spool", 60*time.Second, func() error {
		out, err := exec.Command(binary, "spool", "dump", filepath.Join(s.dir, "spool"), "--output", "json").Output()
		if err != nil {
			return err
		}
		if n := bytes.Count(out, []byte(`"seq":`)); n != b.sent() {
			return fmt.Errorf("%d of %d records", n, b.sent())
		}
		return nil
	})
	s.startCloud()
	s.gateway.kill()
	speak()
	s.startGateway()
	s.overtaken(late, b)
	s.gateway.kill()
	s.startGateway()
	late.stop()
	s.wantAll(b.sent())
	seen := map[int]bool{}
	for _, n := range s.cloud.numbers("n") {
		if seen[n] {
			t.Errorf("frame %d of the late board is there twice", n)
		}
		seen[n] = true
	}
}

// overtaken waits for a row of late, and wants the backlog of b to be on
// its way still.
func (s *site) overtaken(late, b *board) {
	s.t.Helper()
	waitFor(s.t, "row of the late board", 30*time.Second, func() error {
		if len(s.cloud.numbers("n")) == 0 {
			return errors.New("none")
		}
		return nil
	})
	came := func(row map[string]types.AttributeValue) string { return text(row["stored"]) } // in ms, of equally many digits
	first := came(s.cloud.history("n")[0])
	there := 0
	for _, row := range s.cloud.history("t") {
		if came(row) < first {
			there++
		}
	}
	s.t.Logf("%d of %d rows of the backlog were there before a new reading", there, b.sent())
	if there > b.sent()-1000 {
		s.t.Errorf("the new reading came behind the backlog: %d of %d rows", there, b.sent())
	}
}
