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

// keyTerms takes a checked condition apart, in DynamoDB's order of refusals:
// first operators that no key condition has, then each term.
func keyTerms(n *node) ([]keyTerm, error) {
	if err := keyOperators(n); err != nil {
		return nil, err
	}
	var terms []keyTerm
	for _, leaf := range leaves(n, nil) {
		term, err := leafTerm(leaf)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(terms, func(t keyTerm) bool { return t.attr == term.attr }) {
			return nil, invalid("KeyConditionExpressions must only contain one condition per key")
		}
		terms = append(terms, term)
	}
	return terms, nil
}

func keyOperators(n *node) error {
	switch n.kind {
	case nodeAnd:
		for _, arg := range n.args {
			if err := keyOperators(arg); err != nil {
				return err
			}
		}
		return nil
	case nodeBetween:
		return nil
	case nodeCompare:
		if n.op != "<>" {
			return nil
		}
	case nodeFunc:
		if n.op == "begins_with" {
			return nil
		}
	}
	return invalid("Invalid operator used in KeyConditionExpression: %s", n.op)
}

func leaves(n *node, list []*node) []*node {
	if n.kind != nodeAnd {
		return append(list, n)
	}
	return leaves(n.args[1], leaves(n.args[0], list))
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

// keySpan turns the terms into the range of store keys that they select, and
// the hash key that they fix.
func (t *Table) keySpan(terms []keyTerm) (s span, hash Value, err error) {
	if len(terms) > 2 {
		return s, hash, invalid("Conditions can be of length 1 or 2 only")
	}
	of := func(name string) *keyTerm {
		i := slices.IndexFunc(terms, func(k keyTerm) bool { return k.attr == name })
		if i < 0 {
			return nil
		}
		return &terms[i]
	}
	first := of(t.Hash.Name)
	if first == nil {
		return s, hash, invalid("Query condition missed key schema element: %s", t.Hash.Name)
	}
	if first.op != "=" || len(terms) == 2 && t.Range == nil {
		return s, hash, invalid("Query key condition not supported")
	}
	if err := t.Hash.checkTerm(first, maxHashSize, "Size of hashkey has exceeded the maximum size limit of2048 bytes"); err != nil {
		return s, hash, err
	}
	hash = first.values[0]
	partition := t.appendPartition(nil, &hash)
	s = span{partition, store.PrefixEnd(partition)}
	if len(terms) == 1 {
		return s, hash, nil
	}
	second := of(t.Range.Name)
	if second == nil {
		return s, hash, invalid("Query condition missed key schema element: %s", t.Range.Name)
	}
	if err := t.Range.checkTerm(second, maxRangeSize, "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"); err != nil {
		return s, hash, err
	}
	s.narrow(partition, second)
	return s, hash, nil
}

// checkTerm refuses constants that can not be a value of the key attribute.
func (k *KeyAttr) checkTerm(term *keyTerm, max int, tooLong string) error {
	for i := range term.values {
		v := &term.values[i]
		if v.Kind != k.Kind {
			return invalidParam("Condition parameter type does not match schema type")
		}
		if err := k.checkEmpty(v); err != nil {
			return err
		}
		if v.keySize() > max {
			return invalidParam("%s", tooLong)
		}
	}
	return nil
}

// narrow cuts the span of a partition down to what the sort key's term selects.
func (s *span) narrow(partition []byte, term *keyTerm) {
	at := func(v *Value) []byte { return appendKeyValue(slices.Clone(partition), v) }
	first := &term.values[0]
	switch term.op {
	case "=":
		s.lower, s.upper = at(first), after(at(first))
	case "<":
		s.upper = at(first)
	case "<=":
		s.upper = after(at(first))
	case ">":
		s.lower = after(at(first))
	case ">=":
		s.lower = at(first)
	case "BETWEEN":
		s.lower, s.upper = at(first), after(at(&term.values[1]))
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
