package command

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// width is the longest line of the help, in letters.
const width = 80

// usage returns the help of a command.
func (p *Parser) usage(c *command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n", p.synopsis(c))
	if c.help != "" {
		fmt.Fprintf(&b, "\n%s\n", wrap(c.help, 0))
	}
	section(&b, "Arguments:", arguments(c))
	var flags []row
	for at := c; at != nil; at = at.parent {
		if own := flagRows(at); at != c && len(flags) > 0 && len(own) > 0 {
			flags = append(append(own, row{}), flags...)
		} else {
			flags = append(own, flags...)
		}
	}
	section(&b, "Flags:", flags)
	section(&b, "Commands:", leaves(c))
	if len(c.commands) > 0 {
		fmt.Fprintf(&b, "\nRun \"%s <command> --help\" for more about a command.\n", p.words(c))
	}
	return b.String()
}

func (p *Parser) words(c *command) string {
	return strings.TrimSuffix(p.root.name+" "+c.path(), " ")
}

func (p *Parser) synopsis(c *command) string {
	s := p.words(c)
	for _, a := range c.args {
		s += " " + a.argument()
	}
	if len(c.commands) > 0 {
		s += " <command>"
	}
	return s + " [flags]"
}

func (v *value) argument() string {
	s := "<" + v.name + ">"
	if v.isList() {
		s += " ..."
	}
	if v.optional {
		s = "[" + s + "]"
	}
	return s
}

// row is a line of the help: what, and what it is for. The empty row is an
// empty line.
type row struct{ left, right string }

func arguments(c *command) (rows []row) {
	for _, a := range c.args {
		rows = append(rows, row{a.argument(), a.help})
	}
	return rows
}

func flagRows(c *command) (rows []row) {
	for _, f := range c.flags {
		left := "    --" + f.name
		if f.short != "" {
			left = "-" + f.short + ", --" + f.name
		}
		if !f.isBool() {
			left += "=" + f.sample()
		}
		right := f.help
		if f.env != "" {
			right = strings.TrimSuffix(right, ".") + " ($" + f.env + ")."
		}
		rows = append(rows, row{left, right})
	}
	return rows
}

// sample stands for a flag's value in the help.
func (v *value) sample() string {
	switch {
	case v.placeholder != "":
		return v.placeholder
	case v.preset != "" && v.field.Kind() == reflect.String:
		return strconv.Quote(v.preset)
	case v.preset != "":
		return v.preset
	}
	return strings.ToUpper(v.name)
}

// leaves returns the commands below c that run.
func leaves(c *command) (rows []row) {
	for _, sub := range c.commands {
		if len(sub.commands) > 0 {
			rows = append(rows, leaves(sub)...)
			continue
		}
		left := sub.path()
		for _, a := range sub.args {
			left += " " + a.argument()
		}
		rows = append(rows, row{left, sub.help})
	}
	return rows
}

// section prints rows in two columns under a title, if there are any.
func section(b *strings.Builder, title string, rows []row) {
	if len(rows) == 0 {
		return
	}
	indent := 0
	for _, r := range rows {
		indent = max(indent, utf8.RuneCountInString(r.left)+4)
	}
	indent = min(indent, width/3)
	fmt.Fprintf(b, "\n%s\n", title)
	for _, r := range rows {
		line := "  " + r.left
		gap := indent + 2 - utf8.RuneCountInString(line)
		if gap < 2 && r.right != "" { // the right side begins a line of its own
			line, gap = line+"\n", indent+2
		}
		line += strings.Repeat(" ", max(gap, 0)) + wrap(r.right, indent+2)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// wrap breaks text into lines that fit behind indent spaces; the first line is
// not indented.
func wrap(text string, indent int) string {
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}
