package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where a policy document is wrong and what is wrong there.
type SyntaxError struct {
	Line, Column int    // of the offending value, from 1; columns count bytes
	Path         string // for example "Statement[0].Action"; "" for the document itself
	Msg          string
}

func (e *SyntaxError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", e.Line, e.Column, e.Path, e.Msg)
}

// node is one JSON value with its place in the text.
type node struct {
	at, end int    // byte offsets of its first character and behind its last
	path    string // for messages
	kind    kind
	text    string // of a string; the literal of a number or boolean
	members []member
	items   []*node
}

type member struct {
	name  string
	at    int
	value *node
}

type kind byte

const (
	kindNull kind = iota
	kindText
	kindNumber
	kindBool
	kindList
	kindObject
)

// String names the kind with its article, for messages.
func (k kind) String() string {
	return [...]string{"null", "a string", "a number", "a boolean", "a list", "an object"}[k]
}

// maxDepth is how deep values may nest; a valid document needs six levels.
const maxDepth = 8

// reader turns a text into nodes.
type reader struct {
	src string
	dec *json.Decoder
}

// readJSON parses src as one JSON value with nothing behind it.
func readJSON(src string) (*node, error) {
	r := &reader{src: src, dec: json.NewDecoder(strings.NewReader(src))}
	r.dec.UseNumber()
	if !utf8.ValidString(src) {
		return nil, r.errorf(len(src)-len(strings.TrimLeft(src, " \t\r\n")), "", "the document is not valid UTF-8")
	}
	n, err := r.value("", 0)
	if err != nil {
		return nil, err
	}
	if at := r.next(); at < len(src) {
		return nil, r.errorf(at, "", "there is text behind the document")
	}
	return n, nil
}

// next is the offset of the next token's first character.
func (r *reader) next() int {
	at := int(r.dec.InputOffset())
	for at < len(r.src) && strings.IndexByte(" \t\r\n,:", r.src[at]) >= 0 {
		at++
	}
	return at
}

func (r *reader) errorf(at int, path, format string, args ...any) error {
	at = min(at, len(r.src))
	before := r.src[:at]
	return &SyntaxError{
		Line:   strings.Count(before, "\n") + 1,
		Column: at - strings.LastIndexByte(before, '\n'),
		Path:   path,
		Msg:    fmt.Sprintf(format, args...),
	}
}

// token returns the next token and where it begins.
func (r *reader) token(path string) (json.Token, int, error) {
	at := r.next()
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return t, at, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, at, r.errorf(len(r.src), path, "the document ends before it is complete")
	case errors.As(err, &syntax):
		return nil, at, r.errorf(at, path, "not JSON: %s", syntax.Error())
	}
	return nil, at, r.errorf(at, path, "not JSON: %v", err)
}

func (r *reader) value(path string, depth int) (*node, error) {
	t, at, err := r.token(path)
	if err != nil {
		return nil, err
	}
	n := &node{at: at, path: path}
	defer func() { n.end = int(r.dec.InputOffset()) }()
	switch t := t.(type) {
	case string:
		n.kind, n.text = kindText, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	case json.Delim:
		if depth == maxDepth {
			return nil, r.errorf(at, path, "values nest deeper than %d levels", maxDepth)
		}
		if t == '{' {
			return n, r.object(n, depth)
		}
		return n, r.list(n, depth)
	}
	return n, nil
}

func (r *reader) list(n *node, depth int) error {
	n.kind = kindList
	for r.dec.More() {
		item, err := r.value(fmt.Sprintf("%s[%d]", n.path, len(n.items)), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, _, err := r.token(n.path)
	return err
}

func (r *reader) object(n *node, depth int) error {
	n.kind = kindObject
	for r.dec.More() {
		t, at, err := r.token(n.path)
		if err != nil {
			return err
		}
		name, _ := t.(string) // the decoder lets nothing else be a name
		path := strings.TrimPrefix(n.path+"."+name, ".")
		for _, m := range n.members {
			if m.name == name {
				return r.errorf(at, path, "occurs twice, which of the two counts would be a guess")
			}
		}
		value, err := r.value(path, depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name, at, value})
	}
	_, _, err := r.token(n.path)
	return err
}
