package rfcomm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// moment is when an error came: the same number means different things then.
type moment string

const (
	atSocket moment = "socket" // before a dial or a listen begins
	atDial   moment = "dial"
	atListen moment = "listen"
	atRead   moment = "read"
	atWrite  moment = "write"
)

// words are what the kernel's error numbers mean for a person, by moment; an
// entry of the empty moment holds whenever no other does.
//
// What a controller answers becomes a number in the kernel's bt_to_errno
// (net/bluetooth/lib.c): it has a status of the radio for most of these.
var words = map[moment]map[syscall.Errno]string{
	"": {
		syscall.EMFILE:  "too many open files: raise the limit (`ulimit -n`)",
		syscall.ENFILE:  "too many open files on the whole machine",
		syscall.ENOMEM:  "out of memory, in the machine or in the bluetooth adapter",
		syscall.ENOBUFS: "out of memory, in the machine or in the bluetooth adapter",
		syscall.EIO:     "the bluetooth adapter fails: unplug it and plug it in again",
	},
	atSocket: {
		syscall.EAFNOSUPPORT:    "this system has no bluetooth sockets: load the kernel's modules (`modprobe rfcomm`); inside a container use the host's network; under systemd add AF_BLUETOOTH to RestrictAddressFamilies and leave PrivateNetwork off",
		syscall.EPROTONOSUPPORT: "the kernel has bluetooth but not rfcomm: load it with `modprobe rfcomm`",
		syscall.EPERM:           "the system does not permit bluetooth sockets to this user; check the service's sandbox",
		syscall.EACCES:          "the system does not permit bluetooth sockets to this user; check the service's sandbox",
	},
	atDial: {
		syscall.EHOSTDOWN:     "the board does not answer: it is off, too far away, or another machine is connected to it",
		syscall.ECONNREFUSED:  "the board refused: nobody listens on that channel, or the pairing was rejected; a module such as the HC-05 uses channel 1; pair it again (`mote bt pair`)",
		syscall.EACCES:        "the board refused the pin; pair it again with the right one (`mote bt pair ADDRESS --pin 1234`)",
		syscall.EBADE:         "the board and this machine are not paired, or one of them has forgotten it; remove the pairing (`bluetoothctl remove`) and pair it again (`mote bt pair`)",
		syscall.EBUSY:         "this board is already connected from this machine, or the last connection is still closing; close the other program (also `rfcomm release`)",
		syscall.EALREADY:      "a connection to this board is already being made; it is tried again",
		syscall.EHOSTUNREACH:  "the bluetooth adapter is down: switch it on with `bluetoothctl power on` (or `rfkill unblock bluetooth`); or the machine has no adapter of the configured address: `bluetoothctl list` shows those it has",
		syscall.ENODEV:        "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
		syscall.EADDRNOTAVAIL: "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
		syscall.ECONNRESET:    "the last connection was still closing; it is tried again",
		syscall.ECONNABORTED:  "the connection was given up on this side: the bluetooth adapter was switched off, or another program ended it",
		syscall.ETIMEDOUT:     "the board does not answer in time: it is off or too far away",
		syscall.EMLINK:        "the bluetooth adapter has as many connections as it can keep, seven in most; use a second adapter for further boards",
		syscall.ELOOP:         "the board takes no pin for a while, since too many were wrong; wait a minute",
		syscall.EPROTO:        "the radios of board and adapter did not understand each other; it is tried again",
		syscall.EOPNOTSUPP:    "the board lacks what the connection needs, such as encryption",
		syscall.ENOSYS:        "the bluetooth adapter failed without saying why; it is tried again",
		syscall.ENOMEM:        "the last connection to the board is still closing, or the machine or its bluetooth adapter is out of memory; it is tried again",
		syscall.EINVAL:        "the kernel does not take this address and channel",
	},
	atListen: {
		syscall.EADDRINUSE:    "another program listens on that channel; choose another channel",
		syscall.EADDRNOTAVAIL: "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
	},
	atRead: {
		syscall.ECONNRESET:   "the board closed the connection, or this machine's adapter is going off",
		syscall.ETIMEDOUT:    "the radio link to the board was lost",
		syscall.ECONNABORTED: "the bluetooth adapter was switched off",
	},
	atWrite: {
		syscall.ENOTCONN:     "the board closed the connection",
		syscall.ECONNRESET:   "the board closed the connection",
		syscall.EPIPE:        "the board closed the connection",
		syscall.ETIMEDOUT:    "the radio link to the board was lost",
		syscall.ECONNABORTED: "the bluetooth adapter was switched off",
	},
}

// explained is a kernel error with its meaning. It unwraps to the cause, and
// for a connection that the board closed to io.EOF too: RFCOMM itself never
// reports one.
type explained struct {
	words string
	cause error
	eof   bool
}

func (e *explained) Error() string { return fmt.Sprintf("%s (%s)", e.words, e.cause) }

func (e *explained) Unwrap() []error {
	if e.eof {
		return []error{e.cause, io.EOF}
	}
	return []error{e.cause}
}

// explain puts err into plain words when it is an error number with a known
// meaning at that moment, and returns it as it is otherwise.
func explain(at moment, err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) && at != atDial {
		return err
	}
	if at == atDial && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)) {
		return &explained{words: "the board does not answer in time: it is off or too far away", cause: err}
	}
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err
	}
	text, ok := words[whence(at, err)][number]
	if !ok {
		if text, ok = words[""][number]; !ok {
			return err
		}
	}
	closed := number == syscall.ECONNRESET || number == syscall.ENOTCONN || number == syscall.EPIPE
	return &explained{words: text, cause: number, eof: closed && at == atRead}
}

// whence is the moment at which err really came: a dial and a listen fail
// before they begin when there is no socket for them.
func whence(at moment, err error) moment {
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "socket" {
		return atSocket
	}
	return at
}
