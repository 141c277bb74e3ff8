// Package doctor checks what a gateway needs of its machine, of the network and
// of its servers, and says for each what is wrong and what to do.
//
// It changes nothing: no file is written, no serial port is opened (that would
// restart the board), and no reading is sent but those of Options.Publish. What
// cannot be checked that way is said. While a gateway runs with the same
// configuration, its boards and its client id are left to it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"mote/internal/config"
)

// Level is how a check ended.
type Level string

// The levels. Skip is what could not be looked at, with the reason.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip"
)

// TestBoard is the board whose readings Options.Publish send.
const TestBoard = "doctor"

// Result is one check.
type Result struct {
	Level  Level  `json:"level"`
	Check  string `json:"check"` // what was looked at
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// Options are what the checks need of others.
type Options struct {
	// Credentials find the AWS credentials of an uplink, by the name of its
	// table in the file, and say which they are.
	Credentials map[string]func(ctx context.Context) (string, error)
	// Publish send a test reading through an uplink, by the name of its table in
	// the file, and return nil when the server has acknowledged it. An uplink
	// without one is not sent anything.
	Publish map[string]func(ctx context.Context) error
	Left    []Left        // what waits in spools that the gateway does not use
	Timeout time.Duration // of each step on the network; default 10 s
	Now     func() time.Time
}

// Left is a spool that no gateway has open, in which readings wait.
type Left struct {
	Dir      string
	Readings uint64
}

// LeftRemedy is what to do with a [Left].
const LeftRemedy = "to deliver them, run a gateway with that spool.dir until nothing waits; to give them up, remove the directory"

// exam is one run.
type exam struct {
	Options
	file    *config.File
	running bool // a gateway has the spool
	results []Result
	offset  *time.Duration // of the clock against a server's Date, once known
}

// Examine makes every check that file asks for. It takes a few seconds, more
// where nobody answers.
func Examine(ctx context.Context, file *config.File, o Options) []Result {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &exam{Options: o, file: file}
	e.disk()
	e.clock()
	for i := range file.Sources {
		e.source(ctx, &file.Sources[i])
	}
	if u := file.Uplink.IoT; u != nil {
		e.iot(ctx, u)
	}
	if u := file.Uplink.REST; u != nil {
		e.https(ctx, "rest", u.URL, u.CA, &u.Credentials)
	}
	if u := file.Uplink.DynamoDB; u != nil {
		e.https(ctx, "dynamodb", u.Endpoint, u.CA, &u.Credentials)
	}
	e.serverTime()
	return e.results
}

// Healthy says whether no check failed.
func Healthy(results []Result) bool {
	for _, r := range results {
		if r.Level == Fail {
			return false
		}
	}
	return true
}

func (e *exam) add(level Level, check, remedy, format string, args ...any) {
	e.results = append(e.results, Result{level, check, fmt.Sprintf(format, args...), remedy})
}

func (e *exam) ok(check, format string, args ...any)   { e.add(OK, check, "", format, args...) }
func (e *exam) skip(check, format string, args ...any) { e.add(Skip, check, "", format, args...) }
func (e *exam) warn(check, remedy, format string, args ...any) {
	e.add(Warn, check, remedy, format, args...)
}
func (e *exam) fail(check, remedy, format string, args ...any) {
	e.add(Fail, check, remedy, format, args...)
}

// source checks one line as far as the board does not notice.
func (e *exam) source(ctx context.Context, s *config.Source) {
	switch {
	case s.Bluetooth != "":
		e.bluetooth(s)
	case s.Serial != "":
		e.serial(s.Serial)
	case s.TCP != "":
		e.tcp(ctx, s.TCP)
	case s.MQTT != "":
		e.broker(ctx, s)
	}
}

// tcp resolves the name of a bridge, and connects when no gateway does: most
// bridges take one connection only.
func (e *exam) tcp(ctx context.Context, addr string) {
	check := "source " + addr
	if e.running {
		e.skip(check, "the running gateway has this line; its health is under listen")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		e.dialFailed(check, addr, err)
		return
	}
	_ = conn.Close()
	e.ok(check, "it answers")
}

// dialFailed explains why there is no connection.
func (e *exam) dialFailed(check, addr string, err error) {
	var dns *net.DNSError
	switch host, _, _ := net.SplitHostPort(addr); {
	case errors.As(err, &dns) && dns.IsNotFound:
		e.fail(check, "correct the name, or ask who keeps it", "there is no machine of the name %s", host)
	case errors.As(err, &dns):
		e.fail(check, "look at the network and at /etc/resolv.conf", "the name %s cannot be looked up: %v", host, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.fail(check, "start what should listen there, or correct the port", "%s refuses: nothing listens on that port", addr)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.fail(check, "look at the cable, the Wi-Fi and the route (ip route)", "there is no way to %s: %v", addr, errors.Unwrap(err))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.fail(check, "let the firewall pass this port; for MQTT, port 443 often passes where 8883 does not", "%s does not answer within %v", addr, e.Timeout)
	default:
		e.fail(check, "look at the network and at the address", "%s: %v", addr, err)
	}
}

// disk looks at the spool's place.
func (e *exam) disk() {
	const check = "disk"
	dir := e.file.Gateway.Spool.Dir
	at := nearest(dir)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(at, &fs); err != nil {
		e.fail(check, "", "%s: %v", at, err)
		return
	}
	e.running = locked(filepath.Join(dir, "lock"))
	free := int64(fs.Bavail) * int64(fs.Bsize)
	const readOnly = 1 // ST_RDONLY, statfs(2)
	switch {
	case fs.Flags&readOnly != 0:
		e.fail(check, "remount it (mount -o remount,rw); cards that fail become read-only by themselves: look at dmesg and replace the card", "%s is on a read-only file system", at)
	case syscall.Access(at, 2|1) != nil: // W_OK and X_OK, access(2)
		e.fail(check, "give the directory to the user of the gateway, or set another spool.dir", "%s cannot be written by this user (%d)", at, os.Getuid())
	case free < 16<<20:
		e.fail(check, "make room, or set a smaller spool.max", "%s has %d MiB left", at, free>>20)
	case free < e.file.Gateway.Spool.MaxBytes-used(dir):
		e.warn(check, "make room, or set a smaller spool.max", "%s has %d MiB left, and the spool may grow to %d MiB", at, free>>20, e.file.Gateway.Spool.MaxBytes>>20)
	default:
		e.ok(check, "%s has %d MiB left", at, free>>20)
	}
	if most := e.file.Gateway.Spool.MaxBytes; used(dir) > most {
		e.warn("spool", "let the gateway deliver before the limit is made smaller, or raise spool.max", "the spool takes %d MiB and spool.max is %d MiB: with drop-oldest, the oldest of what waits there is given up with the first new reading", used(dir)>>20, most>>20)
	}
	for _, l := range e.Left {
		e.warn("spool", LeftRemedy, "%d readings are left in %s, which no gateway uses: perhaps spool.dir was changed", l.Readings, l.Dir)
	}
	if e.running {
		e.ok("gateway", "a gateway is running with this spool")
	}
}

// nearest is dir, or the directory above it that is there.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// used is what the spool takes already.
func used(dir string) (sum int64) {
	entries, _ := os.ReadDir(dir) // nothing when it is not there
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// locked says whether somebody holds the lock file, which is not made here.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // gives a lock back that was taken
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
