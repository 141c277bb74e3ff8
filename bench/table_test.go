package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mote/internal/sigv4"
)

// serve answers the calls of one connection with status and body, after
// check has seen them.
func serve(t *testing.T, status int, body string, check func(*http.Request, []byte)) *tables {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		check(r, got)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	s := &tables{addr: l.Addr().String()}
	s.sign("AKIDEXAMPLE", "secret", "us-east-1")
	return s
}

func TestCallsAreSigned(t *testing.T) {
	checked := 0
	s := serve(t, http.StatusOK, "{}", func(r *http.Request, body []byte) {
		checked++
		keys := func(string) (string, bool) { return "secret", true }
		if _, e := sigv4.Verify(r, body, keys, sigv4.Options{Services: []string{"dynamodb"}}); e != nil {
			t.Error(e.Message)
		}
	})
	c, err := s.dial(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for range 2 {
		if err := c.putReading("dev-0001", minute(1)); err != nil {
			t.Fatal(err)
		}
	}
	if checked != 2 {
		t.Errorf("%d calls, want 2", checked)
	}
}

func TestRefusedCallIsAnError(t *testing.T) {
	s := serve(t, http.StatusBadRequest, `{"__type":"x"}`, func(*http.Request, []byte) {})
	c, err := s.dial(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if err := c.getReading("dev-0001", 1); err == nil || !strings.Contains(err.Error(), `{"__type":"x"}`) {
		t.Errorf("%v", err)
	}
	c.in = bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"Count\":5,}"))
	if err := c.receive("Query"); err != nil || string(c.answer) != `{"Count":5,` {
		t.Errorf("%v, %s", err, c.answer)
	}
}

// The size of a reading is the one that the report names.
func TestReadingHas122Bytes(t *testing.T) {
	s := serve(t, http.StatusOK, "{}", func(*http.Request, []byte) {})
	c, err := s.dial(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for range 50 {
		var item map[string]struct{ S, N string }
		if err := json.Unmarshal(c.appendReading(nil, deviceID(7), minute(3)), &item); err != nil {
			t.Fatal(err)
		}
		size := 0
		for name, v := range item {
			size += len(name) + len(v.S)
			if digits := len(strings.Replace(v.N, ".", "", 1)); digits > 0 {
				size += 1 + (digits+1)/2
			}
		}
		if size != 122 {
			t.Fatalf("%d bytes: %v", size, item)
		}
	}
}

func TestCredentialsOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = AKID\naws_secret_access_key = a=b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, secret, err := credentials(file); id != "AKID" || secret != "a=b" || err != nil {
		t.Errorf("%q %q %v", id, secret, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := credentials(file); err == nil {
		t.Error("a file without key is not refused")
	}
}

// Every board is updated by one connection only, or its conditions would fail.
func TestUpdatesShareOutTheBoards(t *testing.T) {
	owner := map[string]int{}
	now := 0
	s := serve(t, http.StatusOK, "{}", func(_ *http.Request, body []byte) {
		_, rest, _ := bytes.Cut(body, []byte(`{"id":{"S":"`))
		id := string(rest[:8])
		if other, ok := owner[id]; ok && other != now {
			t.Errorf("board %s is of connections %d and %d", id, other, now)
		}
		owner[id] = now
	})
	c, err := s.dial(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for now = range 16 {
		for n := range 70 {
			if err := update(c, &shift{conn: now, conns: 16}, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(owner) < 900 {
		t.Errorf("%d boards are updated", len(owner))
	}
}

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := diskUse(dir); err != nil || n < 10_000 || n > 20_000 {
		t.Errorf("%v bytes, %v", n, err)
	}
}
