package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// rest measures a POST with API key, which goes through a rule into a table,
// beside net/http with a handler that does nothing but keep the body.
func (b *bench) rest() error {
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return err
	}
	u, err := url.Parse(c.HTTP)
	if err != nil {
		return err
	}
	bare, addr, err := b.floorHTTP()
	if err != nil {
		return err
	}
	defer bare.stop()
	for _, conns := range []int{1, 16} {
		v, err := b.turns(
			b.posted(bare, addr, strings.TrimSpace(string(key)), conns),
			b.posted(c.process, u.Host, strings.TrimSpace(string(key)), conns),
		)
		if err != nil {
			return err
		}
		b.report.add(row{
			what: fmt.Sprintf("REST POST with API key→rule→commit→200, connections: %d", conns), unit: "CPU µs/request",
			baseline: "bare net/http, append+fdatasync each", base: median(v[0]), value: median(v[1]),
		})
	}
	return nil
}

// floorHTTP starts the bare server.
func (b *bench) floorHTTP() (*process, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p, err := b.start(self, floorVerb, "http", addr, b.dir)
	if err != nil {
		return nil, "", err
	}
	if err := p.ready(func() error { return listening(addr) }); err != nil {
		p.stop()
		return nil, "", err
	}
	return p, addr, nil
}

// posted measures the CPU of p for each request.
func (b *bench) posted(p *process, addr, key string, conns int) func() (float64, error) {
	return func() (float64, error) {
		runs++
		run := runs
		return p.perItem(func() (int, error) {
			var g errgroup.Group
			counts := make([]int, conns)
			deadline := time.Now().Add(b.span)
			for i := range conns {
				g.Go(func() (err error) {
					counts[i], err = post(addr, key, fmt.Sprintf("rest%d.%d", run, i), deadline)
					return err
				})
			}
			err := g.Wait()
			sum := 0
			for _, n := range counts {
				sum += n
			}
			return sum, err
		})
	}
}

// post sends requests over one connection until the deadline and returns how
// many were answered with 200.
func post(addr, key, id string, deadline time.Time) (int, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline.Add(30 * time.Second))
	in := bufio.NewReader(conn)
	var out bytes.Buffer
	for n := 0; ; n++ {
		if time.Now().After(deadline) {
			return n, nil
		}
		body := fmt.Sprintf(`{"id":%q,"time":"2026-11-22T10:15:30.%09dZ","dust":"35.2","temp":"21.5","humid":"40"}`, id, n)
		out.Reset()
		fmt.Fprintf(&out, "POST /prod/dust HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nx-api-key: %s\r\nContent-Length: %d\r\n\r\n%s", addr, key, len(body), body)
		if _, err := conn.Write(out.Bytes()); err != nil {
			return n, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return n, err
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			return n, fmt.Errorf("POST was answered with %s %s: %w", answer.Status, text, err)
		}
	}
}
