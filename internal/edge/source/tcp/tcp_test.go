package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Address: ln.Addr().String()})
	if err != nil || s.Name() != ln.Addr().String() {
		t.Fatalf("%+v, %v", s, err)
	}
	conn, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	board, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(board, "{1:2}")
	board.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "{1:2}" {
		t.Errorf("%q, %v", got, err)
	}
	ln.Close()
	if _, err := s.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "is the bridge running") {
		t.Errorf("refused: %v", err)
	}
}

func TestDialTimesOutAndIsCancelled(t *testing.T) {
	s, err := New(Options{Address: "127.0.0.1:9", Timeout: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("time-out: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.dialer.Timeout = DefaultTimeout
	if _, err := s.Dial(ended); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for address, want := range map[string]string{
		"": "host:port", "bridge": "host:port", "bridge:": "1 to 65535", "bridge:0": "1 to 65535", "bridge:65536": "1 to 65535", "bridge:http": "1 to 65535",
		":5000": "no host", "::1:5000": "host:port",
	} {
		if _, err := New(Options{Address: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want it to say %s", address, err, want)
		}
	}
	if _, err := New(Options{Address: "[::1]:5000"}); err != nil {
		t.Error(err)
	}
}
