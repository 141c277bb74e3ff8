package main

import (
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

// floor runs a baseline: http ADDR DIR or tcp ADDR DIR.
func floor(kind string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s %s wants ADDR and DIR", floorVerb, kind)
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

func appendSync(f *os.File, p []byte) error {
	if _, err := f.Write(p); err != nil {
		return err
	}
	return unix.Fdatasync(int(f.Fd()))
}
