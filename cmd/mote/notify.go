package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells systemd how the service is (sd_notify(3)): a datagram of
// NAME=VALUE lines to the socket that NOTIFY_SOCKET names. The nil notifier
// tells nobody.
type notifier struct {
	addr     *net.UnixAddr
	watchdog time.Duration // the service manager's patience; 0: it has no watchdog
}

// newNotifier reads what systemd has put into the environment, and takes it out,
// so that it is not inherited. It returns nil without a service manager.
func newNotifier() *notifier {
	name := os.Getenv("NOTIFY_SOCKET")
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(v)
	}
	if name == "" || name[0] != '/' && name[0] != '@' {
		return nil
	}
	n := &notifier{addr: &net.UnixAddr{Name: name, Net: "unixgram"}}
	if us, err := strconv.ParseInt(usec, 10, 64); err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

// say sends the lines. A service manager that does not listen is no trouble of
// the gateway's.
func (n *notifier) say(lines ...string) {
	if n == nil {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}

func (n *notifier) ready()    { n.say("READY=1") }
func (n *notifier) stopping() { n.say("STOPPING=1") }
func (n *notifier) alive()    { n.say("WATCHDOG=1") }

// status is shown by systemctl status.
func (n *notifier) status(text string) { n.say("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// reloading needs the time, for units of Type=notify-reload.
func (n *notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	n.say("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}
