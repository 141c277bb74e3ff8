package bluetooth

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mote/internal/edge/bluetooth/dbus"
)

const (
	hc05   = "00:18:E4:35:4A:D7"
	phone  = "00:11:22:33:44:55"
	paired = "00:18:E4:00:00:09"
)

// startBus runs a bus of its own, and makes it the system's for this process.
func startBus(t *testing.T, policy string) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("no dbus-daemon (Debian package dbus-daemon); run test/install-tools")
	}
	dir := t.TempDir()
	address := "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	text := `<busconfig><type>session</type><listen>` + address + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/><allow user="*"/>` + policy + `</policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--print-address")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	return address
}

// daemon stands for bluetoothd, as far as this package uses it.
type daemon struct {
	bus *dbus.Conn

	mu          sync.Mutex
	powered     bool                   // guarded by mu
	discovering bool                   // guarded by mu
	begun       func()                 // guarded by mu: called when a discovery begins
	transport   string                 // guarded by mu: of the discovery filter
	devices     map[string]map[any]any // guarded by mu: properties by address
	near        map[string]int16       // guarded by mu: what a discovery finds
	pins        map[string]string      // guarded by mu: of the boards
	agents      map[string]dbus.Path   // guarded by mu: by the names of clients
	refuse      map[string]string      // guarded by mu: errors by method
	question    string                 // guarded by mu: what the agent is asked instead of RequestPinCode
}

func startDaemon(t *testing.T, address string) *daemon {
	t.Helper()
	d := &daemon{
		powered: true, pins: map[string]string{hc05: "1234"}, agents: map[string]dbus.Path{}, refuse: map[string]string{},
		near: map[string]int16{hc05: -48},
		devices: map[string]map[any]any{
			paired:              device(paired, "HC-06", true),
			"C0:FF:EE:00:00:01": {"Address": v("s", "C0:FF:EE:00:00:01"), "AddressType": v("s", "random"), "RSSI": v("n", int16(-30)), "Paired": v("b", false)},
			phone:               device(phone, "gone long ago", false),
		},
	}
	var err error
	if d.bus, err = dbus.Dial(t.Context(), address, d.answer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.bus.Close)
	if _, err := d.bus.Call(t.Context(), &dbus.Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "RequestName", Type: "su", Body: []any{service, uint32(4)}}); err != nil {
		t.Fatal(err)
	}
	return d
}

func v(kind dbus.Signature, value any) dbus.Variant { return dbus.Variant{Type: kind, Value: value} }

func device(address, name string, paired bool) map[any]any {
	return map[any]any{"Address": v("s", address), "AddressType": v("s", "public"), "Name": v("s", name), "Paired": v("b", paired), "Trusted": v("b", paired), "Connected": v("b", false)}
}

func pathOf(address string) dbus.Path {
	return dbus.Path("/org/bluez/hci0/dev_" + strings.ReplaceAll(address, ":", "_"))
}

func (d *daemon) answer(m *dbus.Message) (dbus.Signature, []any, error) {
	if m.Kind != dbus.Call {
		return "", nil, nil
	}
	if m.Member == "Pair" {
		return d.pair(m)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if name := d.refuse[m.Member]; name != "" {
		return "", nil, &dbus.Error{Name: name, Message: "no"}
	}
	switch m.Interface + "." + m.Member {
	case "org.freedesktop.DBus.ObjectManager.GetManagedObjects":
		return "a{oa{sa{sv}}}", []any{d.objects()}, nil
	case "org.bluez.Adapter1.SetDiscoveryFilter":
		d.transport, _ = m.Body[0].(map[any]any)["Transport"].(string)
		return "", nil, nil
	case "org.bluez.Adapter1.StartDiscovery":
		d.discovering = true
		if d.begun != nil {
			d.begun()
		}
		for address, rssi := range d.near {
			if d.devices[address] == nil {
				d.devices[address] = device(address, "HC-05", false)
			}
			d.devices[address]["RSSI"] = v("n", rssi)
		}
		return "", nil, nil
	case "org.bluez.Adapter1.StopDiscovery":
		d.discovering = false
		return "", nil, nil
	case "org.bluez.AgentManager1.RegisterAgent":
		d.agents[m.Sender] = m.Body[0].(dbus.Path)
		return "", nil, nil
	case "org.freedesktop.DBus.Properties.Set":
		d.devices[addressOf(m.Path)][m.Body[1]] = v("b", m.Body[2].(bool))
		return "", nil, nil
	}
	return "", nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.UnknownMethod", Message: m.Member}
}

func addressOf(path dbus.Path) string {
	_, name, _ := strings.Cut(string(path), "/dev_")
	return strings.ReplaceAll(name, "_", ":")
}

func (d *daemon) objects() map[any]any {
	objects := map[any]any{
		dbus.Path("/org/bluez/hci0"): map[any]any{adapterKind: map[any]any{"Address": v("s", "00:1A:7D:00:00:01"), "Powered": v("b", d.powered)}},
	}
	for address, p := range d.devices {
		copied := map[any]any{}
		for name, value := range p {
			copied[name] = value
		}
		objects[pathOf(address)] = map[any]any{deviceKind: copied}
	}
	return objects
}

// pair asks the agent of the caller for the PIN, as bluetoothd does for a board
// without simple pairing.
func (d *daemon) pair(m *dbus.Message) (dbus.Signature, []any, error) {
	d.mu.Lock()
	agent, address, refuse := d.agents[m.Sender], addressOf(m.Path), d.refuse["Pair"]
	ask := &dbus.Message{Destination: m.Sender, Path: agent, Interface: "org.bluez.Agent1", Member: "RequestPinCode", Type: "o", Body: []any{m.Path}}
	if d.question != "" {
		ask.Member = d.question
		if d.question == "RequestConfirmation" {
			ask.Type, ask.Body = "ou", []any{m.Path, uint32(123456)}
		}
	}
	pin := d.pins[address]
	d.mu.Unlock()
	if refuse != "" {
		return "", nil, &dbus.Error{Name: refuse, Message: "no"}
	}
	body, err := d.bus.Call(context.Background(), ask)
	if err != nil || len(body) != 1 || body[0] != any(pin) && body[0] != any(uint32(1234)) {
		return "", nil, &dbus.Error{Name: "org.bluez.Error.AuthenticationFailed", Message: "Authentication Failed"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.devices[address]["Paired"] = v("b", true)
	return "", nil, nil
}

func (d *daemon) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *daemon) has(t *testing.T, address, property string) bool {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	value, _ := d.devices[address][property].(dbus.Variant)
	yes, _ := value.Value.(bool)
	return yes
}

func open(t *testing.T) *System {
	t.Helper()
	s, err := Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestScan(t *testing.T) {
	d := startDaemon(t, startBus(t, ""))
	s := open(t)
	found, err := s.Scan(t.Context(), 50*time.Millisecond)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v; want what is near and what is paired, without low energy and what was near once", found, err)
	}
	if f := found[0]; f.Address != paired || !f.Paired || !f.Trusted || f.RSSI != 0 || f.Name != "HC-06" {
		t.Errorf("%+v", f)
	}
	if f := found[1]; f.Address != hc05 || f.Paired || f.RSSI != -48 || f.Name != "HC-05" {
		t.Errorf("%+v", f)
	}
	d.set(func() {
		if d.discovering || d.transport != "bredr" {
			t.Errorf("discovering %v, transport %q", d.discovering, d.transport)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	d.set(func() { d.begun = cancel })
	if _, err := s.Scan(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	d.set(func() {
		if d.discovering {
			t.Error("a cancelled scan goes on")
		}
	})
}

func TestPairWithPIN(t *testing.T) {
	d := startDaemon(t, startBus(t, ""))
	s := open(t)
	err := s.Pair(t.Context(), hc05, "0000", time.Second)
	if err == nil || !strings.Contains(err.Error(), hc05+": the board refused the pin") || d.has(t, hc05, "Trusted") {
		t.Errorf("the wrong pin: %v", err)
	}
	s.Close()
	s = open(t)
	if err := s.Pair(t.Context(), strings.ToLower(hc05), "1234", time.Second); err != nil {
		t.Fatal(err)
	}
	if !d.has(t, hc05, "Paired") || !d.has(t, hc05, "Trusted") {
		t.Error("the board is not paired and trusted")
	}
	if err := s.Pair(t.Context(), hc05, "1234", time.Second); !errors.Is(err, ErrPaired) {
		t.Errorf("a second time: %v", err)
	}
	if err := s.Pair(t.Context(), "00:18:E4:FF:FF:FF", "1234", 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "was not found") {
		t.Errorf("a board that is away: %v", err)
	}
}

func TestAgentAnswersOnlyWhatItCan(t *testing.T) {
	d := startDaemon(t, startBus(t, ""))
	for question, want := range map[string]string{"RequestConfirmation": "compared", "DisplayPinCode": "typed there", "RequestPasskey": ""} {
		d.set(func() { d.question = question; delete(d.devices, hc05) })
		err := open(t).Pair(t.Context(), hc05, "1234", time.Second)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", question, err)
		}
	}
}

// TestAgentTellsStrangersNothing asks for the PIN from elsewhere on the bus.
func TestAgentTellsStrangersNothing(t *testing.T) {
	address := startBus(t, "")
	startDaemon(t, address)
	s := open(t)
	if err := s.Pair(t.Context(), hc05, "1234", time.Second); err != nil {
		t.Fatal(err)
	}
	stranger, err := dbus.Dial(t.Context(), address, s.agent.answer)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	body, err := stranger.Call(t.Context(), &dbus.Message{Destination: s.bus.Name, Path: agentPath, Interface: "org.bluez.Agent1", Member: "RequestPinCode", Type: "o", Body: []any{pathOf(hc05)}})
	if err == nil || !strings.Contains(err.Error(), "only bluetoothd may ask") {
		t.Errorf("%v, %v", body, err)
	}
}

func TestRefusalsInPlainWords(t *testing.T) {
	address := startBus(t, "")
	if _, err := Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "bluetoothd is not running") {
		t.Errorf("without bluetoothd: %v", err)
	}
	d := startDaemon(t, address)
	if _, err := Open(t.Context(), "00:1A:7D:FF:FF:FF"); err == nil || !strings.Contains(err.Error(), "it has 00:1A:7D:00:00:01") {
		t.Errorf("another adapter: %v", err)
	}
	s := open(t)
	for name, want := range map[string]string{
		"org.bluez.Error.ConnectionAttemptFailed": "does not answer",
		"org.bluez.Error.AuthenticationCanceled":  "cancelled by the board",
		"org.bluez.Error.Strange":                 "bluetoothd: no (org.bluez.Error.Strange)",
	} {
		d.set(func() { d.refuse["Pair"] = name })
		if err := s.Pair(t.Context(), hc05, "1234", time.Second); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.set(func() { d.refuse["StartDiscovery"] = "org.bluez.Error.NotReady" })
	if _, err := s.Scan(t.Context(), time.Millisecond); err == nil || !strings.Contains(err.Error(), "power on") {
		t.Errorf("scan while off: %v", err)
	}
	d.set(func() { d.powered = false })
	if _, err := Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("adapter off: %v", err)
	}
	d.bus.Close()
	if _, err := s.Scan(t.Context(), time.Millisecond); err == nil || !strings.Contains(err.Error(), "bluetoothd") {
		t.Errorf("after its end: %v", err)
	}
}

func TestBusRefuses(t *testing.T) {
	address := startBus(t, `<deny send_destination="org.bluez"/>`)
	startDaemon(t, address)
	if _, err := Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "group bluetooth") {
		t.Errorf("%v", err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if _, err := Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no D-Bus system bus") {
		t.Errorf("no bus: %v", err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x")
	if _, err := Open(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "unix:path=") {
		t.Errorf("a bus elsewhere: %v", err)
	}
}
