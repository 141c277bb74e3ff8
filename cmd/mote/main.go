// Command mote carries readings from boards into a table: an edge gateway, a
// self-hosted cloud that speaks the AWS APIs, and the tools around them. Each
// verb has a file of its own here; this is the only place that joins concrete
// parts.
//
// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"mote/internal/command"
)

func main() {
	// With one processor for Go code, every fdatasync would hold it: nothing
	// could gather for the next group commit meanwhile.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// carryVerbs, toolVerbs and those of the cloud are the command line, see cli.
// The tags are its documentation.
type carryVerbs struct {
	Gateway gatewayCmd `cmd:"" help:"Run the gateway: boards to spool to cloud, as mote.toml says."`
	Pub     pubCmd     `cmd:"" help:"Publish a message over MQTT."`
	Sub     subCmd     `cmd:"" help:"Subscribe over MQTT and print what comes."`
}

type toolVerbs struct {
	BT      btCmd      `cmd:"" name:"bt" help:"Find boards over Bluetooth and pair with them."`
	Sim     simCmd     `cmd:"" help:"Simulate boards on a pseudo-terminal, TCP or RFCOMM."`
	Spool   spoolCmd   `cmd:"" help:"Look into a gateway's spool."`
	Doctor  doctorCmd  `cmd:"" help:"Check what a gateway needs: clock, boards, disk, network, certificates, policy; with remedies."`
	Service serviceCmd `cmd:"" help:"Keep the gateway running as a service of systemd."`
	Version versionCmd `cmd:"" help:"Print the version."`

	LogLevel string `help:"Least level of log lines on stderr: debug, info, warn or error." enum:"debug,info,warn,error," default:"" placeholder:"LEVEL" env:"MOTE_LOG_LEVEL"`
}

// session is what a verb works with.
type session struct {
	ctx            context.Context // ended by Ctrl-C and SIGTERM
	stdin          io.Reader
	stdout, stderr io.Writer
	level          string
}

// logger returns the log of a verb: text lines on stderr, from level on unless
// the command line names another.
func (s *session) logger(level slog.Level) *slog.Logger {
	if s.level != "" {
		_ = level.UnmarshalText([]byte(s.level)) // the tag enum has checked it
	}
	return slog.New(slog.NewTextHandler(s.stderr, &slog.HandlerOptions{Level: level}))
}

// verb is what every command of the command line is.
type verb interface{ Run(s *session) error }

// usageError is a failure of the caller's: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitStatus ends the program without a message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	// What a verb makes is for this user alone, whatever the shell's umask: the
	// database's files, which hold keys, take their mode from it.
	syscall.Umask(0o077)
	var c cli
	parser := command.New("mote", "Readings from boards, into a table, without losing one.", &c, map[string]string{"data": defaultData()})
	switch {
	case len(args) == 0: // wrong usage, and the help says all that can be said of it
		args, stdout, code = []string{"--help"}, stderr, 2
	case slices.Equal(args, []string{"--version"}):
		args = []string{"version"}
	}
	selected, err := parser.Parse(args)
	if err != nil {
		hint := "mote --help"
		var wrong *command.UsageError
		if errors.As(err, &wrong) && wrong.Command != "" {
			hint = "mote " + wrong.Command + " --help"
		}
		fmt.Fprintf(stderr, "mote: %v\nhint: %s\n", err, hint)
		return 2
	}
	if selected.Help != "" {
		if _, err := io.WriteString(stdout, selected.Help); err != nil {
			return 1
		}
		return code
	}
	s := &session{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, level: c.LogLevel}
	err = selected.Target.(verb).Run(s)
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.EPIPE): // the reader of our output has gone: nothing to say, nobody to say it to
		return 1
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "mote: %v\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "mote: %v\n", err)
	return 1
}
