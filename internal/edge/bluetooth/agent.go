package bluetooth

import (
	"strconv"
	"sync"

	"mote/internal/edge/bluetooth/dbus"
)

// agent answers bluetoothd's questions during a pairing (org.bluez.Agent1), and
// nobody else's: the PIN is asked for over a bus that others share.
type agent struct {
	mu      sync.Mutex
	daemon  string    // guarded by mu: bluetoothd's own name on the bus
	device  dbus.Path // guarded by mu: the board being paired
	pin     string    // guarded by mu
	refused string    // guarded by mu: a question that cannot be answered here
}

func (a *agent) expect(daemon string, device dbus.Path, pin string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.daemon, a.device, a.pin, a.refused = daemon, device, pin, ""
}

func (a *agent) refusal() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

var errRejected = &dbus.Error{Name: "org.bluez.Error.Rejected", Message: "mote does not answer this"}

// answer serves one call on the bus.
func (a *agent) answer(m *dbus.Message) (dbus.Signature, []any, error) {
	if m.Kind != dbus.Call {
		return "", nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Path != agentPath || m.Interface != "org.bluez.Agent1" || a.daemon == "" || m.Sender != a.daemon {
		return "", nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.AccessDenied", Message: "only bluetoothd may ask"}
	}
	switch m.Member {
	case "Release", "Cancel":
		return "", nil, nil
	}
	if device, ok := first(m).(dbus.Path); !ok || device != a.device {
		return "", nil, errRejected // another device, which came by itself
	}
	switch m.Member {
	case "RequestPinCode":
		return "s", []any{a.pin}, nil
	case "RequestPasskey":
		if n, err := strconv.ParseUint(a.pin, 10, 32); err == nil && n <= 999999 {
			return "u", []any{uint32(n)}, nil
		}
		a.refused = "the board wants a number of at most six digits as its pin"
	case "RequestConfirmation":
		a.refused = "the board wants a number on both sides to be compared"
	case "DisplayPinCode", "DisplayPasskey":
		a.refused = "the board wants a number to be typed there"
	case "AuthorizeService", "RequestAuthorization":
		return "", nil, nil // the board that the user asked to pair
	}
	return "", nil, errRejected
}

func first(m *dbus.Message) any {
	if len(m.Body) == 0 {
		return nil
	}
	return m.Body[0]
}
