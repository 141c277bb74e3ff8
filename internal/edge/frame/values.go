package frame

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mote/internal/reading"
)

// Value is what is known of one field's values. Decimals are texts, so that
// 0.1 is a tenth; "" leaves them out.
type Value struct {
	Name     string
	Unit     string // such as °C
	Scale    string // the value is multiplied by it,
	Offset   string // then this is added,
	Round    int    // then it is rounded to so many places, halves away from zero; less than 0: not
	Min, Max string // what is outside, or no number at all, is implausible
	Deadband string // a change of not more than this is none; see Changes
}

// refinery is what a format does with values that were read.
type refinery struct {
	skip      map[string]bool
	values    map[string]*value
	dropFrame bool
	units     bool
	banded    bool // some value has a dead-band
}

// value is a checked Value.
type value struct {
	unit                             string
	round                            int
	scale, offset, least, most, band *reading.Decimal // nil when they are left out
}

// mostPlaces bounds Value.Round.
const mostPlaces = 30

// refine checks what is known of the values. fields are the names that can
// come, nil when anything can.
func (f *Format) refine(o Options, fields []string) error {
	f.refinery = refinery{skip: map[string]bool{}, values: map[string]*value{}, dropFrame: o.DropFrame, units: o.Units}
	for _, name := range o.Skip {
		if fields != nil && !slices.Contains(fields, name) {
			return fmt.Errorf("the field %q is to be left out but never comes; there are %s", name, strings.Join(fields, ", "))
		}
		f.skip[name] = true
	}
	for _, v := range o.Values {
		if err := f.know(v, fields); err != nil {
			return fmt.Errorf("field %q: %w", v.Name, err)
		}
	}
	return nil
}

func (f *Format) know(v Value, fields []string) error {
	switch {
	case v.Name == "id" || v.Name == "rate" || v.Name == "time" || v.Name == f.time:
		return errors.New("it is no value of a reading")
	case f.values[v.Name] != nil:
		return errors.New("it is described twice")
	case fields != nil && !slices.Contains(fields, v.Name):
		return fmt.Errorf("there is none of that name; there are %s", strings.Join(fields, ", "))
	case v.Round > mostPlaces:
		return fmt.Errorf("rounded to %d places; at most %d", v.Round, mostPlaces)
	case f.units && v.Unit != "" && fields != nil && slices.Contains(fields, v.Name+unitSuffix):
		return fmt.Errorf("its unit would be the field %q, which the board sends", v.Name+unitSuffix)
	}
	out := &value{unit: v.Unit, round: v.Round}
	for _, d := range []struct {
		what, text string
		to         **reading.Decimal
	}{{"scale", v.Scale, &out.scale}, {"offset", v.Offset, &out.offset}, {"min", v.Min, &out.least}, {"max", v.Max, &out.most}, {"deadband", v.Deadband, &out.band}} {
		if d.text == "" {
			continue
		}
		parsed, err := reading.ParseDecimal(d.text)
		if err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
		*d.to = &parsed
	}
	if out.least != nil && out.most != nil && out.least.Cmp(*out.most) > 0 {
		return fmt.Errorf("min is %s and max is %s: nothing is between", v.Min, v.Max)
	}
	if out.band != nil {
		if out.band.Cmp(reading.Decimal{}) < 0 {
			return fmt.Errorf("a dead-band of %s; it cannot be less than 0", v.Deadband)
		}
		f.banded = true
	}
	f.values[v.Name] = out
	return nil
}

// unitSuffix makes the name of the field that holds a unit.
const unitSuffix = "_unit"

// apply scales and checks the values of a frame. An error refuses all of it.
func (r *refinery) apply(fr *Frame) error {
	if len(r.values) == 0 {
		return nil
	}
	kept := make([]reading.Field, 0, len(fr.Fields))
	for _, fd := range fr.Fields {
		v := r.values[fd.Name]
		if v == nil {
			kept = append(kept, fd)
			continue
		}
		out, err := v.apply(fd)
		switch {
		case err == nil:
			kept = append(kept, out)
			if r.units && v.unit != "" {
				kept = append(kept, reading.Field{Name: fd.Name + unitSuffix, Text: v.unit})
			}
		case r.dropFrame:
			return err
		default:
			fr.Left = append(fr.Left, err.Error())
		}
	}
	if len(fr.Left) > 0 && len(kept) == 0 {
		return fmt.Errorf("no plausible value is left: %s", fr.Left[0])
	}
	fr.Fields = kept
	return nil
}

// computes reports whether the value must be a number.
func (v *value) computes() bool {
	return v.scale != nil || v.offset != nil || v.least != nil || v.most != nil || v.round >= 0
}

func (v *value) apply(fd reading.Field) (reading.Field, error) {
	if !v.computes() {
		return fd, nil
	}
	if !fd.Number {
		return fd, fmt.Errorf("the value of %s, %.40q, is not a number", fd.Name, fd.Text)
	}
	d, err := reading.ParseDecimal(fd.Text)
	if err != nil {
		return fd, fmt.Errorf("the value of %s: %w", fd.Name, err)
	}
	changed := v.scale != nil || v.offset != nil
	if v.scale != nil {
		d = d.Mul(*v.scale)
	}
	if v.offset != nil {
		d = d.Add(*v.offset)
	}
	if v.round >= 0 {
		d, changed = d.Round(v.round), true
	}
	switch {
	case v.least != nil && d.Cmp(*v.least) < 0:
		return fd, fmt.Errorf("the value of %s, %.60s, is below %s, the least that is plausible", fd.Name, d, v.least)
	case v.most != nil && d.Cmp(*v.most) > 0:
		return fd, fmt.Errorf("the value of %s, %.60s, is above %s, the most that is plausible", fd.Name, d, v.most)
	case !changed:
		return fd, nil
	}
	if fd = reading.Value(fd.Name, d.String(), false); !fd.Number {
		return fd, fmt.Errorf("the value of %s has more digits than a table takes: %.60s; round it", fd.Name, fd.Text)
	}
	return fd, nil
}

// Bands reports whether a value has a dead-band, so that Changed is to be
// asked.
func (f *Format) Bands() bool { return f.banded }

// Changed reports whether now differs from before, the values of the same
// board: a field is there or not, a value with a dead-band differs by more than
// that, or one without differs at all.
func (f *Format) Changed(before, now []reading.Field) bool {
	if len(before) != len(now) {
		return true
	}
	for i, a := range before {
		b := now[i]
		if a.Name != b.Name || a.Number != b.Number || a.Text != b.Text && f.differs(a, b) {
			return true
		}
	}
	return false
}

// differs compares two values of one field whose texts are not the same.
func (f *Format) differs(a, b reading.Field) bool {
	v := f.values[a.Name]
	if !a.Number {
		return true
	}
	x, errX := reading.ParseDecimal(a.Text)
	y, errY := reading.ParseDecimal(b.Text)
	if errX != nil || errY != nil {
		return true
	}
	band := reading.Decimal{}
	if v != nil && v.band != nil {
		band = *v.band
	}
	return x.Sub(y).Abs().Cmp(band) > 0
}
