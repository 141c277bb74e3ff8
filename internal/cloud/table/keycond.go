package table

import (
	"slices"

	"mote/internal/cloud/store"
)

// keyTerm is one part of a key condition: the attribute, an operator and its
// constants (two for BETWEEN).
type keyTerm struct {
	attr   string
	op     string
	values []Value
}

// span is a range of store keys, from lower up to but not including upper.
type span struct{ lower, upper []byte }

// keyTerms takes a checked condition apart, and refuses what no key condition
// has, in the order of the text.
func keyTerms(n *node) ([]keyTerm, error) {
	var terms []keyTerm
	for _, leaf := range leaves(n, nil) {
		if err := leaf.keyOperator(); err != nil {
			return nil, err
		}
		term, err := leafTerm(leaf)
		if err != nil {
			return nil, err
		}
		if termOf(terms, term.attr) != nil {
			return nil, invalid("Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key")
		}
		terms = append(terms, term)
	}
	return terms, nil
}

func checkTermCount(terms []keyTerm) error {
	if len(terms) < 1 || len(terms) > 2 {
		return invalid("Conditions can be of length 1 or 2 only")
	}
	return nil
}

// keyOperator refuses an operator that no key condition has.
func (n *node) keyOperator() error {
	switch {
	case n.kind == nodeBetween, n.kind == nodeCompare && n.op != "<>", n.kind == nodeFunc && n.op == "begins_with":
		return nil
	}
	return invalid("Invalid operator used in KeyConditionExpression: %s", n.op)
}

func leaves(n *node, list []*node) []*node {
	if n.kind != nodeAnd {
		return append(list, n)
	}
	for _, arg := range n.args {
		list = leaves(arg, list)
	}
	return list
}

func leafTerm(n *node) (keyTerm, error) {
	term := keyTerm{op: n.op}
	for i, arg := range n.args {
		switch {
		case arg.kind == nodeFunc:
			return term, invalid("KeyConditionExpressions cannot contain nested operations")
		case arg.kind == nodeValue && i == 0 && n.kind != nodeCompare:
			return term, invalid("Invalid condition in KeyConditionExpression: %s operator must have the key attribute as its first operand", n.op)
		case arg.kind == nodeValue:
			term.values = append(term.values, arg.value)
			if i == 0 {
				term.op = mirrored(n.op)
			}
		case term.attr != "":
			return term, invalid("Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
		case len(arg.steps) > 1:
			return term, invalid("KeyConditionExpressions cannot have conditions on nested attributes")
		default:
			term.attr = arg.steps[0].name
		}
	}
	if term.attr == "" {
		return term, invalid("Invalid condition in KeyConditionExpression: No key attribute specified")
	}
	return term, nil
}

// mirrored is the operator for exchanged sides: :v < a is a > :v.
func mirrored(op string) string {
	switch op {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return op
}

// termOf returns the term for an attribute, nil when there is none.
func termOf(terms []keyTerm, attr string) *keyTerm {
	i := slices.IndexFunc(terms, func(k keyTerm) bool { return k.attr == attr })
	if i < 0 {
		return nil
	}
	return &terms[i]
}

// checkTerms holds the terms and the start key (nil: none) to the key of the
// table, attribute by attribute.
func (t *Table) checkTerms(terms []keyTerm, start Item) error {
	if n := len(t.keys()); len(terms) > 2 {
		return invalid("The number of query conditions (%d) exceeds the number of key attributes defined in the schema (%d)", len(terms), n)
	}
	if start != nil && len(start) != t.keyCount() {
		return errStartKey
	}
	for i, k := range t.keys() {
		isHash := i == 0
		if err := k.checkStart(start, isHash); err != nil {
			return err
		}
		if isHash && t.Range == nil && len(terms) > 1 {
			return errKeyCondition
		}
		term := termOf(terms, k.Name)
		if term == nil {
			if isHash || len(terms) > 1 {
				return invalid("Query condition missed key schema element: %s", k.Name)
			}
			continue
		}
		if err := k.checkTerm(term, isHash); err != nil {
			return err
		}
	}
	return nil
}

var (
	errStartKey     = invalid("The provided starting key is invalid")
	errKeyCondition = invalid("Query key condition not supported")
)

// checkStart refuses what can be no part of a start key.
func (k *KeyAttr) checkStart(start Item, isHash bool) error {
	if start == nil {
		return nil
	}
	v := start.get(k.Name)
	if v == nil {
		return errStartKey
	}
	if err := k.check(v, inKey); err != nil {
		return err
	}
	return v.checkKeySize(isHash)
}

// keySpan is the range of store keys that checked terms select, and the hash
// key that they fix.
func (t *Table) keySpan(terms []keyTerm) (s span, hash Value) {
	hash = termOf(terms, t.Hash.Name).values[0]
	partition := t.appendPartition(nil, &hash)
	s = span{partition, store.PrefixEnd(partition)}
	if len(terms) == 2 {
		s.narrow(partition, termOf(terms, t.Range.Name))
	}
	return s, hash
}

// checkTerm refuses operators and constants that are none for the key attribute.
func (k *KeyAttr) checkTerm(term *keyTerm, isHash bool) error {
	switch term.op {
	case "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with":
	default: // only KeyConditions gets here with it
		return invalid("Attempted conditional constraint is not an indexable operation")
	}
	for i := range term.values {
		if term.values[i].Kind != k.Kind {
			return invalidParam("Condition parameter type does not match schema type")
		}
	}
	if isHash && term.op != "=" {
		return errKeyCondition
	}
	for i := range term.values {
		v := &term.values[i]
		if err := k.checkEmpty(v); err != nil {
			return err
		}
		if err := v.checkKeySize(isHash); err != nil {
			return err
		}
	}
	return nil
}

// narrow cuts the span of a partition down to what the sort key's term selects.
func (s *span) narrow(partition []byte, term *keyTerm) {
	at := func(v *Value) []byte { return appendKeyValue(slices.Clone(partition), v) }
	behind := func(v *Value) []byte { return store.PrefixEnd(at(v)) } // what begins with v: the item, or entries of an index
	first := &term.values[0]
	switch term.op {
	case "=":
		s.lower, s.upper = at(first), behind(first)
	case "<":
		s.upper = at(first)
	case "<=":
		s.upper = behind(first)
	case ">":
		s.lower = behind(first)
	case ">=":
		s.lower = at(first)
	case "BETWEEN":
		s.lower, s.upper = at(first), behind(&term.values[1])
	case "begins_with":
		prefix := slices.Clone(partition)
		if first.Kind == B {
			prefix = appendText(prefix, first.Bin)
		} else {
			prefix = appendText(prefix, first.Str)
		}
		s.lower, s.upper = prefix, store.PrefixEnd(prefix)
	}
}

// after is the smallest key behind key.
func after(key []byte) []byte { return append(key, 0) }
