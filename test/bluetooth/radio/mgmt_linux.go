package radio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel's management interface for Bluetooth (its documentation is
// BlueZ's doc/mgmt-api.txt): what bluetoothd uses to power adapters and to
// answer for PINs.
const (
	channelControl = 3
	setBondable    = 0x0009
	replyPIN       = 0x0016
	refusePIN      = 0x0017
	unpair         = 0x001b

	onComplete = 0x0001
	onStatus   = 0x0002
	onPIN      = 0x000e

	invalidIndex = 0x11
)

// Commands for [Management.Do].
const (
	SetPowered     = 0x0005
	SetFindable    = 0x0006
	SetConnectable = 0x0007
)

// Silent stands for a PIN that another program answers for.
const Silent = "silent"

// Management is a connection with the kernel's management interface.
type Management struct {
	file *os.File

	mu     sync.Mutex
	answer chan response
	turn   sync.Mutex        // one command at a time
	pins   map[uint16]string // guarded by mu: by adapter; none: the request is refused
	asked  map[uint16]int    // guarded by mu: how often each adapter was asked for a PIN
}

type response struct {
	code, index uint16
	status      byte
}

// OpenManagement connects with the kernel. It stays open until the program ends.
func OpenManagement() (*Management, error) {
	fd, err := unix.Socket(unix.AF_BLUETOOTH, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.BTPROTO_HCI)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrHCI{Dev: 0xffff, Channel: channelControl}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	m := &Management{file: os.NewFile(uintptr(fd), "mgmt"), answer: make(chan response, 1), pins: map[uint16]string{}, asked: map[uint16]int{}}
	go m.listen()
	return m, nil
}

func (m *Management) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := m.file.Read(buf)
		if err != nil {
			fmt.Println("management:", err)
			return
		}
		if n < 6 {
			continue
		}
		code, index, p := binary.LittleEndian.Uint16(buf), binary.LittleEndian.Uint16(buf[2:]), buf[6:n]
		switch {
		case (code == onComplete || code == onStatus) && len(p) >= 3:
			r := response{code: binary.LittleEndian.Uint16(p), index: index, status: p[2]}
			if r.code != replyPIN && r.code != refusePIN {
				m.answer <- r
			}
		case code == onPIN && len(p) >= 8:
			if err := m.replyPIN(index, p[:7]); err != nil {
				fmt.Println("pin:", err)
			}
		}
	}
}

func (m *Management) replyPIN(index uint16, who []byte) error {
	m.mu.Lock()
	pin := m.pins[index]
	m.asked[index]++
	m.mu.Unlock()
	if pin == Silent {
		return nil
	}
	if pin == "" {
		return m.send(refusePIN, index, who...)
	}
	p := append(append([]byte{}, who...), byte(len(pin)))
	return m.send(replyPIN, index, append(append(p, pin...), make([]byte, 16-len(pin))...)...)
}

func (m *Management) send(code, index uint16, p ...byte) error {
	b := binary.LittleEndian.AppendUint16(nil, code)
	b = binary.LittleEndian.AppendUint16(b, index)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(p)))
	raw, err := m.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		// A command that the kernel refuses counts as written with no bytes,
		// which File.Write would take for an error.
		_, failed = unix.Write(int(fd), append(b, p...))
		return !errors.Is(failed, unix.EAGAIN)
	})
	return errors.Join(err, failed)
}

// Do performs a command. An adapter that was plugged in just now is not known
// until the kernel has set it up.
func (m *Management) Do(code, index uint16, p ...byte) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	for end := time.Now().Add(10 * time.Second); ; {
		if err := m.send(code, index, p...); err != nil {
			return err
		}
		select {
		case r := <-m.answer:
			if r.code != code || r.index != index {
				return fmt.Errorf("command %#x of hci%d: the answer is for %#x of hci%d", code, index, r.code, r.index)
			}
			if r.status == 0 {
				return nil
			}
			if r.status != invalidIndex || time.Now().After(end) {
				return fmt.Errorf("command %#x of hci%d: status %#x", code, index, r.status)
			}
			time.Sleep(10 * time.Millisecond)
		case <-time.After(time.Until(end)):
			return fmt.Errorf("command %#x of hci%d: no answer", code, index)
		}
	}
}

// SetPIN is what the adapter answers when it is asked for a PIN; "" refuses.
func (m *Management) SetPIN(index uint16, pin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pins[index] = pin
}

// TimesAsked is how often the adapter was asked for a PIN.
func (m *Management) TimesAsked(index uint16) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[index]
}

// Forget undoes a pairing.
func (m *Management) Forget(index uint16, who Address) error {
	p := []byte{who[5], who[4], who[3], who[2], who[1], who[0], 0, 1} // BR/EDR, and disconnect
	return m.Do(unpair, index, p...)
}

// PowerOn makes an adapter one that can be reached and paired with.
func (m *Management) PowerOn(index uint16) error {
	return errors.Join(m.Do(SetPowered, index, 1), m.Do(SetConnectable, index, 1), m.Do(setBondable, index, 1))
}
