// Package command reads a command line into a struct whose tags are its
// documentation. It refuses what it does not know, and names what is near.
//
// Commands are fields with the tag cmd; they nest. Every other exported field
// is a flag, or a positional argument with the tag arg; the fields of embedded
// structs count as the struct's own. The kinds of values are string, bool,
// integers, floats, time.Duration, []string and map[string]string.
//
// Tags:
//
//	help         what it is for, one sentence
//	cmd, arg     a command; a positional argument
//	optional     the argument may be missing
//	required     the flag must be given
//	name, short  the name, if not the field's in kebab-case; one letter for -x
//	default      the value when nothing else says one; ${var} is replaced
//	env          the environment variable that says it when no flag does
//	enum         the allowed values, separated by commas
//	type         path: "~/" is replaced and the path made absolute;
//	             existingdir: such a path, of a directory that is there
//	sep          none: a list takes one element each time, commas and all
//	placeholder  stands for the value in the help
//
// It is written here because the known packages find the method to run by a
// name that the linker cannot see, which makes it keep every method of every
// type of the program: a fifth of mote's size.
package command

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Parser knows a command line: make one with [New].
type Parser struct {
	root *command
}

// New returns the parser that fills in target, a pointer to a struct with the
// tags above. Defaults may name vars as ${name}. It panics if a tag is wrong:
// the tags are part of the program.
func New(name, description string, target any, vars map[string]string) *Parser {
	root := &command{name: name, help: description, target: reflect.ValueOf(target).Elem()}
	root.flags = []*value{{name: "help", short: "h", help: "Show this help.", optional: true, field: reflect.ValueOf(new(bool)).Elem()}}
	root.read(root.target, vars)
	return &Parser{root}
}

// command is one node of the tree: the program, a command, or one of its own.
type command struct {
	name, help string
	parent     *command
	target     reflect.Value
	flags      []*value
	args       []*value
	commands   []*command
}

// value is a flag or an argument.
type value struct {
	name, short, help, placeholder string
	kind                           string // of type
	env                            string
	preset                         string // of default
	hasPreset                      bool
	optional                       bool // an argument that may be missing, a flag that need not be given
	arg                            bool
	whole                          bool // a list that is not split at commas
	enum                           []string
	field                          reflect.Value
	given                          bool
}

// path returns the words that reach the command, the program's name not among
// them.
func (c *command) path() string {
	if c.parent == nil {
		return ""
	}
	return strings.TrimPrefix(c.parent.path()+" "+c.name, " ")
}

// read adds the fields of v, a struct, to the command.
func (c *command) read(v reflect.Value, vars map[string]string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous:
			c.read(v.Field(i), vars)
		case !f.IsExported():
		case has(f.Tag, "cmd"):
			sub := &command{name: nameOf(f), help: f.Tag.Get("help"), parent: c, target: v.Field(i)}
			c.commands = append(c.commands, sub)
			sub.read(sub.target, vars)
		case has(f.Tag, "arg"):
			c.args = append(c.args, newValue(f, v.Field(i), has(f.Tag, "optional"), vars))
		default:
			c.flags = append(c.flags, newValue(f, v.Field(i), !has(f.Tag, "required"), vars))
		}
	}
}

func newValue(f reflect.StructField, field reflect.Value, optional bool, vars map[string]string) *value {
	checkTag(f)
	v := &value{
		name: nameOf(f), short: f.Tag.Get("short"), help: f.Tag.Get("help"), placeholder: f.Tag.Get("placeholder"),
		kind: f.Tag.Get("type"), env: f.Tag.Get("env"), optional: optional, field: field,
	}
	v.arg = has(f.Tag, "arg")
	v.whole = v.arg || f.Tag.Get("sep") == "none"
	v.preset, v.hasPreset = f.Tag.Lookup("default")
	for name, text := range vars {
		v.preset = strings.ReplaceAll(v.preset, "${"+name+"}", text)
	}
	if list, ok := f.Tag.Lookup("enum"); ok {
		v.enum = strings.Split(list, ",")
	}
	if err := v.reset(); err != nil {
		panic(fmt.Sprintf("command: field %s: %v", f.Name, err))
	}
	return v
}

var knownTags = []string{"help", "cmd", "arg", "optional", "required", "name", "short", "default", "env", "enum", "type", "sep", "placeholder"}

// checkTag panics at a tag that would be overlooked.
func checkTag(f reflect.StructField) {
	for rest := string(f.Tag); rest != ""; {
		key, after, ok := strings.Cut(rest, `:"`)
		if !ok || !slices.Contains(knownTags, strings.TrimSpace(key)) {
			panic(fmt.Sprintf("command: field %s: no such tag: %q", f.Name, rest))
		}
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		rest = after[min(end+1, len(after)):]
	}
}

func has(t reflect.StructTag, key string) bool {
	_, ok := t.Lookup(key)
	return ok
}

// nameOf returns the name of a field on the command line: LogLevel is
// log-level.
func nameOf(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	var b strings.Builder
	letters := []rune(f.Name)
	for i, r := range letters {
		starts := i > 0 && unicode.IsUpper(r) && (unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if starts {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
