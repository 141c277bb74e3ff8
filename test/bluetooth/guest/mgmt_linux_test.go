package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mote/test/bluetooth/radio"
)

// The kernel's management interface for Bluetooth (its documentation is
// BlueZ's doc/mgmt-api.txt): what bluetoothd uses to power adapters and to
// answer for PINs.
const (
	channelControl = 3
	setPowered     = 0x0005
	setFindable    = 0x0006
	setConnectable = 0x0007
	setBondable    = 0x0009
	replyPIN       = 0x0016
	refusePIN      = 0x0017
	unpair         = 0x001b

	onComplete = 0x0001
	onStatus   = 0x0002
	onPIN      = 0x000e

	invalidIndex = 0x11
)

// silent stands for a PIN that another program answers for.
const silent = "silent"

// management is a connection with the kernel's management interface.
type management struct {
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

func openManagement() (*management, error) {
	fd, err := unix.Socket(unix.AF_BLUETOOTH, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.BTPROTO_HCI)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrHCI{Dev: 0xffff, Channel: channelControl}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	m := &management{file: os.NewFile(uintptr(fd), "mgmt"), answer: make(chan response, 1), pins: map[uint16]string{}, asked: map[uint16]int{}}
	go m.listen()
	return m, nil
}

func (m *management) listen() {
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

func (m *management) replyPIN(index uint16, who []byte) error {
	m.mu.Lock()
	pin := m.pins[index]
	m.asked[index]++
	m.mu.Unlock()
	if pin == silent {
		return nil
	}
	if pin == "" {
		return m.send(refusePIN, index, who...)
	}
	p := append(append([]byte{}, who...), byte(len(pin)))
	return m.send(replyPIN, index, append(append(p, pin...), make([]byte, 16-len(pin))...)...)
}

func (m *management) send(code, index uint16, p ...byte) error {
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

// do performs a command. An adapter that was plugged in just now is not known
// until the kernel has set it up.
func (m *management) do(code, index uint16, p ...byte) error {
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

func (m *management) setPIN(index uint16, pin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pins[index] = pin
}

func (m *management) timesAsked(index uint16) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[index]
}

func (m *management) forget(index uint16, who radio.Address) error {
	p := []byte{who[5], who[4], who[3], who[2], who[1], who[0], 0, 1} // BR/EDR, and disconnect
	return m.do(unpair, index, p...)
}
