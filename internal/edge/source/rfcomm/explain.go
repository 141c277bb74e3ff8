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
	atDial   moment = "dial"
	atListen moment = "listen"
	atRead   moment = "read"
	atWrite  moment = "write"
)

// words are what the kernel's error numbers mean for a person, by moment; an
// entry of the empty moment holds whenever no other does.
var words = map[moment]map[syscall.Errno]string{
	"": {
		syscall.EAFNOSUPPORT:    "this system has no bluetooth sockets: load the kernel's modules (`modprobe rfcomm`); inside a container use the host's network; under systemd add AF_BLUETOOTH to RestrictAddressFamilies and leave PrivateNetwork off",
		syscall.EPROTONOSUPPORT: "the kernel has bluetooth but not rfcomm: load it with `modprobe rfcomm`",
		syscall.EPERM:           "the system does not permit bluetooth sockets to this user; check the service's sandbox",
		syscall.EACCES:          "the system does not permit bluetooth sockets to this user; check the service's sandbox",
		syscall.EMFILE:          "too many open files: raise the limit (`ulimit -n`)",
	},
	atDial: {
		syscall.EHOSTDOWN:     "the board does not answer: it is off, too far away, or another machine is connected to it",
		syscall.ECONNREFUSED:  "the board refused: nobody listens on that channel, or the pin was rejected; pair it again (`bluetoothctl pair`, then `trust`)",
		syscall.EBUSY:         "this board is already connected from this machine, or the last connection is still closing; close the other program (also `rfcomm release`)",
		syscall.EHOSTUNREACH:  "the bluetooth adapter is down: switch it on with `bluetoothctl power on` (or `rfkill unblock bluetooth`)",
		syscall.ENODEV:        "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
		syscall.EADDRNOTAVAIL: "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
		syscall.ECONNRESET:    "the last connection was still closing; it is tried again",
		syscall.ECONNABORTED:  "the bluetooth adapter was switched off",
		syscall.ETIMEDOUT:     "the board does not answer in time: it is off or too far away",
	},
	atListen: {
		syscall.EADDRINUSE:    "another program listens on that channel; choose another channel",
		syscall.EADDRNOTAVAIL: "the machine has no such bluetooth adapter; `bluetoothctl list` shows those it has",
	},
	atRead: {
		syscall.ECONNRESET:   "the board closed the connection",
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
	text, ok := words[at][number]
	if !ok {
		if text, ok = words[""][number]; !ok {
			return err
		}
	}
	closed := number == syscall.ECONNRESET || number == syscall.ENOTCONN || number == syscall.EPIPE
	return &explained{words: text, cause: number, eof: closed && at == atRead}
}
