package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"mote/internal/typo"
)

// checker collects what is wrong with one file.
type checker struct {
	name, dir string
	data      []byte
	lines     map[string]int // path such as "source[1].tcp" → 1-based line
	errs      []error
}

// fail records that the value at path is wrong. A path that is not in the file
// (a missing key) is shown at the table that should have it.
func (c *checker) fail(path, format string, args ...any) {
	line := 0
	for p := path; p != "" && line == 0; {
		line = c.lines[p]
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
	}
	c.errs = append(c.errs, c.at(line, fmt.Sprintf(format, args...)))
}

func (c *checker) at(line int, msg string) *Error {
	e := &Error{File: c.name, Line: line, Msg: msg}
	if lines := strings.Split(string(c.data), "\n"); line > 0 && line <= len(lines) {
		e.Text = lines[line-1]
	}
	return e
}

// decodeError turns the decoder's errors into ours, each with its line.
func (c *checker) decodeError(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			all = append(all, c.unknownKey(&strict.Errors[i]))
		}
		return errors.Join(all...)
	}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		row, _ := de.Position()
		return c.at(row, typeWords(strings.TrimPrefix(de.Error(), "toml: ")))
	}
	return c.at(0, strings.TrimPrefix(err.Error(), "toml: "))
}

// mismatch is the decoder's sentence for a value of the wrong type.
var mismatch = regexp.MustCompile(`^cannot decode TOML (.+) into .* of type (\S+)$`)

// typeWords says in a user's words what the decoder says in Go's.
func typeWords(msg string) string {
	m := mismatch.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	want, ok := map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false", "string": "text in quotes", "[]string": "a list of texts"}[m[2]]
	if !ok {
		want = "a table"
	}
	return "wrong type: this is a TOML " + m[1] + ", want " + want
}

func (c *checker) unknownKey(e *toml.DecodeError) error {
	row, _ := e.Position()
	key := e.Key()
	if len(key) == 0 {
		return c.at(row, "unknown key")
	}
	last, table := key[len(key)-1], strings.Join(key[:len(key)-1], ".")
	msg := fmt.Sprintf("unknown key %q", last)
	if table != "" {
		msg += " in [" + table + "]"
	}
	if near := nearest(last, knownKeys(reflect.TypeFor[File](), key[:len(key)-1])); near != "" {
		msg += fmt.Sprintf(": did you mean %q?", near)
	}
	return c.at(row, msg)
}

// knownKeys lists the keys of the table at path in t, and those of the inline
// tables directly in it.
func knownKeys(t reflect.Type, path []string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("toml")
		if len(path) > 0 && key == path[0] {
			return knownKeys(t.Field(i).Type, path[1:])
		}
		if key == "-" {
			continue
		}
		keys = append(keys, key)
		if len(path) == 0 && t != reflect.TypeFor[File]() {
			keys = append(keys, knownKeys(t.Field(i).Type, nil)...)
		}
	}
	if len(path) > 0 {
		return nil
	}
	return keys
}

// nearest returns the candidate within two edits of s, or "".
func nearest(s string, candidates []string) string {
	best, bestDist := "", 3
	for _, c := range candidates {
		if d := typo.Distance(s, c); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// index finds the line of every key. The file has been decoded before, so it
// is valid TOML.
func (c *checker) index() {
	c.lines = map[string]int{}
	var p unstable.Parser
	p.Reset(c.data)
	counts := map[string]int{}
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = c.note(&p, "", e)
		case unstable.ArrayTable:
			name := inElement(keyText(e.Key()), counts)
			table = fmt.Sprintf("%s[%d]", name, counts[name])
			counts[name]++
			c.lines[table] = c.keyLine(&p, e)
		case unstable.KeyValue:
			c.note(&p, table, e)
		}
	}
}

// inElement makes of source.field, a table in the last [[source]] so far, the
// path source[2].field.
func inElement(name string, counts map[string]int) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && counts[name[:i]] > 0 {
		return fmt.Sprintf("%s[%d]%s", name[:i], counts[name[:i]]-1, name[i:])
	}
	return name
}

// note records the lines of e and, when its value is an inline table, of the
// keys in it. It returns the path of e.
func (c *checker) note(p *unstable.Parser, table string, e *unstable.Node) string {
	path := keyText(e.Key())
	if table != "" {
		path = table + "." + path
	}
	c.lines[path] = c.keyLine(p, e)
	if e.Kind == unstable.KeyValue && e.Value().Kind == unstable.InlineTable {
		for it := e.Value().Children(); it.Next(); {
			c.note(p, path, it.Node())
		}
	}
	return path
}

func (c *checker) keyLine(p *unstable.Parser, e *unstable.Node) int {
	it := e.Key()
	if !it.Next() {
		return 0
	}
	return p.Shape(p.Range(p.Raw(it.Node().Raw))).Start.Line
}

func keyText(it unstable.Iterator) string {
	var parts []string
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, ".")
}
