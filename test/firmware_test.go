package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mote/internal/watch"
)

// The sketch of firmware/dust, built as make firmware builds it, on a simulated
// ATmega328P with its sensors (firmware/simboard).

// firmware builds the sketch and the simulated board, once.
var firmware = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Dir(binary) // goes with it
	for _, args := range [][]string{
		{"make", "-s", "-C", "..", "firmware", "FIRMWARE=" + filepath.Join(dir, "firmware")},
		{"gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o", filepath.Join(dir, "simboard"), "../firmware/simboard/simboard.c", "-lsimavr", "-lelf"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return dir, nil
})

// firmwareTools are the files of the packages that the firmware is built and run
// with, of test/install-tools.
var firmwareTools = map[string]string{
	"/usr/bin/avr-gcc":                              "gcc-avr",
	"/usr/lib/avr/include/avr/io.h":                 "avr-libc",
	"/usr/share/arduino/hardware/arduino/avr/cores": "arduino-core-avr",
	"/usr/include/simavr/sim_avr.h":                 "libsimavr-dev",
	"/usr/include/libelf.h":                         "libelf-dev",
}

func buildFirmware(t *testing.T) string {
	t.Helper()
	var missing []string
	for file, from := range firmwareTools {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, from)
		}
	}
	if len(missing) > 0 {
		t.Skipf("THE FIRMWARE IS NOT TESTED: Debian's %s is not installed; run test/install-tools as root", strings.Join(missing, ", "))
	}
	dir, err := firmware()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// simboard is the firmware at work.
type simboard struct {
	t       *testing.T
	tty     string
	line    *os.File // the terminal, while the test listens itself
	in      io.Writer
	out     *bufio.Scanner
	told    int // bytes
	mu      sync.Mutex
	heard   []byte // guarded by mu: what the board said since the last taking
	taken   int    // bytes that were heard before
	reading sync.WaitGroup
}

// runFirmware runs the board speed times faster than life. At 0 its time stands
// still but in pass.
func runFirmware(t *testing.T, speed int) *simboard {
	t.Helper()
	dir := buildFirmware(t)
	cmd := exec.Command(filepath.Join(dir, "simboard"), filepath.Join(dir, "firmware", "dust.elf"), strconv.Itoa(speed))
	var errs watch.Log
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &simboard{t: t, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		b.leave()
		in.Close()
		time.AfterFunc(10*patience*time.Second, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil || errs.String() != "" {
			t.Errorf("simboard: %v\n%s", err, errs.String())
		}
	})
	if !b.out.Scan() {
		t.Fatalf("simboard says nothing: %s", errs.String())
	}
	b.tty = b.out.Text()
	b.listen()
	return b
}

// listen opens the terminal, as a gateway would; leave closes it.
func (b *simboard) listen() {
	b.t.Helper()
	var err error
	if b.line, err = os.OpenFile(b.tty, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0); err != nil {
		b.t.Fatal(err)
	}
	line := b.line
	b.reading.Go(func() {
		buf := make([]byte, 256)
		for {
			n, err := line.Read(buf)
			if err != nil {
				return
			}
			b.mu.Lock()
			b.heard = append(b.heard, buf[:n]...)
			b.mu.Unlock()
		}
	})
}

func (b *simboard) leave() {
	if b.line != nil {
		b.line.Close()
		b.reading.Wait()
		b.line = nil
	}
}

// do gives the simulated world a command.
func (b *simboard) do(format string, args ...any) string {
	b.t.Helper()
	command := fmt.Sprintf(format, args...)
	fmt.Fprintln(b.in, command)
	if !b.out.Scan() {
		b.t.Fatalf("simboard has ended at %q", command)
	}
	if b.out.Text() == "no such command" {
		b.t.Fatalf("simboard knows no %q", command)
	}
	return b.out.Text()
}

// numbers is what a command answers, as numbers.
func (b *simboard) numbers(command string) (all []float64) {
	b.t.Helper()
	for _, s := range strings.Fields(b.do("%s", command)) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.t.Fatalf("%s: %v", command, err)
		}
		all = append(all, n)
	}
	return all
}

// pass lets so many seconds go by for the board.
func (b *simboard) pass(seconds float64) {
	b.t.Helper()
	b.do("pass %.0f", 1000*seconds)
}

// tell returns when the board's end of the line has it.
func (b *simboard) tell(text string) {
	b.t.Helper()
	if _, err := io.WriteString(b.line, text); err != nil {
		b.t.Fatal(err)
	}
	b.told += len(text)
	waitFor(b.t, "end of the line", 5*time.Second, func() error {
		if told := int(b.numbers("told")[0]); told != b.told {
			return fmt.Errorf("%d of %d bytes", told, b.told)
		}
		return nil
	})
}

var wholeFrame = regexp.MustCompile(`\{[^{}]*\}`)

// frames takes the frames that the board has sent.
func (b *simboard) frames() (frames []string) {
	b.t.Helper()
	said := int(b.numbers("said")[0])
	waitFor(b.t, "this end of the line", 5*time.Second, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if heard := b.taken + len(b.heard); heard < said {
			return fmt.Errorf("%d of %d bytes", heard, said)
		}
		return nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		at := wholeFrame.FindIndex(b.heard)
		if at == nil {
			return frames
		}
		if junk := b.heard[:at[0]]; len(junk) > 0 {
			b.t.Errorf("the board sent %q outside of frames", junk)
		}
		frames = append(frames, string(b.heard[at[0]:at[1]]))
		b.taken += at[1]
		b.heard = bytes.Clone(b.heard[at[1]:])
	}
}

// answer tells the board something and returns the one frame that it answers.
func (b *simboard) answer(command string) string {
	b.t.Helper()
	b.frames()
	b.tell(command)
	b.pass(0.3)
	frames := b.frames()
	if len(frames) != 1 {
		b.t.Fatalf("%q is answered by %q, want one frame", command, frames)
	}
	return frames[0]
}

// seldom makes the board speak when spoken to only, and waits out its beginning.
func (b *simboard) seldom() {
	b.t.Helper()
	b.pass(2)
	b.tell("{rate:3600}")
	b.pass(0.3)
	b.frames()
}

// measure returns the values of a frame whose dust is a mean of this moment.
func (b *simboard) measure() (dust, temp, humid string) {
	b.t.Helper()
	b.answer("{rate:3600}")
	values := strings.Split(strings.Trim(b.answer("{rate:3600}"), "{}"), ":")
	if len(values) != 5 {
		b.t.Fatalf("frame %q", values)
	}
	return values[1], values[2], values[3]
}

// TestFirmwareFitsItsBoard holds the program to what its README says that it
// takes, and its memory, stack included, to 1.5 of the 2 KiB.
func TestFirmwareFitsItsBoard(t *testing.T) {
	dir := buildFirmware(t)
	out, err := exec.Command("avr-size", filepath.Join(dir, "firmware", "dust.elf")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var text, data, bss int
	if _, err := fmt.Sscanf(strings.SplitN(string(out), "\n", 2)[1], "%d %d %d", &text, &data, &bss); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	b := runFirmware(t, 0)
	b.do("dht 1 151 128 53")
	b.do("dust 1400")
	b.pass(3)
	b.tell(strings.Repeat("{id:longest-of-names}{rate:0.1234}", 8))
	b.pass(8) // frames, measurements and the EEPROM at once
	stack := int(b.numbers("stack")[0])
	readme, err := os.ReadFile("../firmware/dust/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, size := range map[string]int{"flash": text + data, "variables": data + bss, "stack": stack} {
		m := regexp.MustCompile(`\| ` + what + ` \| (\d+) `).FindSubmatch(readme)
		if m == nil {
			t.Fatalf("the README states no %s", what)
		}
		stated, _ := strconv.Atoi(string(m[1]))
		if size > stated || size < stated*8/10 {
			t.Errorf("%s: %d bytes, the README says %d", what, size, stated)
		}
	}
	if memory := data + bss + stack; memory > 1536 {
		t.Errorf("%d bytes of memory, more than 1536", memory)
	}
}

func TestFirmwareMeasuresDust(t *testing.T) {
	b := runFirmware(t, 0)
	b.seldom()
	for _, mv := range []int{700, 900, 1000, 1400, 2650, 3400} {
		b.do("dust %d", mv)
		dust, _, _ := b.measure()
		want := math.Max(0, float64(mv-900)/5) // data sheet: 0.9 V and 0.5 V for 100 µg/m³
		if got, err := strconv.ParseFloat(dust, 64); err != nil || math.Abs(got-want) > 1.5 {
			t.Errorf("%d mV gives %q µg/m³, want about %.1f", mv, dust, want)
		}
	}
	for _, mv := range []int{0, 5000} {
		b.do("dust %d", mv)
		if dust, _, _ := b.measure(); dust != "" {
			t.Errorf("%d mV, which no sensor gives, is sent as %q", mv, dust)
		}
	}
	b.do("pulses")
	b.pass(5)
	p := b.numbers("pulses")
	t.Log("pulses, samples, least and most µs of width, sampling and cycle:", p)
	if p[0] < 400 || p[1] != p[0] {
		t.Errorf("%v pulses and %v samples in 5 s", p[0], p[1])
	}
	for i, want := range []struct{ least, most float64 }{{300, 340}, {270, 290}} {
		if p[2+2*i] < want.least || p[3+2*i] > want.most {
			t.Errorf("pulse timing %v to %v µs, want %v to %v", p[2+2*i], p[3+2*i], want.least, want.most)
		}
	}
	if p[6] < 9000 || p[7] > 40000 { // it pauses for the DHT
		t.Errorf("a cycle takes %v to %v µs", p[6], p[7])
	}
}

func TestFirmwareMeasuresTemperatureAndHumidity(t *testing.T) {
	b := runFirmware(t, 0)
	b.do("dust 1000")
	b.seldom()
	for _, c := range []struct{ dht, temp, humid string }{
		{"dht 1 151 0 213", "21.3", "40.7"},  // DHT22
		{"dht 1 151 128 53", "-5.3", "40.7"}, // below zero
		{"dht 3 232 1 44", "30.0", "100.0"},  // wettest
		{"dht 1 151 0 213 9", "", ""},        // a wrong sum
		{"dht 45 0 23 7", "23.7", "45.0"},    // DHT11
		{"dht cut 17", "", ""},               // it breaks off
		{"dht 20 0 3 133", "-3.5", "20.0"},   // DHT11 below zero
		{"dht off", "", ""},                  // it is not there
		{"dht 0 95 0 5", "0.5", "9.5"},       // and again
		{"dht 3 255 0 5", "", ""},            // 102.3 %
		{"dht 85 85 85 85", "", ""},          // no DHT11 has such tenths
		{"dht 1 151 255 255", "", ""},        // below -3000 degrees
		{"dht 90 0 80 0", "80.0", "90.0"},    // DHT11 at its end
	} {
		b.do("%s", c.dht)
		if c.temp == "" {
			b.pass(7.6) // three failures
		} else {
			b.pass(2.4) // measure takes more
		}
		dust, temp, humid := b.measure()
		if temp != c.temp || humid != c.humid {
			t.Errorf("%s is sent as %q and %q, want %q and %q", c.dht, temp, humid, c.temp, c.humid)
		}
		if dust == "" {
			t.Errorf("%s: no dust either", c.dht)
		}
	}
	b.do("calls")
	b.do("dht off")
	b.pass(2)
	if _, temp, _ := b.measure(); temp != "80.0" {
		t.Errorf("one failure empties the temperature: %q", temp)
	}
	b.pass(5)
	if c := b.numbers("calls"); c[0] < 2 || c[0] > 4 || c[1] < 18000 || c[1] > 20000 {
		t.Errorf("%v calls in 8 s, the shortest of %v µs", c[0], c[1])
	}
}

func TestFirmwareObeysItsLine(t *testing.T) {
	b := runFirmware(t, 0)
	b.do("dust 1000")
	b.seldom()
	for _, c := range []struct{ tell, id, rate string }{
		{"{rate:7200}", "1", "7200"},
		{"{rate:1800.5}", "1", "1800.5"},
		{"{rate:1800.125}", "1", "1800.125"},
		{"{rate:1800.0625}", "1", "1800.062"}, // thousandths are what it can
		{"{rate:0600.}", "1", "600"},
		{"{rate:604800}", "1", "604800"},
		{"{rate:604801}", "1", "604800"}, // and says so
		{"{rate:99999999999999999999999}", "1", "604800"},
		{"{id:roof-1}", "roof-1", "604800"},
		{"{id:a_B9}", "a_B9", "604800"},
		{"{id:1234567890123456}", "1234567890123456", "604800"},
		{"noise{rate:9{id:x}", "x", "604800"}, // a frame that another cuts off
		{"{{rate:3600}}", "x", "3600"},
	} {
		frame := b.answer(c.tell)
		if !strings.HasPrefix(frame, "{"+c.id+":") || !strings.HasSuffix(frame, ":"+c.rate+"}") {
			t.Errorf("%q is answered by %q, want id %s and rate %s", c.tell, frame, c.id, c.rate)
		}
	}
	for _, junk := range []string{
		"{rate:0}", "{rate:0.0009}", "{rate:-5}", "{rate:+5}", "{rate:1e3}", "{rate:NaN}", "{rate:}", "{rate:.}", "{rate:5 }", "{rate:1.2.3}",
		"{rate:0x10}", "{rates:5}", "{Rate:5}", "{reset:1}", "{}", "}", "5}", "{", "{rate:5", "{rate:\x005}", "{id:}", "{id:a:b}", "{id:a b}", "{id:ä}",
		"{id:12345678901234567}", "{" + strings.Repeat("x", 200) + "rate:5}", "{rate:" + strings.Repeat("0", 40) + "5}", "\xff\xfe{\x80}",
	} {
		b.tell(junk)
		b.pass(0.3 + 0.0011*float64(len(junk)))
		if frames := b.frames(); len(frames) > 0 {
			t.Errorf("%q is answered by %q", junk, frames)
		}
	}
	if frame := b.answer("{id:x}"); !strings.HasSuffix(frame, ":3600}") {
		t.Errorf("junk changed the rate: %q", frame)
	}
	b.tell("{rate:0.001}")
	b.pass(3.05)
	frames := b.frames()
	if n := len(frames); n < 29 || n > 32 || !strings.HasSuffix(frames[n-1], ":0.1}") {
		t.Errorf("%d frames in 3 s at the least rate of 0.1: %q", n, frames)
	}
}

func TestFirmwareKeepsItsSettings(t *testing.T) {
	b := runFirmware(t, 0)
	b.do("dust 1000")
	b.seldom()
	blank := b.do("eeprom")
	if strings.Trim(blank, "f") != "" {
		t.Fatalf("a new board's EEPROM has %s", blank)
	}
	b.tell("{id:roof-1}{rate:1800}{rate:900}{rate:1800.5}")
	b.pass(4.5)
	if b.do("eeprom") != blank {
		t.Error("a change is written before it has settled")
	}
	slots := func() (used []int) { // of 32 bytes, the first of which is the version
		for i, rest := 0, b.do("eeprom"); rest != ""; i, rest = i+1, rest[64:] {
			if rest[:2] == "01" {
				used = append(used, i)
			}
		}
		return used
	}
	restarted := func(id, rate string) {
		t.Helper()
		b.frames()
		b.pass(2.2)
		frames := b.frames()
		if len(frames) == 0 || !strings.HasPrefix(frames[0], "{"+id+":") || !strings.HasSuffix(frames[0], ":"+rate+"}") {
			t.Fatalf("after a restart: %q, want id %s and rate %s", frames, id, rate)
		}
	}
	b.pass(2.5)
	if used := slots(); !slices.Equal(used, []int{0}) {
		t.Fatalf("slots %v are used", used)
	}
	b.do("reset")
	restarted("roof-1", "1800.5")

	before := b.do("eeprom")
	b.tell("{rate:60}")
	b.pass(1)
	b.tell("{rate:1800.5}{id:roof-1}") // back before it was written
	b.pass(7)
	if b.do("eeprom") != before {
		t.Error("no change is written")
	}
	b.tell("{rate:1200}")
	b.pass(7)
	if used := slots(); !slices.Equal(used, []int{0, 1}) {
		t.Errorf("slots %v are used", used)
	}
	b.do("hang") // until the watchdog bites
	resets := b.numbers("resets")[0]
	b.pass(3)
	if n := b.numbers("resets")[0] - resets; n != 1 {
		t.Errorf("the watchdog bites %v times in 3 s", n)
	}
	restarted("roof-1", "1200")

	b.do("spoil %d", 32+4) // a byte of the newer slot's rate
	b.do("reset")
	restarted("roof-1", "1800.5")
	b.tell("{rate:2400}")
	b.pass(7)
	b.tell("{rate:2401}")
	b.pass(5.05) // it has begun to write
	b.do("reset")
	b.pass(2.2)
	if frames := b.frames(); len(frames) == 0 || !strings.HasSuffix(frames[len(frames)-1], ":2400}") && !strings.HasSuffix(frames[len(frames)-1], ":2401}") {
		t.Errorf("after a restart while settings are written: %q", frames)
	}
}

// boardConfig is what mote up makes, with a board at a serial port.
func boardConfig(t *testing.T, tty string) string {
	t.Helper()
	base, err := os.ReadFile("../cmd/mote/up.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(base), "sim = 2", fmt.Sprintf("serial = %q", tty), 1)
	if text == string(base) {
		t.Fatal("up.toml has no simulated boards to replace")
	}
	config := filepath.Join(t.TempDir(), "mote.toml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// rowOf waits for a row of the board roof-1 that has these values.
func (h *host) rowOf(temp, humid string) {
	h.t.Helper()
	waitFor(h.t, fmt.Sprintf("row with temp %q and humid %q", temp, humid), 30*time.Second, func() error {
		rows, last := h.query("roof-1"), []string{}
		for _, row := range rows {
			if text(row["temp"]) != temp || text(row["humid"]) != humid {
				continue
			}
			if dust, err := strconv.ParseFloat(text(row["dust"]), 64); err != nil || math.Abs(dust-100) > 1.2 {
				h.t.Fatalf("dust is %v, want about 100", text(row["dust"]))
			}
			return nil
		}
		for _, row := range rows[max(0, len(rows)-3):] {
			last = append(last, fmt.Sprint(text(row["time"]), " ", text(row["dust"]), " ", text(row["temp"])))
		}
		return fmt.Errorf("%d rows, none such: %s", len(rows), last)
	})
}

// TestFirmwareToCloudAndBack: firmware, gateway, cloud, table; shadow, gateway,
// firmware, and its frames make the shadow agree.
func TestFirmwareToCloudAndBack(t *testing.T) {
	b := runFirmware(t, 1)
	b.do("dust 1400")
	b.do("dht 1 151 128 53")
	b.tell("{id:roof-1}")
	waitFor(t, "the board's name", 20*time.Second, func() error {
		if frames := b.frames(); len(frames) == 0 || !strings.HasPrefix(frames[len(frames)-1], "{roof-1:") {
			return fmt.Errorf("%q", frames)
		}
		return nil
	})
	b.tell("{rate:1}")
	b.leave()
	h := startHost(t, t.TempDir(), "up", "--config", boardConfig(t, b.tty))
	h.rowOf("-5.3", "40.7")
	h.reports("roof-1", 1)
	h.desire("roof-1", "0.5")
	h.reports("roof-1", 0.5)
	b.do("dht off")
	h.rowOf("", "")

	h.desire("roof-1", "0.01") // less than the board can: the shadow says what it took
	waitFor(t, "the board's least rate", 20*time.Second, func() error {
		state := h.shadow("roof-1")
		reported, _ := state["reported"].(map[string]any)
		delta, _ := state["delta"].(map[string]any)
		if reported["rate"] != 0.1 || delta["rate"] != 0.01 {
			return fmt.Errorf("state %v", state)
		}
		return nil
	})
	h.desire("roof-1", "2")
	h.reports("roof-1", 2)
	b.pass(7)
	b.do("reset")
	b.do("dht 45 0 23 7")
	h.rowOf("23.7", "45") // the table keeps numbers without what follows them
	h.reports("roof-1", 2)
}
