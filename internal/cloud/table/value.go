package table

import (
	"fmt"
	"slices"
)

// Kind is the type of a DynamoDB attribute value.
type Kind uint8

// The ten kinds, named by their wire descriptors.
const (
	S Kind = iota + 1
	N
	B
	BOOL
	NULL
	L
	M
	SS
	NS
	BS
)

var kindNames = [...]string{S: "S", N: "N", B: "B", BOOL: "BOOL", NULL: "NULL", L: "L", M: "M", SS: "SS", NS: "NS", BS: "BS"}

// String returns the wire descriptor, for example "NS".
func (k Kind) String() string {
	if k < S || k > BS {
		return "?"
	}
	return kindNames[k]
}

// KindOf returns the kind with the given wire descriptor.
func KindOf(name string) (Kind, bool) {
	k := slices.Index(kindNames[:], name)
	return Kind(max(k, 0)), k >= int(S)
}

// MarshalText writes the wire descriptor.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a wire descriptor.
func (k *Kind) UnmarshalText(text []byte) error {
	kind, ok := KindOf(string(text))
	if !ok {
		return fmt.Errorf("%q is no type of an attribute value", text)
	}
	*k = kind
	return nil
}

// Value is one attribute value. Only the member of its kind is set.
type Value struct {
	Kind Kind
	Str  string   // S: the text; N: canonical decimal text
	Bin  []byte   // B
	Bool bool     // BOOL
	List []Value  // L
	Map  Item     // M
	Set  []string // SS, NS (canonical decimal texts), BS (raw bytes)
}

// Item is one item, or a value of kind M.
type Item map[string]Value

// String returns a value of kind S. The text should be valid UTF-8.
func String(text string) Value { return Value{Kind: S, Str: text} }

// Number returns a value of kind N. The text is a decimal number as JSON
// writes it (also with a leading "+", ".5" or "5."); it is kept exactly, in
// canonical form. More than 38 significant digits, and magnitudes outside
// 1E-130 to 9.99E+125, give an *[Error] with DynamoDB's text.
func Number(text string) (Value, error) {
	text, err := NumberText(text)
	if err != nil {
		return Value{}, err
	}
	return Value{Kind: N, Str: text}, nil
}

// NumberText returns the canonical text of a number: the Str of [Number].
func NumberText(text string) (string, error) {
	if isCanonical(text) {
		return text, nil
	}
	d, err := parseDecimal(text)
	if err != nil {
		return "", err
	}
	return d.String(), nil
}

// Binary returns a value of kind B, which keeps b.
func Binary(b []byte) Value { return Value{Kind: B, Bin: b} }

// Bool returns a value of kind BOOL.
func Bool(b bool) Value { return Value{Kind: BOOL, Bool: b} }

// Null returns the value of kind NULL.
func Null() Value { return Value{Kind: NULL} }

// List returns a value of kind L.
func List(values ...Value) Value { return Value{Kind: L, List: values} }

// Map returns a value of kind M, which keeps m.
func Map(m Item) Value { return Value{Kind: M, Map: m} }
