package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// floorVerb makes this program one of the baselines, in a process of its own.
const floorVerb = "floor"

// floor runs a baseline: http ADDR DIR, tcp ADDR DIR, or tls ADDR DIR, where DIR
// has the server's certificate.
func floor(kind string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s %s wants ADDR and DIR", floorVerb, kind)
	}
	if kind == "tls" {
		return floorTLS(args[0], args[1])
	}
	f, err := os.OpenFile(filepath.Join(args[1], "floor-"+kind), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if kind == "http" {
		return http.ListenAndServe(args[0], floorHandler(f))
	}
	return floorReader(args[0], f)
}

// floorHandler keeps each body durably, and nothing else.
func floorHandler(f *os.File) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = appendSync(f, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
}

// floorReader keeps what each read of a line brings durably, and nothing else.
func floorReader(addr string, f *os.File) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if err := appendSync(f, buf[:n]); err != nil {
			return err
		}
	}
}

// floorTLS does the handshake with each client, waits for its end, and nothing
// else. It asks for a client certificate, as brokers do.
func floorTLS(addr, dir string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // lives as long as its client
			defer c.Close()
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

func appendSync(f *os.File, p []byte) error {
	if _, err := f.Write(p); err != nil {
		return err
	}
	return unix.Fdatasync(int(f.Fd()))
}
