package cloud

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestCrowdLeavesFilesToTheStore(t *testing.T) {
	for _, files := range []uint64{1024, 4096, 20000, 524288, 1 << 62} {
		c := roomFor(files)
		if c.mqtt < 64 || c.https < 32 || c.http < 16 || uint64(c.mqtt+c.https+c.http) > files-keptFiles {
			t.Errorf("%d files: %+v", files, c)
		}
	}
	if c := roomFor(64); c.mqtt < 1 || c.https < 1 || c.http < 1 {
		t.Errorf("a listener without a place: %+v", c)
	}
	if fileLimit() < 64 {
		t.Errorf("limit %d", fileLimit())
	}
}

// stranger is a listener whose connections come from far away.
type stranger struct{ net.Listener }

func (s stranger) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	return fromAfar{c}, err
}

type fromAfar struct{ net.Conn }

func (fromAfar) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} }

// TestOneAddressLeavesPlaces of a listener to others.
func TestOneAddressLeavesPlaces(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l := newBounded(stranger{inner}, "https", 4, slog.New(slog.NewTextHandler(&log, nil)))
	defer l.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var last net.Conn
	for range 3 {
		dial()
		if last, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	fourth := dial()
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if _, err := fourth.Read(make([]byte, 1)); err == nil {
		t.Error("a fourth connection from one address is served, and nobody else could be")
	}
	_ = last.Close()
	dial()
	if err := <-accepted; err != nil {
		t.Errorf("a place that was given back: %v", err)
	}
	if n := strings.Count(log.String(), "from one address"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log.String())
	}
}

func TestBoundedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l := newBounded(inner, "http", 2, slog.New(slog.NewTextHandler(&log, nil)))
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	for range 3 { // beyond the limit: closed, and nobody waits for a place
		if _, err := dial().Read(make([]byte, 1)); err == nil || err != io.EOF && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("read from a connection too many: %v", err)
		}
	}
	_ = first.Close()
	_ = first.Close() // gives back one place, not two
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatal("one Close gave back two places")
	}
	_ = l.Close()
	<-accepted // ended: the log is complete
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log.String())
	}
}
