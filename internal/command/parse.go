package command

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Selected is what a command line asks for.
type Selected struct {
	// Command is the words of the command, for example "spool dump"; empty for
	// the program itself.
	Command string

	// Target points to the struct of the command, filled in.
	Target any

	// Help is the text that --help asked for, and empty without it: then there
	// is nothing to run.
	Help string
}

// UsageError says why a command line is refused.
type UsageError struct {
	// Command is the words of the command that was recognised; empty for the
	// program itself.
	Command string

	text string
}

func (e *UsageError) Error() string { return e.text }

// Parse fills in the parser's target from args, the command line without the
// program's name, and says which command it asks for; help COMMAND is COMMAND
// --help. Every error is a [*UsageError]. It is called once.
func (p *Parser) Parse(args []string) (*Selected, error) {
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	l := line{at: p.root, rest: args}
	err := l.read()
	if err == nil && !l.help {
		err = l.finish()
	}
	if err != nil {
		return nil, &UsageError{l.at.path(), err.Error()}
	}
	s := &Selected{Command: l.at.path(), Target: l.at.target.Addr().Interface()}
	if l.help {
		s.Help = p.usage(l.at)
	}
	return s, nil
}

// line is a command line being read.
type line struct {
	at   *command
	rest []string
	args int // arguments of at that are taken
	help bool
}

func (l *line) next() string {
	word := l.rest[0]
	l.rest = l.rest[1:]
	return word
}

func (l *line) read() error {
	for plain := false; len(l.rest) > 0; {
		var err error
		switch word := l.next(); {
		case plain, word == "-", isNumber(word) && l.short(word[1:2]) == nil:
			err = l.positional(word)
		case word == "--":
			plain = true
		case strings.HasPrefix(word, "--"):
			err = l.long(word)
		case strings.HasPrefix(word, "-"):
			err = l.letters(word[1:])
		default:
			err = l.positional(word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isNumber reports whether a word with a dash in front is a number and not a
// flag.
func isNumber(word string) bool {
	_, err := strconv.ParseFloat(word, 64)
	return err == nil && len(word) > 1 && word[0] == '-' && word[1] >= '0' && word[1] <= '9'
}

// long takes --name, --name=value and --name value.
func (l *line) long(word string) error {
	name, text, has := strings.Cut(word[2:], "=")
	f := l.find(func(v *value) bool { return v.name == name })
	if f == nil {
		return fmt.Errorf("unknown flag --%s%s", name, suggest("--"+name, l.flagNames()))
	}
	return l.set(f, "--"+name, text, has)
}

// letters takes -x, -xvalue, -x value, -x=value, and -xyz for three flags
// without values.
func (l *line) letters(s string) error {
	for s != "" {
		letter := s[:1]
		f := l.short(letter)
		if f == nil {
			return fmt.Errorf("unknown flag -%s", letter)
		}
		s = s[1:]
		if f.isBool() && !strings.HasPrefix(s, "=") {
			if err := l.set(f, "-"+letter, "", false); err != nil {
				return err
			}
			continue
		}
		return l.set(f, "-"+letter, strings.TrimPrefix(s, "="), s != "")
	}
	return nil
}

func (l *line) set(f *value, shown, text string, has bool) error {
	switch {
	case has:
	case f.isBool():
		text = "true"
	case len(l.rest) == 0, strings.HasPrefix(l.rest[0], "-") && l.rest[0] != "-" && !isNumber(l.rest[0]):
		return fmt.Errorf("%s wants a value, %s; one that begins with a dash is given as %s=VALUE", shown, f.wants(), shown)
	default:
		text = l.next()
	}
	if f.name == "help" {
		l.help = true
	}
	return f.set(shown, text)
}

// positional takes a command's name or an argument.
func (l *line) positional(word string) error {
	var names []string
	for _, c := range l.at.commands {
		if c.name == word {
			l.at, l.args = c, 0
			return nil
		}
		names = append(names, c.name)
	}
	if l.args >= len(l.at.args) {
		return fmt.Errorf("unexpected argument %s%s", word, suggest(word, names))
	}
	a := l.at.args[l.args]
	if !a.isList() {
		l.args++
	}
	return a.set("<"+a.name+">", word)
}

// finish looks for what is missing.
func (l *line) finish() error {
	if len(l.at.commands) > 0 {
		var names []string
		for _, c := range l.at.commands {
			names = append(names, strconv.Quote(c.name))
		}
		return fmt.Errorf("expected one of %s", strings.Join(names, ", "))
	}
	for _, a := range l.at.args {
		if !a.given && !a.optional {
			return fmt.Errorf("expected %q", "<"+a.name+">")
		}
	}
	for c := l.at; c != nil; c = c.parent {
		for _, f := range c.flags {
			if err := f.complete(); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete takes a flag's value from the environment if the command line has
// none.
func (v *value) complete() error {
	if text := os.Getenv(v.env); !v.given && v.env != "" && text != "" {
		return v.set("$"+v.env, text)
	}
	if !v.given && !v.optional {
		return fmt.Errorf("missing flag --%s: %s", v.name, v.wants())
	}
	return nil
}

// find returns a flag of the command or of one above it.
func (l *line) find(is func(*value) bool) *value {
	for c := l.at; c != nil; c = c.parent {
		for _, f := range c.flags {
			if is(f) {
				return f
			}
		}
	}
	return nil
}

func (l *line) short(letter string) *value {
	return l.find(func(v *value) bool { return v.short == letter })
}

func (l *line) flagNames() (names []string) {
	l.find(func(v *value) bool { names = append(names, "--"+v.name); return false })
	return names
}
