package console

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// browser is one page of a headless Chromium, driven by the DevTools protocol.
type browser struct {
	t       testing.TB
	conn    *websocket.Conn
	session string

	mu       sync.Mutex
	last     int                          // guarded by mu
	waiting  map[int]chan json.RawMessage // guarded by mu
	trouble  []string                     // guarded by mu: exceptions, console errors, CSP violations
	requests []string                     // guarded by mu: URLs
}

// openBrowser starts Chromium. Without it the test is skipped, but in CI it fails.
func openBrowser(t testing.TB) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed: apt-get install chromium")
		}
		t.Skip("chromium is not installed: apt-get install chromium")
	}
	dir := t.TempDir()
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0", "--user-data-dir="+dir, "about:blank")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for range 20 { // its children may still be writing into the directory
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	b := &browser{t: t, waiting: map[int]chan json.RawMessage{}}
	b.dial(filepath.Join(dir, "DevToolsActivePort"))
	b.attach()
	return b
}

// dial connects to the port that Chromium writes into its directory.
func (b *browser) dial(file string) {
	b.t.Helper()
	var lines []string
	for end := time.Now().Add(30 * time.Second); len(lines) < 2; time.Sleep(20 * time.Millisecond) {
		data, _ := os.ReadFile(file)
		lines = strings.Split(strings.TrimSpace(string(data)), "\n")
		if time.Now().After(end) {
			b.t.Fatal("chromium does not open its DevTools port")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, _, err := websocket.Dial(ctx, "ws://127.0.0.1:"+lines[0]+lines[1], nil)
	if err != nil {
		cancel()
		b.t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	b.conn = conn
	var done sync.WaitGroup
	done.Go(func() { b.read(ctx) })
	b.t.Cleanup(func() {
		cancel()
		_ = conn.CloseNow()
		done.Wait()
	})
}

func (b *browser) attach() {
	b.t.Helper()
	target := call[struct{ TargetID string }](b, "Target.createTarget", map[string]any{"url": "about:blank"})
	s := call[struct{ SessionID string }](b, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true})
	b.session = s.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		call[any](b, domain+".enable", nil)
	}
}

// read takes in answers and events until the connection ends.
func (b *browser) read(ctx context.Context) {
	for {
		_, data, err := b.conn.Read(ctx)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(data, &m) != nil {
			continue
		}
		b.mu.Lock()
		if ch := b.waiting[m.ID]; m.ID != 0 && ch != nil {
			delete(b.waiting, m.ID)
			ch <- data
		}
		b.note(m.Method, m.Params)
		b.mu.Unlock()
	}
}

// note is called with mu held.
func (b *browser) note(method string, params json.RawMessage) {
	var p struct {
		Type    string
		Entry   struct{ Level, Text, URL string }
		Request struct{ URL string }
	}
	_ = json.Unmarshal(params, &p)
	switch {
	case method == "Network.requestWillBeSent":
		b.requests = append(b.requests, p.Request.URL)
	case method == "Runtime.exceptionThrown",
		method == "Runtime.consoleAPICalled" && (p.Type == "error" || p.Type == "warning"),
		method == "Log.entryAdded" && (p.Entry.Level == "error" || p.Entry.Level == "warning"):
		b.trouble = append(b.trouble, method+": "+string(params))
	}
}

// call runs one command of the protocol.
func call[T any](b *browser, method string, params any) T {
	b.t.Helper()
	ch := make(chan json.RawMessage, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = ch
	b.mu.Unlock()
	command := map[string]any{"id": id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	data, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.conn.Write(ctx, websocket.MessageText, data); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	var answer struct {
		Result T
		Error  *struct{ Message string }
	}
	select {
	case data := <-ch:
		if err := json.Unmarshal(data, &answer); err != nil || answer.Error != nil {
			b.t.Fatalf("%s: %v %+v", method, err, answer.Error)
		}
	case <-ctx.Done():
		b.t.Fatalf("%s: no answer", method)
	}
	return answer.Result
}

func (b *browser) open(url string) {
	b.t.Helper()
	r := call[struct{ ErrorText string }](b, "Page.navigate", map[string]any{"url": url})
	if r.ErrorText != "" {
		b.t.Fatalf("%s: %s", url, r.ErrorText)
	}
}

// eval is the value of a JavaScript expression in the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	r := call[struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}](b, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if r.ExceptionDetails != nil {
		return fmt.Sprint(r.ExceptionDetails)
	}
	return r.Result.Value
}

// until waits for an expression to become true.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	var value any
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(25 * time.Millisecond) {
		if value = b.eval(expression); value == true {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("not within 20 s: %s: %s is %v; page:\n%v\n%v", what, expression, value, b.eval("document.body.innerText"), b.troubles())
		}
	}
}

func (b *browser) troubles() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.trouble...)
}

func (b *browser) requested() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.requests...)
}
