package dynamodb

import (
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/wire"
)

const (
	notAnAttribute = "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue"
	notAnItem      = "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>"
)

// maxNesting is how deep documents may be; the engine holds it too, here it
// bounds the recursion.
const maxNesting = 31

// attribute is a value as it came in. A value that has the right JSON types
// but is no attribute value has a fault, which is told only after all types
// of the request were looked at.
type attribute struct {
	table.Value
	fault error
}

// item is a map of attributes with the first fault among them.
type item struct {
	table.Item
	fault error
}

// item takes a map of attribute values; nil for null.
func (s *scanner) item(depth int) *item { return s.itemOr(unexpectedField, depth) }

// itemOr is item with what AWS says to a scalar in its place.
func (s *scanner) itemOr(scalar string, depth int) *item {
	if s.null() {
		return nil
	}
	it := &item{Item: table.Item{}}
	s.object(scalar, notAnItem, func(name string) {
		a := s.attribute(depth, unexpectedValue)
		it.Item[name] = a.Value
		it.note(a.fault)
	})
	return it
}

func (it *item) note(fault error) {
	if it.fault == nil {
		it.fault = fault
	}
}

// attribute takes one attribute value; scalar is what AWS says to one that is
// no object.
func (s *scanner) attribute(depth int, scalar string) attribute {
	var a attribute
	if s.null() {
		a.fault = errNoType
		return a
	}
	types := 0
	s.object(scalar, notAnAttribute, func(name string) {
		kind, known := table.KindOf(name)
		if !known {
			s.skip()
			return
		}
		if s.null() {
			return
		}
		types++
		if depth == 0 && (kind == table.L || kind == table.M) {
			s.skip()
			a.fault = errNesting
			return
		}
		fault := a.fault
		if a = s.typed(kind, depth); fault != nil {
			a.fault = fault
		}
	})
	switch {
	case a.fault != nil:
	case types == 0:
		a.fault = errNoType
	case types > 1:
		a.fault = errManyTypes
	}
	return a
}

var (
	errNoType    = &table.Error{Code: table.CodeValidation, Message: "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"}
	errManyTypes = &table.Error{Code: table.CodeValidation, Message: "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"}
	errNesting   = &table.Error{Code: table.CodeValidation, Message: "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"}
	errNull      = &table.Error{Code: table.CodeValidation, Message: "One or more parameter values were invalid: Null attribute value types must have the value of true"}
)

// typed takes the value of one type descriptor.
func (s *scanner) typed(kind table.Kind, depth int) (a attribute) {
	a.Kind = kind
	switch kind {
	case table.S:
		a.Str = s.str()
	case table.N:
		a.Value, a.fault = table.Number(s.str())
	case table.B:
		a.Bin = s.blob()
	case table.BOOL:
		a.Bool = s.truth()
	case table.NULL:
		taken := s.falseNull && s.peek() == 'f'
		if !s.truth() && !taken {
			a.fault = errNull
		}
	case table.L:
		a.List = []table.Value{}
		s.list(func() {
			e := s.attribute(depth-1, unexpectedValue)
			a.List = append(a.List, e.Value)
			a.note(e.fault)
		})
	case table.M:
		if m := s.item(depth - 1); m != nil {
			a.Map, a.fault = m.Item, m.fault
		}
	default:
		s.set(&a)
	}
	return a
}

func (s *scanner) truth() bool {
	b := s.boolean()
	return b != nil && *b
}

// set takes the elements of a set of a.Kind.
func (s *scanner) set(a *attribute) {
	s.list(func() {
		if s.null() {
			a.note(nullElement(a.Kind))
			return
		}
		var text string
		switch a.Kind {
		case table.BS:
			text = string(s.blob())
		case table.NS:
			n, err := table.Number(s.str())
			text = n.Str
			a.note(err)
		default:
			text = s.str()
		}
		a.Set = append(a.Set, text)
	})
	if a.fault == nil {
		a.fault = table.CheckValue(a.Value)
	}
}

func (a *attribute) note(fault error) {
	if a.fault == nil {
		a.fault = fault
	}
}

// nullElement is the refusal of a null in a set.
func nullElement(kind table.Kind) error {
	what := "An string set may not have a null string as a member"
	switch kind {
	case table.NS:
		what = "An number set may not have a null number as a member"
	case table.BS:
		what = "Binary sets may not contain null or empty values"
	}
	return refused("One or more parameter values were invalid: " + what)
}

func appendItem(out []byte, it table.Item) []byte { return wire.AppendItem(out, it) }

// appendMembers appends an item that is in the order of its names.
func appendMembers(out []byte, members []table.Member) []byte {
	out = append(out, '{')
	for i := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendValue(append(appendString(out, members[i].Name), ':'), &members[i].Value)
	}
	return append(out, '}')
}

func appendValue(out []byte, v *table.Value) []byte { return wire.AppendValue(out, v) }

func appendList[T any](out []byte, list []T, one func([]byte, T) []byte) []byte {
	return wire.AppendList(out, list, one)
}

func appendString(out []byte, text string) []byte { return wire.AppendString(out, text) }
