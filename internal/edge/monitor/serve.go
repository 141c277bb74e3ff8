package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"mote/internal/pageguard"
)

// policy lets the page load nothing but its style, and run nothing (W3C Content
// Security Policy Level 3).
const policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler answers GET / (the page), /healthz and /metrics. names are host names
// that may stand in a Host header besides localhost and the machine's own;
// addresses always may, since only names can be pointed here by others.
func (w *Watch) Handler(names ...string) http.Handler {
	allowed := map[string]bool{"localhost": true}
	if own, err := os.Hostname(); err == nil {
		names = append(names, own, own+".local")
	}
	for _, n := range names {
		allowed[strings.ToLower(n)] = true
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, "text/html; charset=utf-8", w.Page()) })
	mux.HandleFunc("GET /style.css", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, "text/css; charset=utf-8", style) })
	mux.HandleFunc("GET /metrics", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, "text/plain; version=0.0.4; charset=utf-8", w.Metrics())
	})
	mux.HandleFunc("GET /healthz", w.serveHealth)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		pageguard.SetHeaders(rw.Header(), policy)
		rw.Header().Set("Cache-Control", "no-store")
		if name := pageguard.HostName(r.Host); !allowed[name] && !isAddress(name) {
			http.Error(rw, fmt.Sprintf("the gateway does not answer to the host name %.100q: open it by its address, or name it in listen of [gateway]", name), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(rw, r)
	})
}

func (w *Watch) serveHealth(rw http.ResponseWriter, _ *http.Request) {
	h := w.Health()
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	if !h.OK {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = rw.Write(append(text, '\n')) // who asked has gone when this fails
}

func answer(rw http.ResponseWriter, kind, text string) {
	rw.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(rw, text) // who asked has gone when this fails
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// Serve watches the gateway and answers on l until ctx ends. It closes l.
func (w *Watch) Serve(ctx context.Context, l net.Listener, names ...string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler: w.Handler(names...), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		w.Run(ctx)
		_ = server.Close()
	}()
	err := server.Serve(limited(l))
	stop()
	<-watching
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// maxConns bounds the connections at one time; more wait for their turn.
const maxConns = 16

// limited accepts no more than maxConns connections at a time.
func limited(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, turns: make(chan struct{}, maxConns), closed: make(chan struct{})}
}
