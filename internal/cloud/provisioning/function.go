package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// functions are those of templates (AWS IoT developer guide, "Provisioning
// templates"; AWS CloudFormation user guide, "Intrinsic function reference").
var functions = map[string]func(v values, args any) (any, error){
	"Ref":           values.ref,
	"Fn::Join":      values.join,
	"Fn::Select":    values.choose,
	"Fn::FindInMap": values.find,
	"Fn::Split":     values.split,
	"Fn::Sub":       values.substitute,
}

// values is what a template is evaluated with.
type values struct {
	t      *Template
	params map[string]string
}

// function returns the function that an object stands for: its only member.
func function(o map[string]any) (name string, args any, ok bool) {
	if len(o) != 1 {
		return "", nil, false
	}
	for name, args = range o {
	}
	return name, args, name == "Ref" || strings.HasPrefix(name, "Fn::")
}

// check says why a value of the template cannot be evaluated whatever its
// parameters are.
func (t *Template) check(v any) error {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			if err := t.check(one); err != nil {
				return err
			}
		}
	case map[string]any:
		name, args, ok := function(v)
		if ok && functions[name] == nil {
			return fmt.Errorf("the function %.50s does not exist: use Ref, Fn::Join, Fn::Select, Fn::FindInMap, Fn::Split or Fn::Sub", name)
		}
		if name == "Ref" {
			return t.checkRef(args)
		}
		for _, one := range v {
			if err := t.check(one); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Template) checkRef(args any) error {
	name, ok := args.(string)
	if !ok {
		return errors.New("a Ref needs the name of a parameter")
	}
	if _, declared := t.parameters[name]; !declared && !strings.HasPrefix(name, certificateParams) {
		return fmt.Errorf("a Ref names %.100q, which is not among the Parameters", name)
	}
	return nil
}

// eval returns v with its functions replaced by their values. A template is
// small and a function is evaluated once, which bounds the work.
func (v values) eval(in any) (any, error) {
	switch in := in.(type) {
	case []any:
		out := make([]any, len(in))
		for i := range in {
			one, err := v.eval(in[i])
			if err != nil {
				return nil, err
			}
			out[i] = one
		}
		return out, nil
	case map[string]any:
		if name, args, ok := function(in); ok {
			return v.call(name, args)
		}
		out := make(map[string]any, len(in))
		for key := range in {
			one, err := v.eval(in[key])
			if err != nil {
				return nil, err
			}
			out[key] = one
		}
		return out, nil
	}
	return in, nil
}

func (v values) call(name string, args any) (any, error) {
	f := functions[name]
	if f == nil {
		return nil, fmt.Errorf("the function %.50s does not exist", name)
	}
	args, err := v.eval(args)
	if err != nil {
		return nil, err
	}
	out, err := f(v, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// string evaluates in to a text.
func (v values) string(in any) (string, error) {
	out, err := v.eval(in)
	if err != nil {
		return "", err
	}
	return scalar(out)
}

// scalar is a text, number or truth as text.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", errors.New("a text is needed where there is a list, an object or nothing")
}

func (v values) param(name string) (string, error) {
	if s, ok := v.params[name]; ok {
		return s, nil
	}
	p, ok := v.t.parameters[name]
	switch {
	case !ok && strings.HasPrefix(name, certificateParams):
		return "", fmt.Errorf("the certificate has no %s, and the parameter %s has no Default", name[len(certificateParams):], name)
	case !ok:
		return "", fmt.Errorf("there is no parameter %.100q", name)
	case p.standard == nil:
		return "", fmt.Errorf("the parameter %.100s has no value: send it, or give it a Default in the template", name)
	}
	return *p.standard, nil
}

func (v values) ref(args any) (any, error) {
	name, err := scalar(args)
	if err != nil {
		return nil, err
	}
	return v.param(name)
}

// list returns args as a list of n.
func list(args any, n int) ([]any, error) {
	l, ok := args.([]any)
	if !ok || len(l) != n {
		return nil, fmt.Errorf("it needs a list of %d arguments", n)
	}
	return l, nil
}

func (v values) join(args any) (any, error) {
	l, err := list(args, 2)
	if err != nil {
		return nil, err
	}
	sep, err := scalar(l[0])
	parts, ok := l[1].([]any)
	if err != nil || !ok {
		return nil, errors.New("it needs a separator and a list")
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		if texts[i], err = scalar(p); err != nil {
			return nil, err
		}
	}
	return strings.Join(texts, sep), nil
}

func (v values) choose(args any) (any, error) {
	l, err := list(args, 2)
	if err != nil {
		return nil, err
	}
	text, err := scalar(l[0])
	if err != nil {
		return nil, err
	}
	from, ok := l[1].([]any)
	i, err := strconv.Atoi(text)
	if err != nil || !ok || i < 0 || i >= len(from) {
		return nil, fmt.Errorf("the index %.20q is not that of an entry: the list has %d, from 0", text, len(from))
	}
	return from[i], nil
}

func (v values) find(args any) (any, error) {
	l, err := list(args, 3)
	if err != nil {
		return nil, err
	}
	at := any(v.t.mappings)
	for _, key := range l {
		name, err := scalar(key)
		if err != nil {
			return nil, err
		}
		m, _ := at.(map[string]any)
		next, ok := m[name]
		if !ok {
			return nil, fmt.Errorf("the Mappings have no %.100q there", name)
		}
		at = next
	}
	return at, nil
}

func (v values) split(args any) (any, error) {
	l, err := list(args, 2)
	if err != nil {
		return nil, err
	}
	sep, err := scalar(l[0])
	if err != nil || sep == "" {
		return nil, errors.New("it needs a delimiter and a text")
	}
	text, err := scalar(l[1])
	if err != nil {
		return nil, err
	}
	var out []any
	for part := range strings.SplitSeq(text, sep) {
		out = append(out, part)
	}
	return out, nil
}

// substitute replaces ${name} by a parameter, or by an entry of the map that
// comes with the text, and ${!name} by ${name}.
func (v values) substitute(args any) (any, error) {
	own := map[string]any{}
	if l, ok := args.([]any); ok && len(l) == 2 {
		if own, ok = l[1].(map[string]any); !ok {
			return nil, errors.New("it needs a text, or a text and an object")
		}
		args = l[0]
	}
	text, err := scalar(args)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("a ${ has no }")
		}
		value, err := v.named(name, own)
		if err != nil {
			return nil, err
		}
		b.WriteString(value)
		text = after
	}
}

func (v values) named(name string, own map[string]any) (string, error) {
	if literal, ok := strings.CutPrefix(name, "!"); ok {
		return "${" + literal + "}", nil
	}
	if value, ok := own[name]; ok {
		return scalar(value)
	}
	return v.param(name)
}
