package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt"
)

// These tests have Eclipse Mosquitto's clients as the peer, so that not only
// our own codec says that we speak MQTT.

// files writes a client certificate as the options that mosquitto's tools take.
func (w *world) files(name string) []string { return w.filesOf(name, w.pki.client(w.t, name)) }

func (w *world) filesOf(name string, cert tls.Certificate) []string {
	w.t.Helper()
	dir := w.t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: w.pki.ca.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(w.addr)
	return []string{
		"-h", "localhost", "-p", port, "-i", name,
		"--cafile", filepath.Join(dir, "ca.pem"), "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"),
	}
}

// tool runs a mosquitto client and returns what it printed and its exit.
func (w *world) tool(name string, args ...string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// sub starts mosquitto_sub and returns when it has subscribed to n filters; the
// returned function waits for its end and returns what it printed.
func (w *world) sub(n int, args ...string) (wait func() string) {
	w.t.Helper()
	before := w.b.Status().Subscriptions
	done := make(chan string, 1)
	go func() {
		out, err := w.tool("mosquitto_sub", append(args, "-W", "8")...)
		if err != nil {
			out += " (" + err.Error() + ")"
		}
		done <- out
	}()
	w.until("mosquitto_sub has subscribed", func() bool { return w.b.Status().Subscriptions >= before+n })
	return func() string { return <-done }
}

func needMosquitto(t *testing.T) {
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: mosquitto-clients)", tool)
		}
	}
}

func TestMosquittoClients(t *testing.T) {
	needMosquitto(t)
	t.Parallel()
	for _, v := range []string{"mqttv311", "mqttv5"} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Limits{}, nil)
			w.gate.denyAction("iot:Publish", "topic/denied")
			pub := append([]string{"-V", v}, w.files("pub")...)
			sub := append([]string{"-V", v}, w.files("sub")...)

			wait := w.sub(1, append(sub, "-t", "a/+", "-q", "1", "-C", "3", "-F", "%t %q %r %p")...)
			for _, q := range []string{"0", "1"} {
				if out, err := w.tool("mosquitto_pub", append(pub, "-t", "a/x", "-q", q, "-m", "hello "+q)...); err != nil {
					t.Errorf("mosquitto_pub: %v %s", err, out)
				}
			}
			if out, err := w.tool("mosquitto_pub", append(pub, "-t", "a/kept", "-q", "1", "-r", "-m", "kept")...); err != nil {
				t.Errorf("mosquitto_pub: %v %s", err, out)
			}
			if got := wait(); got != "a/x 0 0 hello 0\na/x 1 0 hello 1\na/kept 1 0 kept\n" {
				t.Errorf("mosquitto_sub printed %q", got)
			}
			if got, err := w.tool("mosquitto_sub", append(sub, "-t", "a/kept", "-q", "1", "-C", "1", "-F", "%t %q %r %p")...); got != "a/kept 1 1 kept\n" {
				t.Errorf("retained: mosquitto_sub printed %q, %v", got, err)
			}

			out, err := w.tool("mosquitto_pub", append(pub, "-t", "denied", "-q", "1", "-m", "x")...)
			if v == "mqttv5" && !strings.Contains(out, "Not authorized") || v == "mqttv311" && err == nil {
				t.Errorf("denied publish: mosquitto_pub printed %q, %v", out, err)
			}
			w.refused("iot:Publish", "topic/denied", "statement 2")

			wait = w.sub(1, append(sub, "-t", "gone", "-C", "1", "-F", "%p")...)
			lost := exec.Command("mosquitto_sub", append(append([]string{"-V", v}, w.files("lost")...), "-t", "b", "--will-topic", "gone", "--will-payload", "bye")...)
			if err := lost.Start(); err != nil {
				t.Fatal(err)
			}
			w.until("both have subscribed", func() bool { return w.b.Status().Subscriptions == 2 })
			_ = lost.Process.Kill()
			_ = lost.Wait()
			if got := wait(); got != "bye\n" {
				t.Errorf("will: mosquitto_sub printed %q", got)
			}
		})
	}
}

func TestMosquittoPersistentSessionSurvivesRestart(t *testing.T) {
	needMosquitto(t)
	t.Parallel()
	for v, lasting := range map[string][]string{"mqttv311": {"-c"}, "mqttv5": {"-c", "-x", "3600"}} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Limits{}, nil)
			subArgs := func() []string {
				return append(append([]string{"-V", v, "-t", "a/+", "-q", "1"}, w.files("sub")...), lasting...)
			}
			if out, err := w.tool("mosquitto_sub", append(subArgs(), "-E")...); err != nil {
				t.Fatalf("mosquitto_sub: %v %s", err, out)
			}
			publish := func(m string) {
				if out, err := w.tool("mosquitto_pub", append(append([]string{"-V", v}, w.files("pub")...), "-t", "a/x", "-q", "1", "-m", m)...); err != nil {
					t.Fatalf("mosquitto_pub: %v %s", err, out)
				}
			}
			publish("one")
			w.restart()
			publish("two")
			w.restart()
			if got, err := w.tool("mosquitto_sub", append(subArgs(), "-C", "2", "-W", "8")...); got != "one\ntwo\n" {
				t.Errorf("mosquitto_sub printed %q, %v", got, err)
			}
		})
	}
}

func TestMosquittoIsRefusedInTheHandshake(t *testing.T) {
	needMosquitto(t)
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	good := w.files("good")
	bad := w.filesOf("bad", newPKI(t).client(t, "bad")) // a CA of the same name, with another key
	if out, err := w.tool("mosquitto_pub", append(good, "-t", "a", "-m", "x")...); err != nil {
		t.Errorf("mosquitto_pub: %v %s", err, out)
	}
	if out, err := w.tool("mosquitto_pub", append(bad, "-t", "a", "-m", "x", "-q", "1")...); err == nil {
		t.Errorf("a certificate of another CA got in: %s", out)
	}
	w.until("a refusal", func() bool {
		r, _ := w.refusals.Recent(1)
		return len(r) == 1 && r[0].Where == "tls" && strings.Contains(r[0].Reason, "not issued by this cloud") && strings.Contains(r[0].Resource, "bad")
	})
	own := w.pki
	w.pki = newPKI(t)
	astray := w.filesOf("good", own.client(t, "good"))
	w.pki = own
	if out, err := w.tool("mosquitto_pub", append(astray, "-t", "a", "-m", "x", "-q", "1")...); err == nil {
		t.Errorf("a client that trusts another CA got in: %s", out)
	}
	w.until("a refusal", func() bool {
		r, _ := w.refusals.Recent(1)
		return len(r) == 1 && r[0].Where == "tls" && strings.Contains(r[0].Reason, "it needs the root CA (ca.pem)")
	})
}

// A connection that came through another listener is judged as well.
func TestServeConn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	l, err := tls.Listen("tcp", "127.0.0.1:0", w.b.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for range 4 {
			nc, err := l.Accept()
			if err != nil {
				break
			}
			tc := nc.(*tls.Conn)
			if tc.Handshake() == nil {
				w.b.ServeConn(ctx, tc)
			} else {
				closeGently(tc, lingerWithin)
			}
		}
		close(served)
	}()
	w.addr = l.Addr().String()
	c, _ := w.connect(clean(4, "c"))
	c.publish("a", "x")
	c.close()
	nc, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pki.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a connection without certificate is served")
	}
	stranger := newPKI(t).client(t, "stranger")
	if nc, err = tls.Dial("tcp", w.addr, w.tlsConfig(stranger)); err == nil {
		_, err = nc.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a certificate of another CA is served")
	}
	w.until("the refusal of the stranger", func() bool {
		r, _ := w.refusals.Recent(1)
		return len(r) == 1 && strings.Contains(r[0].Reason, "not issued by this cloud")
	})
	// the end of ctx is a stop of the server: told to the client, and its will is published
	five := clean(5, "five")
	five.Will = &mqtt.Will{Topic: "gone"}
	c, _ = w.connect(five)
	n := w.rules.seen.Load()
	cancel()
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ServerShuttingDown {
		t.Errorf("DISCONNECT %v", d.Code)
	}
	<-served
	if w.rules.seen.Load() != n+1 {
		t.Error("the will was not published")
	}
}
