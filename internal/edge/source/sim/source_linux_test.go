package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"mote/internal/edge/source/serial"
)

func TestSourceIsASerialPort(t *testing.T) {
	all, err := Sources(2, Options{Period: time.Millisecond})
	if err != nil || len(all) != 2 || all[0].Name() != "sim/1" || all[1].Board().ID() != "2" {
		t.Fatalf("%v, %v", all, err)
	}
	conn, err := all[1].Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if conn.RemoteAddr().Network() != "serial" {
		t.Errorf("reached over %s", conn.RemoteAddr().Network())
	}
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if got := readFrame(t, conn); got[:3] != "{2:" {
		t.Error(got)
	}
	io.WriteString(conn, "{rate:0.002}")
	for got := ""; !bytes.HasSuffix([]byte(got), []byte(":0.002}")); {
		got = readFrame(t, conn)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// TestNothingIsLostOnTheTerminal: a reader that stops now and then gets every
// frame of a fast board, also the last ones of its series.
func TestNothingIsLostOnTheTerminal(t *testing.T) {
	const n = 3000
	s, err := NewSource(Options{Period: time.Microsecond, Series: NewCounter(0, n)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	var stream, want []byte
	for i := range n {
		want = fmt.Appendf(want, "{1:%d:21.5:40:0.000001}", i)
	}
	for buf := make([]byte, 4096); len(stream) < len(want); {
		got, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(stream), len(want), err)
		}
		if len(stream)/20000 != (len(stream)+got)/20000 {
			time.Sleep(20 * time.Millisecond)
		}
		stream = append(stream, buf[:got]...)
	}
	if !bytes.Equal(stream, want) {
		t.Error("the stream is not what the board said")
	}
	<-s.Board().Over()
	conn.Close()
	if _, err := s.Dial(t.Context()); !errors.Is(err, ErrOver) {
		t.Errorf("dial after the end: %v", err)
	}
}

func TestTerminalForOtherPrograms(t *testing.T) {
	term, err := OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(t, Options{Period: 2 * time.Millisecond, Series: NewCounter(1, 0)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, term) }()
	for b.Frames() < 5 { // nobody listens: the frames are lost, and the board goes on
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		port, err := serial.Open(term.Path(), 9600)
		if err != nil {
			t.Fatal(err)
		}
		port.SetReadDeadline(time.Now().Add(time.Minute))
		if got := readFrame(t, port); got == "{1:1:21.5:40:0.002}" {
			t.Errorf("a frame of before: %s", got)
		}
		io.WriteString(port, "{rate:0.003}")
		for got := ""; !bytes.HasSuffix([]byte(got), []byte(":0.003}")); {
			got = readFrame(t, port)
		}
		io.WriteString(port, "{rate:0.002}")
		for got := ""; !bytes.HasSuffix([]byte(got), []byte(":0.002}")); {
			got = readFrame(t, port)
		}
		port.Close()
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := term.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second close: %v", err)
	}
}
