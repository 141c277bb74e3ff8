package table

import (
	"encoding/base64"
	"strings"
)

// Limits of items (DynamoDB developer guide, "Quotas in Amazon DynamoDB").
const (
	maxItemSize = 400 << 10 // bytes
	maxDepth    = 32        // documents in each other that may be on the disk
	maxNested   = 31        // and in what is written: the value in the innermost is the 32nd level
	maxName     = 65535     // bytes
)

// checkItem returns the size of an item as DynamoDB counts it, in bytes, and
// refuses what an item can not hold.
func checkItem(item Item) (int, error) {
	size, err := checkMap(item, maxNested)
	if err != nil {
		return size, err
	}
	return size, checkSize(size)
}

func checkSize(size int) error {
	if size > maxItemSize {
		return invalid("Item size has exceeded the maximum allowed size")
	}
	return nil
}

func checkMap(m Item, depth int) (int, error) {
	size := 0
	for name, v := range m {
		n, err := checkMember(name, &v, depth)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// checkMember returns the size of an attribute with its name.
func checkMember(name string, v *Value, depth int) (int, error) {
	if err := checkAttributeName(name); err != nil {
		return 0, err
	}
	n, err := checkValue(v, depth)
	return len(name) + n, err
}

func checkAttributeName(name string) error {
	if len(name) > maxName {
		return invalidParam("Attribute name is too large, must be less than 65536 bytes")
	}
	return nil
}

// checkValue returns the size of a value and refuses what is no value.
func checkValue(v *Value, depth int) (int, error) {
	switch v.Kind {
	case S:
		return len(v.Str), nil
	case B:
		return len(v.Bin), nil
	case N:
		if !isNumber(v.Str) {
			return 0, notNumeric(v.Str)
		}
		return numberSize(v.Str), nil
	case BOOL, NULL:
		return 1, nil
	case L, M:
		return checkNested(v, depth-1)
	case SS, NS, BS:
		return checkSet(v)
	}
	return 0, invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
}

// checkNested counts 3 bytes for the document and 1 for each element.
func checkNested(v *Value, depth int) (int, error) {
	if depth < 0 {
		return 0, invalid("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit")
	}
	if v.Kind == M {
		n, err := checkMap(v.Map, depth)
		return 3 + len(v.Map) + n, err
	}
	size := 3 + len(v.List)
	for i := range v.List {
		n, err := checkValue(&v.List[i], depth)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

func checkSet(v *Value) (int, error) {
	if len(v.Set) == 0 {
		return 0, emptySet(v.Kind)
	}
	size := 0
	seen := make(map[string]struct{}, len(v.Set))
	for _, s := range v.Set {
		seen[s] = struct{}{}
		if v.Kind != NS {
			size += len(s)
			continue
		}
		if !isNumber(s) {
			return 0, notNumeric(s)
		}
		size += numberSize(s)
	}
	if len(seen) != len(v.Set) {
		return 0, duplicates(v)
	}
	return size, nil
}

// numberSize is 1 byte, 1 for each two significant digits before the point and
// 1 for each two behind it, and 1 more below zero. DynamoDB counts so, to the
// byte, where its guide says less of it; text is in canonical form.
func numberSize(text string) int {
	rest, neg := strings.CutPrefix(text, "-")
	size := 1
	if neg {
		size++
	}
	whole, fraction, _ := strings.Cut(rest, ".")
	switch {
	case fraction == "":
		whole = strings.TrimRight(whole, "0")
	case whole == "0":
		whole, fraction = "", strings.TrimLeft(fraction, "0")
	}
	return size + (len(whole)+1)/2 + (len(fraction)+1)/2
}

// emptySet is the refusal of a set without elements, in DynamoDB's words.
func emptySet(kind Kind) *Error {
	switch kind {
	case SS:
		return invalidParam("An string set  may not be empty")
	case NS:
		return invalidParam("An number set  may not be empty")
	}
	return invalidParam("Binary sets should not be empty")
}

// duplicates is the refusal of a set that has an element twice.
func duplicates(v *Value) *Error {
	switch v.Kind {
	case NS:
		return invalid("Input collection contains duplicates")
	case BS:
		shown := make([]string, len(v.Set))
		for i, s := range v.Set {
			shown[i] = base64.StdEncoding.EncodeToString([]byte(s))
		}
		return invalidParam("Input collection [%s]of type BS contains duplicates.", clip(strings.Join(shown, ", "), 512))
	}
	return invalidParam("Input collection [%s] contains duplicates.", clip(strings.Join(v.Set, ", "), 512))
}

// CheckValue refuses what is no attribute value: a number that is not in
// canonical form, an empty set or one with duplicates, too deep a document.
func CheckValue(v Value) error {
	_, err := checkValue(&v, maxNested)
	return err
}
