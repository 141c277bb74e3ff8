package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mote/internal/config"
)

const setClock = "turn time synchronisation on (timedatectl set-ntp true) and let UDP port 123 through; a Raspberry Pi has no clock of its own while it is off"

// plausible is before any clock that is set.
var plausible = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// clock asks the kernel whether somebody keeps the clock (adjtimex(2)).
func (e *exam) clock() {
	const check = "clock"
	now := e.Now()
	if now.Before(plausible) {
		e.fail(check, setClock, "it says %s: it was not set since the start", now.UTC().Format(time.RFC3339))
		return
	}
	var t unix.Timex
	switch state, err := unix.Adjtimex(&t); {
	case err != nil:
		e.skip(check, "the kernel does not tell whether it is synchronised: %v", err)
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		e.warn(check, setClock, "it says %s, and nobody synchronises it", now.UTC().Format(time.RFC3339))
	default:
		e.ok(check, "synchronised")
	}
}

// serial looks at a device file without opening it.
func (e *exam) serial(path string) {
	check := "source " + path
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.fail(check, "plug the board in; ls /dev/serial/by-id shows what is there, under names that stay", "there is no such device")
		return
	case err != nil:
		e.fail(check, "", "%v", err)
		return
	case info.Mode()&os.ModeCharDevice == 0:
		e.fail(check, "name the device of the board, such as /dev/ttyUSB0", "it is no device")
		return
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err == nil {
		e.ok(check, "this user may read and write it")
		return
	}
	group := "dialout"
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		group = groupName("/etc/group", sys.Gid)
	}
	e.fail(check, fmt.Sprintf("sudo usermod -aG %s USER, then log in again or restart the service", group), "this user (%d) may not open it: it belongs to the group %s", os.Getuid(), group)
}

// groupName reads a group file (group(5)).
func groupName(file string, gid uint32) string {
	data, _ := os.ReadFile(file) // without it the number is the name
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= 3 && f[2] == strconv.Itoa(int(gid)) {
			return f[0]
		}
	}
	return strconv.Itoa(int(gid))
}

// bluetooth looks for the socket family, RFCOMM and an adapter that is up.
func (e *exam) bluetooth(s *config.Source) {
	check := "source " + s.Bluetooth
	fd, err := unix.Socket(unix.AF_BLUETOOTH, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.BTPROTO_RFCOMM)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		e.fail(check, "sudo modprobe rfcomm; a container needs the host's network, a systemd unit AF_BLUETOOTH in RestrictAddressFamilies", "this system has no Bluetooth sockets: %v", err)
		return
	case err != nil:
		e.fail(check, "look at the sandbox of the service", "no Bluetooth socket: %v", err)
		return
	}
	_ = unix.Close(fd)
	adapters, _ := filepath.Glob("/sys/class/bluetooth/hci*")
	if len(adapters) == 0 {
		e.fail(check, "plug an adapter in; on a Raspberry Pi, enable the one of the board (no disable-bt in config.txt, hciuart.service)", "the machine has no Bluetooth adapter")
		return
	}
	for _, a := range adapters {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(a), "hci")); err == nil && adapterUp(n) {
			e.ok(check, "adapter %s is up; whether the board is paired and in reach shows only when it is dialled", filepath.Base(a))
			return
		}
	}
	e.fail(check, "rfkill unblock bluetooth, then bluetoothctl power on", "no Bluetooth adapter is up")
}

// adapterUp asks for the flags of an adapter: HCIGETDEVINFO, whose answer is
// struct hci_dev_info (the kernel's include/net/bluetooth/hci_sock.h).
func adapterUp(n int) bool {
	const (
		hciGetDevInfo = 0x800448d3
		flagsAt       = 16 // after a number of 2 bytes, a name of 8 and an address of 6
		up            = 1
	)
	fd, err := unix.Socket(unix.AF_BLUETOOTH, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.BTPROTO_HCI)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var info [128]byte
	*(*uint16)(unsafe.Pointer(&info[0])) = uint16(n)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), hciGetDevInfo, uintptr(unsafe.Pointer(&info[0])))
	return errno == 0 && info[flagsAt]&up != 0
}
