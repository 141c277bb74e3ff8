package guest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mote/internal/edge/bluetooth"
	"mote/internal/edge/source/rfcomm"
	"mote/internal/watch"
	"mote/test/bluetooth/radio"
)

const busConfig = `<busconfig><type>session</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/><allow user="*"/></policy></busconfig>`

// startBlueZ runs the machine's own bluetoothd, on a bus of its own.
func startBlueZ(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/var/lib/bluetooth", "/etc/bluetooth", "/run/dbus"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile("/etc/bus.conf", []byte(busConfig), 0o644), os.WriteFile("/etc/passwd", []byte("root:x:0:0::/:/\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/bus")
	for _, args := range [][]string{{"/usr/bin/dbus-daemon", "--config-file=/etc/bus.conf", "--nofork", "--nopidfile"}, {"/usr/libexec/bluetooth/bluetoothd", "-n"}} {
		cmd := exec.Command(args[0], args[1:]...)
		log, err := os.CreateTemp("", "log")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if text, err := os.ReadFile(log.Name()); t.Failed() {
				t.Logf("%s printed: %s %v", args[0], text, err)
			}
		})
		if args[0] == "/usr/bin/dbus-daemon" {
			watch.Until(t, "the bus is up", func() bool { _, err := os.Stat("/run/bus"); return err == nil })
		}
	}
}

// TestSystemDaemon finds a board through BlueZ's own bluetoothd and pairs with
// it; the gateway's socket then needs no PIN. It is the last test, since the
// daemon takes the adapters over.
func TestSystemDaemon(t *testing.T) {
	e := theWorld(t)
	if _, err := bluetooth.Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no D-Bus system bus") {
		t.Errorf("without a bus: %v", err)
	}
	startBlueZ(t)
	var system *bluetooth.System
	var err error
	if !watch.Soon(func() bool {
		system, err = bluetooth.Open(t.Context(), e.gateway.Address.String())
		return err == nil
	}) {
		t.Fatal(err)
	}
	defer system.Close()
	e.mgmt.SetPIN(e.gateway.index, radio.Silent)
	board := e.boards[0]
	for _, b := range e.boards {
		b.SetPIN(pin)
		e.mgmt.SetPIN(b.index, radio.Silent)
	}
	found := findable(t, e, system, board)
	if len(found) != 1 || found[0].Address != board.Address.String() || found[0].RSSI != -50 || found[0].Paired {
		t.Fatalf("found %+v", found)
	}
	err = pair(t, e, system, board, "0000")
	if err == nil || !strings.Contains(err.Error(), "refused the pin") {
		t.Errorf("the wrong pin: %v", err)
	}
	if err := pair(t, e, system, board, pin); err != nil {
		t.Fatal(err)
	}
	if err := pair(t, e, system, board, pin); !errors.Is(err, bluetooth.ErrPaired) {
		t.Errorf("a second time: %v", err)
	}
	board.listen(t, 1)
	conn, err := e.source(t, rfcomm.Options{Address: board.Address.String()}).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := e.mgmt.Do(radio.SetPowered, e.gateway.index, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := system.Scan(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "power on") {
		t.Errorf("adapter off: %v", err)
	}
}

// letFind makes the board findable. The daemon, which starts, may undo that for a
// while.
func letFind(t *testing.T, e *earth, board *station) {
	t.Helper()
	if err := errors.Join(e.mgmt.Do(radio.SetConnectable, board.index, 1), e.mgmt.Do(radio.SetFindable, board.index, 1, 0, 0)); err != nil {
		t.Fatal(err)
	}
}

// findable scans until something is found.
func findable(t *testing.T, e *earth, system *bluetooth.System, board *station) (found []bluetooth.Device) {
	t.Helper()
	watch.Soon(func() bool {
		letFind(t, e, board)
		var err error
		if found, err = system.Scan(t.Context(), 2*time.Second); err != nil {
			t.Fatal(err)
		}
		return len(found) > 0
	})
	return found
}

// pair pairs with the board, again as long as it is not found.
func pair(t *testing.T, e *earth, system *bluetooth.System, board *station, pin string) (err error) {
	t.Helper()
	watch.Soon(func() bool {
		letFind(t, e, board)
		err = system.Pair(t.Context(), board.Address.String(), pin, 10*time.Second)
		return err == nil || !strings.Contains(err.Error(), "was not found")
	})
	return err
}
