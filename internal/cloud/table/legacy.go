package table

import "slices"

// AttributeCondition is a condition on one top-level attribute, of the
// parameters from before expressions: Expected, QueryFilter, ScanFilter and
// KeyConditions (DynamoDB developer guide, "Legacy conditional parameters").
type AttributeCondition struct {
	Name     string
	Operator string // EQ, NE, LE, LT, GE, GT, NOT_NULL, NULL, CONTAINS, NOT_CONTAINS, BEGINS_WITH, IN or BETWEEN
	Values   []Value
}

// legacyOperator says what an operator takes and what it is in expressions.
type legacyOperator struct {
	least, most int    // count of values
	kinds       []Kind // of values; nil: any
	op          string // of a comparison
	function    string // or of a function
}

var (
	scalars = []Kind{S, N, B}

	legacyOperators = map[string]legacyOperator{
		"EQ":           {least: 1, most: 1, op: "="},
		"NE":           {least: 1, most: 1, op: "<>"},
		"LE":           {least: 1, most: 1, op: "<=", kinds: scalars},
		"LT":           {least: 1, most: 1, op: "<", kinds: scalars},
		"GE":           {least: 1, most: 1, op: ">=", kinds: scalars},
		"GT":           {least: 1, most: 1, op: ">", kinds: scalars},
		"NULL":         {function: "attribute_not_exists"},
		"NOT_NULL":     {function: "attribute_exists"},
		"CONTAINS":     {least: 1, most: 1, function: "contains", kinds: scalars},
		"NOT_CONTAINS": {least: 1, most: 1, function: "contains", kinds: scalars},
		"BEGINS_WITH":  {least: 1, most: 1, function: "begins_with", kinds: []Kind{S, B}},
		"IN":           {least: 1, most: maxIn, kinds: scalars},
		"BETWEEN":      {least: 2, most: 2, kinds: scalars},
	}
)

// Check refuses values that the operator does not take.
func (c *AttributeCondition) Check() error {
	o, ok := legacyOperators[c.Operator]
	if !ok {
		return invalidParam("there is no ComparisonOperator %s", clip(c.Operator, 64))
	}
	if n := len(c.Values); n < o.least || n > o.most {
		return invalidParam("Invalid number of argument(s) for the %s ComparisonOperator", c.Operator)
	}
	for _, v := range c.Values {
		if v.Kind != c.Values[0].Kind {
			return invalidParam("AttributeValues inside AttributeValueList must be of same type")
		}
	}
	for _, v := range c.Values {
		if o.kinds != nil && !slices.Contains(o.kinds, v.Kind) {
			return invalidParam("ComparisonOperator %s is not valid for %s AttributeValue type", c.Operator, v.Kind)
		}
	}
	if c.Operator == "BETWEEN" && compareKeyValues(&c.Values[0], &c.Values[1]) > 0 {
		return invalid("The BETWEEN condition was provided a range where the lower bound is greater than the upper bound")
	}
	return nil
}

// node is the condition as the tree of an expression.
func (c *AttributeCondition) node() *node {
	args := []*node{{kind: nodePath, steps: []step{{name: c.Name}}}}
	for _, v := range c.Values {
		args = append(args, &node{kind: nodeValue, value: v})
	}
	o := legacyOperators[c.Operator]
	n := &node{kind: nodeCompare, op: o.op, args: args}
	switch {
	case o.function != "":
		n.kind, n.op = nodeFunc, o.function
	case c.Operator == "IN":
		n.kind, n.op = nodeIn, c.Operator
	case c.Operator == "BETWEEN":
		n.kind, n.op = nodeBetween, c.Operator
	}
	if c.Operator == "NOT_CONTAINS" { // an attribute that is not there does not satisfy it, unlike NE
		there := &node{kind: nodeFunc, op: "attribute_exists", args: args[:1]}
		return &node{kind: nodeAnd, op: "AND", args: []*node{there, {kind: nodeNot, op: "NOT", args: []*node{n}}}}
	}
	return n
}

// legacyCondition joins conditions into one tree: all of them must hold, or
// any of them. None is nil.
func legacyCondition(list []AttributeCondition, anyOf bool) (*node, error) {
	if len(list) == 0 {
		return nil, nil
	}
	tree := &node{kind: nodeAnd, op: "AND"}
	if anyOf {
		tree = &node{kind: nodeOr, op: "OR"}
	}
	for _, c := range list {
		if err := c.Check(); err != nil {
			return nil, err
		}
		tree.args = append(tree.args, c.node())
	}
	return tree, nil
}

// legacyTerms are the terms of KeyConditions.
func legacyTerms(list []AttributeCondition) ([]keyTerm, error) {
	terms := make([]keyTerm, len(list))
	for i, c := range list {
		if err := c.Check(); err != nil {
			return nil, err
		}
		n := c.node()
		terms[i] = keyTerm{attr: c.Name, op: n.op, values: c.Values}
	}
	return terms, checkTermCount(terms)
}
