package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var durationType = reflect.TypeFor[time.Duration]()

func (v *value) isBool() bool { return v.field.Kind() == reflect.Bool }
func (v *value) isList() bool { return v.field.Kind() == reflect.Slice }

// reset puts the default in.
func (v *value) reset() error {
	v.field.SetZero()
	if !v.hasPreset {
		return v.assign(v.field, v.example()) // a kind that is none of ours shows now
	}
	if v.preset == "" && v.field.Kind() == reflect.String {
		return nil
	}
	if len(v.enum) > 0 && !slices.Contains(v.enum, v.preset) {
		return fmt.Errorf("default %q is not among %q", v.preset, v.enum)
	}
	return v.assign(v.field, v.preset)
}

// example returns the text of v's zero value.
func (v *value) example() string {
	switch v.field.Kind() {
	case reflect.Bool:
		return "false"
	case reflect.String, reflect.Slice, reflect.Map:
		return ""
	}
	return "0"
}

// set takes the text that the command line or the environment has; shown is
// what it stands under there.
func (v *value) set(shown, text string) error {
	if len(v.enum) > 0 && !slices.Contains(v.enum, text) {
		return fmt.Errorf("%s must be one of %s but got %q", shown, v.choices(), text)
	}
	if !v.given && (v.isList() || v.field.Kind() == reflect.Map) {
		v.field.SetZero()
	}
	v.given = true
	if err := v.assign(v.field, text); err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	return nil
}

// assign reads text as a value of the field's kind. A list takes it as one
// more element if it is an argument, and as elements between commas if it is a
// flag, which gives arguments with commas their own words.
func (v *value) assign(field reflect.Value, text string) error {
	switch kind := field.Kind(); {
	case field.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("expected a duration such as 90s or 1h30m but got %q", text)
		}
		field.SetInt(int64(d))
	case kind == reflect.String:
		return v.assignText(field, text)
	case kind == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("expected true or false but got %q", text)
		}
		field.SetBool(b)
	case field.CanInt():
		n, err := strconv.ParseInt(text, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("expected a whole number but got %q%s", text, outOfRange(err))
		}
		field.SetInt(n)
	case field.CanUint():
		n, err := strconv.ParseUint(text, 10, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("expected a whole number, 0 or more, but got %q%s", text, outOfRange(err))
		}
		field.SetUint(n)
	case field.CanFloat():
		n, err := strconv.ParseFloat(text, field.Type().Bits())
		if err != nil {
			return fmt.Errorf("expected a number but got %q%s", text, outOfRange(err))
		}
		field.SetFloat(n)
	case field.Type() == reflect.TypeFor[[]string]():
		return v.assignList(field, text)
	case field.Type() == reflect.TypeFor[map[string]string]():
		return assignMap(field, text)
	default:
		return fmt.Errorf("no values of type %s", field.Type())
	}
	return nil
}

func outOfRange(err error) string {
	if errors.Is(err, strconv.ErrRange) {
		return ", which is out of range"
	}
	return ""
}

func (v *value) assignText(field reflect.Value, text string) error {
	switch v.kind {
	case "":
	case "path", "existingdir":
		if text == "" || text == "-" {
			break
		}
		path, err := absolute(text)
		if err != nil {
			return err
		}
		if v.kind == "existingdir" && !isDir(path) {
			return fmt.Errorf("no directory at %q", text)
		}
		text = path
	default:
		return fmt.Errorf("no type %q", v.kind)
	}
	field.SetString(text)
	return nil
}

func absolute(path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		path = filepath.Join(home, rest)
	}
	return filepath.Abs(path)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (v *value) assignList(field reflect.Value, text string) error {
	if text == "" {
		return nil
	}
	words := []string{text}
	if !v.whole {
		words = strings.Split(text, ",")
	}
	field.Set(reflect.AppendSlice(field, reflect.ValueOf(words)))
	return nil
}

func assignMap(field reflect.Value, text string) error {
	m := map[string]string{}
	if !field.IsNil() {
		m = field.Interface().(map[string]string)
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok && text != "" {
			return fmt.Errorf("expected NAME=VALUE but got %q", pair)
		}
		if ok {
			m[name] = value
		}
	}
	field.Set(reflect.ValueOf(m))
	return nil
}

func (v *value) choices() string {
	var list []string
	for _, e := range v.enum {
		if e != "" {
			list = append(list, strconv.Quote(e))
		}
	}
	return strings.Join(list, ",")
}

// wants says what a flag's value is.
func (v *value) wants() string {
	switch {
	case len(v.enum) > 0:
		return "one of " + v.choices()
	case v.placeholder != "":
		return v.placeholder
	case v.field.Type() == durationType:
		return "a duration"
	case v.field.Kind() == reflect.String:
		return "a text"
	}
	return "a number"
}
