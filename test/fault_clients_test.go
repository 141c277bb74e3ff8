package test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tools is the identity of mote pub and mote sub, for the mosquitto clients.
func (s *site) tools() device {
	dir := filepath.Join(s.data, "things", "tools")
	return device{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
}

// mosquitto runs one of the mosquitto clients as tools.
func (s *site) mosquitto(stdin, name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(tool(s.t, name), s.cloud.mosquitto(s.tools(), args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), errs.String())
	}
	return out.String()
}

func (s *site) killCloud() {
	s.t.Helper()
	s.cloud.kill()
	s.startCloud()
}

func TestAPersistentSessionGetsEverythingAfterAKill(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.startCloud()
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			subscriber := []string{"-V", version, "-c", "-i", "keeper-" + version, "-q", "1", "-t", "kept/" + version}
			if version == "mqttv5" {
				subscriber = append(subscriber, "-x", "3600")
			}
			s.mosquitto("", "mosquitto_sub", append(subscriber, "-E")...)
			var lines strings.Builder
			var want []string
			for i := range 200 {
				want = append(want, fmt.Sprintf("message %d", i))
				fmt.Fprintln(&lines, want[i])
			}
			s.mosquitto(lines.String(), "mosquitto_pub", "-q", "1", "-t", "kept/"+version, "-l")
			s.killCloud()
			got := strings.Split(strings.TrimSpace(s.mosquitto("", "mosquitto_sub", append(subscriber, "-C", "200", "-W", "60")...)), "\n")
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %d messages: %.300q", len(got), got)
			}
		})
	}
}

func TestARetainedMessageOutlivesAKill(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.startCloud()
	s.mosquitto("", "mosquitto_pub", "-q", "1", "-r", "-t", "state/door", "-m", "open")
	s.mosquitto("", "mosquitto_pub", "-q", "1", "-r", "-t", "state/window", "-m", "open")
	s.mosquitto("", "mosquitto_pub", "-q", "1", "-r", "-t", "state/window", "-n") // no longer
	s.killCloud()
	// As on AWS, a filter with a wildcard gets no retained message.
	if got := s.mosquitto("", "mosquitto_sub", "-q", "1", "-t", "state/window", "-t", "state/door", "-v", "-W", "60", "-C", "1"); got != "state/door open\n" {
		t.Errorf("got %q", got)
	}
}

func TestPubSaysHowManyMessagesWereTakenWhenTheCloudDies(t *testing.T) {
	s := newSite(t, "")
	s.startCloud()
	pub := exec.Command(binary, "pub", "--data", s.data, "--lines", "sensors/p/air")
	in, err := pub.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	pub.Stdout, pub.Stderr = &out, &out
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // until nobody reads them
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(in, `{"id":"p","time":"%09d","dust":%d}`+"\n", i, i); err != nil {
				return
			}
			if i%100 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	waitFor(t, "first rows", 10*time.Second, func() error {
		if n := len(s.cloud.history("p")); n < 300 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	s.cloud.kill()
	err = pub.Wait()
	if err == nil {
		t.Error("mote pub ended with 0 though the cloud died")
	}
	m := regexp.MustCompile(`(\d+) messages were acknowledged`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("mote pub does not say how many messages were taken: %s", &out)
	}
	acked, _ := strconv.Atoi(m[1])
	s.startCloud()
	got := s.cloud.numbers("p")
	if len(got) < acked || acked == 0 {
		t.Fatalf("%d messages were acknowledged, %d are in the table", acked, len(got))
	}
	for i := range acked {
		if got[i] != i {
			t.Fatalf("message %d was acknowledged and is not in the table", i)
		}
	}
	t.Logf("%d acknowledged, %d stored: %s", acked, len(got), strings.TrimSpace(out.String()))
}

// silent accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return l.Addr().String()
}

// wantStop presses Ctrl-C.
func wantStop(t *testing.T, p *process) {
	t.Helper()
	if took := p.interrupt(); p.err != nil || took > 2*time.Second {
		t.Errorf("Ctrl-C: ended after %v with %v, want 0 within 2 s; it printed:\n%s", took, p.err, p.out)
	}
}

func TestCtrlCStopsTheGatewayWhateverTheCloudDoes(t *testing.T) {
	s := newSite(t, "")
	s.startCloud()
	gateways := map[string]*process{}
	for name, addr := range map[string][2]string{"refused": {freeAddr(t), freeAddr(t)}, "silent": {silent(t), silent(t)}, "frozen": {s.mqtt, s.web}} {
		for road, uplink := range map[string]string{"iot": s.iotUplink(addr[0]), "rest": s.restUplink(addr[1])} {
			b := startBoard(t, 5*time.Millisecond)
			s.configure(fmt.Sprintf("dir = %q", name+road), b.listener.Addr().String(), uplink)
			s.startGateway()
			s.gateway.says("line is open")
			gateways[name+" "+road] = s.gateway
		}
	}
	time.Sleep(200 * time.Millisecond)
	_ = s.cloud.cmd.Process.Signal(syscall.SIGSTOP)
	defer s.cloud.cmd.Process.Signal(syscall.SIGCONT)
	time.Sleep(300 * time.Millisecond)
	t.Run("all", func(t *testing.T) {
		for name, g := range gateways {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				wantStop(t, g)
			})
		}
	})
}

// startUntil starts mote and returns when path is there, from which on it
// hears Ctrl-C.
func startUntil(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := start(t, args...)
	waitFor(t, path, 10*time.Second, func() error {
		_, err := os.Stat(path)
		return err
	})
	return p
}

func TestCtrlCStopsInTheFirstSeconds(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := startBoard(t, time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	for i := range 4 {
		pause := time.Duration(i*80+rand.IntN(80)) * time.Millisecond
		data := filepath.Join(t.TempDir(), "data")
		for _, p := range []*process{
			startUntil(t, data, append([]string{"up", "--data", data}, freePorts...)...),
			startUntil(t, filepath.Join(s.dir, "spool"), "gateway", "--config", filepath.Join(s.dir, "mote.toml")),
		} {
			time.Sleep(pause)
			wantStop(t, p)
		}
		up := startHost(t, data, "up") // what was begun is gone on with
		wantStop(t, up.process)
		_ = os.RemoveAll(filepath.Join(s.dir, "spool"))
	}
}

// TestASilentConnectionDoesNotKeepTheCloudFromStopping: a client that connected
// and has asked for nothing is what a browser or an SDK leaves behind.
func TestASilentConnectionDoesNotKeepTheCloudFromStopping(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.ep.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	time.Sleep(100 * time.Millisecond) // until it is accepted
	wantStop(t, h.process)
}

// strange are frames that no board should send. Each is followed by a good one.
var strange = []string{
	"{t:1e400:1:1:1}", "{t:-1e-400:1:1:1}", "{t:" + strings.Repeat("9", 60) + ":1:1:1}", "{t:nan:inf:-inf:1}",
	"{" + strings.Repeat("i", 64) + ":1:1:1:1}", "{" + strings.Repeat("i", 200) + ":1:1:1:1}",
	"{бø号:1:1:1:1}", "{t:温度:☃:\U0001F321:1}", "{a/b:1:1:1:1}", "{#:1:1:1:1}", "{+:1:1:1:1}", "{$aws:1:1:1:1}", "{:1:1:1:1}", "{ :1:1:1:1}",
	"{t:\x00:\x01\x7f:\x1b[31m:1}", "{t:\xff\xfe:1:1:1}", "{t:\u202e:\u0085:\ufeff:1}", "{t::::}", "{t:\":\\:':1}", "{t:1:1:1:1e400}", "{t:1:1:1:-5}",
	"{t:1:1}", "{t:1:1:1:1:1:1}", "{{{{", "}}}}", strings.Repeat("{t:", 500), strings.Repeat("\x00", 5000),
}

// odd is how many of them are readings of board t all the same: numbers that no
// table takes are text.
const odd = 9

// TestStrangeFramesStopNobody sends them over both roads. Every good frame must
// be in the table, and every strange one there or refused by the gateway.
func TestStrangeFramesStopNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.startCloud()
	for i, road := range []string{"iot", "rest"} {
		t.Run(road, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				for i, f := range strange {
					fmt.Fprintf(conn, "%s\n{good-%s:%d:21.5:40:1}\n", f, road, i)
					time.Sleep(2 * time.Millisecond)
				}
				_, _ = io.Copy(io.Discard, conn)
			}()
			uplink := s.iotUplink(s.mqtt)
			if road == "rest" {
				uplink = s.restUplink(s.web)
			}
			s.configure(fmt.Sprintf("dir = %q", road), l.Addr().String(), uplink)
			s.startGateway()
			var got []int
			waitFor(t, "good frames", 20*time.Second, func() error {
				if got = s.cloud.numbers("good-" + road); len(got) < len(strange) {
					return fmt.Errorf("%d of %d", len(got), len(strange))
				}
				return nil
			})
			for i, n := range got {
				if i != n {
					t.Errorf("frame %d is at %d", n, i)
				}
			}
			wantStop(t, s.gateway)
			if strings.Contains(s.gateway.out.String(), "\x1b[31m") || strings.Contains(s.cloud.out.String(), "\x1b[31m") {
				t.Error("a control sequence of a board is in the log as it is")
			}
			if n := len(s.cloud.history("t")); n != odd*(i+1) {
				t.Errorf("%d strange readings of board t are in the table, want %d on each road", n, odd)
			}
			if !strings.Contains(s.gateway.out.String(), "frame refused") {
				t.Error("the gateway refused frames without a word")
			}
			if strings.Contains(s.cloud.out.String(), "an action of a rule failed") {
				t.Errorf("readings reached the rules that no table takes:\n%s", s.cloud.out)
			}
		})
	}
}
