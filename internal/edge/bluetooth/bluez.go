// Package bluetooth finds boards over classic Bluetooth and pairs with them,
// through BlueZ, the system's bluetoothd, over D-Bus (its documents
// org.bluez.Adapter, org.bluez.Device, org.bluez.Agent). Readings do not take
// this way: see [mote/internal/edge/source/rfcomm].
package bluetooth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"mote/internal/edge/bluetooth/dbus"
)

const (
	service      = "org.bluez"
	adapterKind  = "org.bluez.Adapter1"
	deviceKind   = "org.bluez.Device1"
	agentPath    = dbus.Path("/mote/agent")
	systemBus    = "unix:path=/run/dbus/system_bus_socket"
	pairTimeout  = 40 * time.Second // BlueZ gives up by itself before
	stopTimeout  = 2 * time.Second
	lookInterval = 500 * time.Millisecond
)

// Device is a board, or whatever else is near.
type Device struct {
	Address   string
	Name      string
	RSSI      int // dBm; 0 when it was not heard now
	Paired    bool
	Trusted   bool
	Connected bool

	path dbus.Path
}

// System is a connection with bluetoothd and one of its adapters. It is for one
// caller at a time.
type System struct {
	bus     *dbus.Conn
	agent   *agent
	adapter dbus.Path
}

// Open connects to bluetoothd on the system bus (DBUS_SYSTEM_BUS_ADDRESS names
// another) and chooses the adapter of that address; empty takes the first.
func Open(ctx context.Context, adapter string) (*System, error) {
	address := cmp.Or(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), systemBus)
	s := &System{agent: &agent{}}
	var err error
	if s.bus, err = dbus.Dial(ctx, address, s.agent.answer); err != nil {
		return nil, explain(err)
	}
	if err := s.choose(ctx, adapter); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the connection; what bluetoothd does for it ends too.
func (s *System) Close() { s.bus.Close() }

func (s *System) call(ctx context.Context, path dbus.Path, kind, member string, types dbus.Signature, values ...any) ([]any, error) {
	return s.bus.Call(ctx, &dbus.Message{Destination: service, Path: path, Interface: kind, Member: member, Type: types, Body: values})
}

// objects are bluetoothd's: by path, by interface, their properties.
func (s *System) objects(ctx context.Context) (map[any]any, error) {
	body, err := s.call(ctx, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "")
	if err != nil {
		return nil, explain(err)
	}
	if len(body) == 1 {
		if objects, ok := body[0].(map[any]any); ok {
			return objects, nil
		}
	}
	return nil, fmt.Errorf("bluetoothd answers %d values of another kind than objects", len(body))
}

// properties are those of one interface of an object; nil when it has no such
// interface.
func properties(object any, kind string) map[any]any {
	kinds, _ := object.(map[any]any)
	p, _ := kinds[kind].(map[any]any)
	return p
}

func text(properties map[any]any, name string) string {
	s, _ := properties[name].(string)
	return s
}

func yes(properties map[any]any, name string) bool {
	b, _ := properties[name].(bool)
	return b
}

// choose finds the adapter and refuses one that is off.
func (s *System) choose(ctx context.Context, address string) error {
	objects, err := s.objects(ctx)
	if err != nil {
		return err
	}
	found := map[dbus.Path]map[any]any{}
	var paths []dbus.Path
	var addresses []string
	for path, object := range objects {
		p := properties(object, adapterKind)
		name, ok := path.(dbus.Path)
		if p == nil || !ok {
			continue
		}
		addresses = append(addresses, text(p, "Address"))
		if address == "" || strings.EqualFold(text(p, "Address"), address) {
			found[name] = p
			paths = append(paths, name)
		}
	}
	switch {
	case len(addresses) == 0:
		return errors.New("this machine has no bluetooth adapter that bluetoothd knows: plug one in, or see `rfkill list` and `dmesg`")
	case len(paths) == 0:
		slices.Sort(addresses)
		return fmt.Errorf("this machine has no bluetooth adapter %s; it has %s", address, strings.Join(addresses, ", "))
	}
	s.adapter = slices.Min(paths)
	if !yes(found[s.adapter], "Powered") {
		return fmt.Errorf("the bluetooth adapter %s is off: switch it on with `bluetoothctl power on` (after `rfkill unblock bluetooth`, if that is refused)", text(found[s.adapter], "Address"))
	}
	return nil
}

// devices are those of the adapter that were heard now or are paired.
func (s *System) devices(ctx context.Context) ([]Device, error) {
	objects, err := s.objects(ctx)
	if err != nil {
		return nil, err
	}
	var devices []Device
	for path, object := range objects {
		p := properties(object, deviceKind)
		name, ok := path.(dbus.Path)
		if p == nil || !ok || !strings.HasPrefix(string(name), string(s.adapter)+"/") {
			continue
		}
		d := Device{Address: text(p, "Address"), Name: text(p, "Name"), Paired: yes(p, "Paired"), Trusted: yes(p, "Trusted"), Connected: yes(p, "Connected"), path: name}
		if rssi, ok := p["RSSI"].(int16); ok {
			d.RSSI = int(rssi)
		}
		if text(p, "AddressType") != "random" && (d.RSSI != 0 || d.Paired) { // random: low energy only
			devices = append(devices, d)
		}
	}
	sort.Slice(devices, func(i, j int) bool { return devices[i].Address < devices[j].Address })
	return devices, nil
}

// Scan looks for devices of classic Bluetooth that can be found, for that long
// or until ctx ends, and returns them with those that are paired.
func (s *System) Scan(ctx context.Context, long time.Duration) (found []Device, err error) {
	stop, err := s.discover(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	select {
	case <-time.After(long):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.devices(ctx)
}

// discover makes the adapter look for devices until stop is called.
func (s *System) discover(ctx context.Context) (stop func(), err error) {
	filter := map[any]any{"Transport": dbus.Variant{Type: "s", Value: "bredr"}}
	if _, err := s.call(ctx, s.adapter, adapterKind, "SetDiscoveryFilter", "a{sv}", filter); err != nil {
		return nil, explain(err)
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		// Closing the connection stops it too; nothing depends on this answer.
		_, _ = s.call(ctx, s.adapter, adapterKind, "StopDiscovery", "")
	}
	if _, err := s.call(ctx, s.adapter, adapterKind, "StartDiscovery", ""); err != nil {
		if ctx.Err() != nil { // it may have begun all the same
			stop()
		}
		return nil, explain(err)
	}
	return stop, nil
}

// ErrPaired is returned for a board that is paired and trusted already.
var ErrPaired = errors.New("the board is paired already")

// Pair pairs with the board of that address, which is looked for so long if it
// is not known yet, and trusts it, so that it needs no consent later. The PIN
// is told to bluetoothd alone, when the board asks for one.
func (s *System) Pair(ctx context.Context, address, pin string, look time.Duration) error {
	d, err := s.find(ctx, address, look)
	if err != nil {
		return err
	}
	if d.Paired && d.Trusted {
		return ErrPaired
	}
	if !d.Paired {
		if err := s.pair(ctx, d, pin); err != nil {
			return err
		}
	}
	_, err = s.call(ctx, d.path, "org.freedesktop.DBus.Properties", "Set", "ssv", deviceKind, "Trusted", dbus.Variant{Type: "b", Value: true})
	return explain(err)
}

func (s *System) pair(ctx context.Context, d Device, pin string) error {
	ctx, cancel := context.WithTimeout(ctx, pairTimeout)
	defer cancel()
	owner, err := s.bus.Call(ctx, &dbus.Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "GetNameOwner", Type: "s", Body: []any{service}})
	if err != nil {
		return explain(err)
	}
	name, _ := owner[0].(string)
	s.agent.expect(name, d.path, pin)
	if _, err := s.call(ctx, "/org/bluez", "org.bluez.AgentManager1", "RegisterAgent", "os", agentPath, "KeyboardDisplay"); err != nil && !exists(err) {
		return explain(err)
	}
	_, err = s.call(ctx, d.path, deviceKind, "Pair", "")
	if refused := s.agent.refusal(); err != nil && refused != "" {
		return fmt.Errorf("%s: %s: pair it with `bluetoothctl`, which can ask you", d.Address, refused)
	}
	if err != nil && !exists(err) { // another program was faster
		return fmt.Errorf("%s: %w", d.Address, explain(err))
	}
	return nil
}

// exists reports whether bluetoothd refuses to do what is done already.
func exists(err error) bool {
	var known *dbus.Error
	return errors.As(err, &known) && known.Name == "org.bluez.Error.AlreadyExists"
}

// find looks the board up, and makes the adapter look for it when needed.
func (s *System) find(ctx context.Context, address string, look time.Duration) (Device, error) {
	known := func() (Device, bool, error) {
		devices, err := s.devices(ctx)
		i := slices.IndexFunc(devices, func(d Device) bool { return strings.EqualFold(d.Address, address) })
		if err != nil || i < 0 {
			return Device{}, false, err
		}
		return devices[i], true, nil
	}
	if d, ok, err := known(); ok || err != nil {
		return d, err
	}
	stop, err := s.discover(ctx)
	if err != nil {
		return Device{}, err
	}
	defer stop()
	for end := time.Now().Add(look); time.Now().Before(end); {
		select {
		case <-time.After(lookInterval):
		case <-ctx.Done():
			return Device{}, ctx.Err()
		}
		if d, ok, err := known(); ok || err != nil {
			return d, err
		}
	}
	return Device{}, fmt.Errorf("the board %s was not found in %v: it is off, too far away, or connected to another machine; a module such as the HC-05 is found while its LED blinks fast", address, look)
}

// words are what errors of the bus and of bluetoothd mean for a person.
var words = map[string]string{
	"org.freedesktop.DBus.Error.ServiceUnknown":    "bluetoothd is not running: start it with `systemctl start bluetooth` (Debian package bluez)",
	"org.freedesktop.DBus.Error.NameHasNoOwner":    "bluetoothd is not running: start it with `systemctl start bluetooth` (Debian package bluez)",
	"org.freedesktop.DBus.Error.NoReply":           "bluetoothd does not answer: see `systemctl status bluetooth`",
	"org.freedesktop.DBus.Error.AccessDenied":      "this user may not use bluetoothd: run it with sudo, or add the user to the group bluetooth (`sudo usermod -aG bluetooth $USER`) and log in again",
	"org.freedesktop.DBus.Error.UnknownObject":     "bluetoothd has forgotten the device meanwhile: try again",
	"org.bluez.Error.NotReady":                     "the bluetooth adapter is off: switch it on with `bluetoothctl power on`",
	"org.bluez.Error.NotAuthorized":                "bluetoothd does not permit it to this user: run it with sudo",
	"org.bluez.Error.InProgress":                   "another program is pairing or connecting: try again",
	"org.bluez.Error.AuthenticationFailed":         "the board refused the pin: try --pin 1234 or 0000, or the pin that was set in the module",
	"org.bluez.Error.AuthenticationRejected":       "the board refused to pair",
	"org.bluez.Error.AuthenticationCanceled":       "the pairing was cancelled by the board, which may have refused the pin",
	"org.bluez.Error.AuthenticationTimeout":        "the board did not answer to the pin in time",
	"org.bluez.Error.ConnectionAttemptFailed":      "the board does not answer: it is off, too far away, or another machine is connected to it",
	"org.freedesktop.DBus.Error.UnknownMethod":     "this bluetoothd lacks the call; is it older than BlueZ 5.50?",
	"org.freedesktop.DBus.Error.Spawn.ExecFailed":  "bluetoothd cannot be started: see `systemctl status bluetooth`",
	"org.freedesktop.DBus.Error.Spawn.ChildExited": "bluetoothd ends when it is started: see `systemctl status bluetooth`",
	"org.freedesktop.systemd1.NoSuchUnit":          "bluetoothd is not installed or not enabled: install the package bluez, then `systemctl enable --now bluetooth`",
}

// explain puts err into plain words where they are known.
func explain(err error) error {
	var known *dbus.Error
	if errors.As(err, &known) {
		if w, ok := words[known.Name]; ok {
			return fmt.Errorf("%s (%w)", w, err)
		}
		return fmt.Errorf("bluetoothd: %w", err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("there is no D-Bus system bus, so no bluetoothd: install and start dbus and bluez; in a container, run it on the host (%w)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not use the D-Bus system bus: run it with sudo (%w)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("bluetoothd does not answer in time: see `systemctl status bluetooth` (%w)", err)
	}
	return err
}
