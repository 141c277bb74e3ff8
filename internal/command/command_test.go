package command

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type program struct {
	Send  sendCmd  `cmd:"" help:"Send a message."`
	Spool spoolCmd `cmd:"" help:"Look into the spool."`

	LogLevel string `help:"Least level." enum:"debug,info," default:"" env:"PROGRAM_LEVEL"`
}

type where struct {
	Data string `help:"Directory." default:"${data}" type:"path"`
}

type sendCmd struct {
	where
	Topic   string            `arg:"" help:"Topic."`
	Words   []string          `arg:"" optional:"" help:"Words."`
	QoS     byte              `name:"qos" enum:"0,1" default:"1" short:"q" help:"Quality."`
	Retain  bool              `short:"r" help:"Keep it."`
	Lines   bool              `short:"l" help:"One each line."`
	Every   time.Duration     `default:"2s" help:"Period."`
	Count   int               `short:"n" default:"-1" help:"Number."`
	Seed    uint64            `help:"Seed."`
	Speed   float64           `default:"1" help:"Speed."`
	Host    []string          `default:"a,b" help:"Hosts."`
	Where   []string          `sep:"none" help:"Conditions."`
	Map     map[string]string `help:"Columns."`
	HTTPURL string            `help:"A name with an abbreviation."`
}

type spoolCmd struct {
	Dump dumpCmd `cmd:"" help:"Print it."`
	Trim struct {
		Bytes int64 `required:"" placeholder:"BYTES" help:"Bytes to keep."`
	} `cmd:"" help:"Make it smaller."`
}

type dumpCmd struct {
	Dir string `arg:"" type:"existingdir" help:"Directory."`
}

func parse(t testing.TB, words ...string) (*program, *Selected, error) {
	t.Helper()
	var p program
	s, err := New("program", "Tests.", &p, map[string]string{"data": "/var/mote"}).Parse(words)
	return &p, s, err
}

func TestDefaults(t *testing.T) {
	p, s, err := parse(t, "send", "a/b")
	if err != nil {
		t.Fatal(err)
	}
	c := p.Send
	if s.Command != "send" || s.Target != any(&p.Send) || s.Help != "" {
		t.Errorf("selected %+v", s)
	}
	if c.Topic != "a/b" || c.Words != nil || c.QoS != 1 || c.Retain || c.Every != 2*time.Second || c.Count != -1 ||
		c.Speed != 1 || !slices.Equal(c.Host, []string{"a", "b"}) || c.Data != "/var/mote" {
		t.Errorf("got %+v", c)
	}
}

func TestEveryKindOfValue(t *testing.T) {
	p, _, err := parse(t, "--log-level", "debug", "send", "-rl", "-q0", "t", "--every=1m", "-n", "-5", "--seed", "18446744073709551615",
		"--speed=0.5", "--host", "x,y", "--host=z", "--where", "a,b", "--where=c", "--map", "a=1,b=2=3", "--httpurl", "u", "--", "one,two", "--three", "-4")
	if err != nil {
		t.Fatal(err)
	}
	c := p.Send
	if !slices.Equal(c.Where, []string{"a,b", "c"}) {
		t.Errorf("where %q", c.Where)
	}
	if p.LogLevel != "debug" || !c.Retain || !c.Lines || c.QoS != 0 || c.Every != time.Minute || c.Count != -5 || c.Seed != 1<<64-1 || c.Speed != 0.5 || c.HTTPURL != "u" {
		t.Errorf("got %+v", p)
	}
	if want := []string{"one,two", "--three", "-4"}; !slices.Equal(c.Words, want) {
		t.Errorf("words %q, want %q: an argument is one word", c.Words, want)
	}
	if want := []string{"x", "y", "z"}; !slices.Equal(c.Host, want) {
		t.Errorf("hosts %q, want %q", c.Host, want)
	}
	if want := map[string]string{"a": "1", "b": "2=3"}; !maps.Equal(c.Map, want) {
		t.Errorf("map %v, want %v", c.Map, want)
	}
}

func TestFlagsMayStandAnywhereBehindTheirCommand(t *testing.T) {
	p, _, err := parse(t, "send", "t", "-5", "--retain=false", "--log-level=info", "-", "-q=0")
	if err != nil {
		t.Fatal(err)
	}
	if p.LogLevel != "info" || p.Send.Retain || p.Send.QoS != 0 || !slices.Equal(p.Send.Words, []string{"-5", "-"}) {
		t.Errorf("got %+v", p)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ line, command, want string }{
		{"", "", `expected one of "send", "spool"`},
		{"spool", "spool", `expected one of "dump", "trim"`},
		{"sned", "", `unexpected argument sned, did you mean "send"?`},
		{"spo", "", `unexpected argument spo, did you mean "spool"?`},
		{"xyz", "", `unexpected argument xyz`},
		{"help sned", "", `unexpected argument sned, did you mean "send"?`},
		{"send", "send", `expected "<topic>"`},
		{"send t --retian", "send", `unknown flag --retian, did you mean "--retain"?`},
		{"send t --log-levle=info", "send", `unknown flag --log-levle, did you mean "--log-level"?`},
		{"--retain send t", "", `unknown flag --retain`},
		{"send t -x", "send", `unknown flag -x`},
		{"send t -rx", "send", `unknown flag -x`},
		{"send t --qos 2", "send", `--qos must be one of "0","1" but got "2"`},
		{"send t --log-level all", "send", `--log-level must be one of "debug","info" but got "all"`},
		{"send t --seed", "send", `--seed wants a value, a number; one that begins with a dash is given as --seed=VALUE`},
		{"send t --data --retain", "send", `--data wants a value, a text; one that begins with a dash is given as --data=VALUE`},
		{"send t --every 5", "send", `--every: expected a duration such as 90s or 1h30m but got "5"`},
		{"send t --count=x", "send", `--count: expected a whole number but got "x"`},
		{"send t --seed=-1", "send", `--seed: expected a whole number, 0 or more, but got "-1"`},
		{"send t --seed=18446744073709551616", "send", `--seed: expected a whole number, 0 or more, but got "18446744073709551616", which is out of range`},
		{"send t --speed=fast", "send", `--speed: expected a number but got "fast"`},
		{"send t --retain=maybe", "send", `--retain: expected true or false but got "maybe"`},
		{"send t --map=a", "send", `--map: expected NAME=VALUE but got "a"`},
		{"spool dump", "spool dump", `expected "<dir>"`},
		{"spool dump /nothing/there", "spool dump", `<dir>: no directory at "/nothing/there"`},
		{"spool dump / /", "spool dump", `unexpected argument /`},
		{"spool trim", "spool trim", `missing flag --bytes: BYTES`},
	} {
		_, _, err := parse(t, strings.Fields(c.line)...)
		var wrong *UsageError
		if !errors.As(err, &wrong) || wrong.Error() != c.want || wrong.Command != c.command {
			t.Errorf("%q: got %v of %q\nwant %s of %q", c.line, err, wrong.Command, c.want, c.command)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PROGRAM_LEVEL", "info")
	if p, _, err := parse(t, "send", "t"); err != nil || p.LogLevel != "info" {
		t.Errorf("got %q, %v", p.LogLevel, err)
	}
	if p, _, err := parse(t, "send", "t", "--log-level=debug"); err != nil || p.LogLevel != "debug" {
		t.Errorf("the flag does not win over the environment: %q, %v", p.LogLevel, err)
	}
	t.Setenv("PROGRAM_LEVEL", "loud")
	if _, _, err := parse(t, "send", "t"); err == nil || !strings.Contains(err.Error(), `$PROGRAM_LEVEL must be one of`) {
		t.Errorf("got %v", err)
	}
}

func TestPaths(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(dir)
	dir, _ = os.Getwd()
	for text, want := range map[string]string{"~/x": filepath.Join(home, "x"), "x/../y": filepath.Join(dir, "y"), "/z": "/z", "-": "-", "": ""} {
		if p, _, err := parse(t, "send", "t", "--data="+text); err != nil || p.Send.Data != want {
			t.Errorf("%q: got %q, %v, want %q", text, p.Send.Data, err, want)
		}
	}
	if p, _, err := parse(t, "spool", "dump", "."); err != nil || p.Spool.Dump.Dir != dir {
		t.Errorf("got %q, %v, want %q", p.Spool.Dump.Dir, err, dir)
	}
}

func TestHelp(t *testing.T) {
	_, s, err := parse(t, "--help")
	want := `Usage: program <command> [flags]

Tests.

Flags:
  -h, --help                Show this help.
      --log-level=LOG-LEVEL
                            Least level ($PROGRAM_LEVEL).

Commands:
  send <topic> [<words> ...]
                            Send a message.
  spool dump <dir>          Print it.
  spool trim                Make it smaller.

Run "program <command> --help" for more about a command.
`
	if err != nil || s.Help != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, s.Help, want)
	}
	_, s, err = parse(t, "spool", "trim", "-h") // what is missing does not matter
	want = `Usage: program spool trim [flags]

Make it smaller.

Flags:
  -h, --help                Show this help.
      --log-level=LOG-LEVEL
                            Least level ($PROGRAM_LEVEL).

      --bytes=BYTES         Bytes to keep.
`
	if err != nil || s.Help != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, s.Help, want)
	}
	if _, same, err := parse(t, "help", "spool", "trim"); err != nil || same.Help != want {
		t.Errorf("help spool trim: got %v, %+v", err, same)
	}
	_, s, _ = parse(t, "help", "send")
	for line := range strings.Lines(s.Help) {
		if len(line) > width+1 {
			t.Errorf("a line of %d letters: %s", len(line), line)
		}
	}
}

func TestWrongTagsPanic(t *testing.T) {
	for name, target := range map[string]any{
		"unknown tag": &struct {
			A string `hlep:"x"`
		}{},
		"unknown type": &struct {
			A string `type:"file"`
		}{},
		"unknown kind": &struct{ A complex128 }{},
		"default no enum": &struct {
			A string `enum:"a,b" default:"c"`
		}{},
		"bad default": &struct {
			A int `default:"x"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			New("p", "", target, nil)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"send t", "send -rlq0 t -- -x", "spool dump .", "--log-level=debug send", "send --map a=b,=,c", "send -n-5 t", "-", "--", "--=", "-=", "send -é t", "send -h"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		_, s, err := parse(t, strings.Split(line, " ")...)
		if (s == nil) == (err == nil) {
			t.Errorf("got %v and %v", s, err)
		}
	})
}
