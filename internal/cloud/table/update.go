package table

import "slices"

// The sections of update expressions (DynamoDB developer guide, "Using update
// expressions in DynamoDB").
const (
	sectionSet    = "SET"
	sectionRemove = "REMOVE"
	sectionAdd    = "ADD"
	sectionDelete = "DELETE"
)

var sections = []string{sectionSet, sectionRemove, sectionAdd, sectionDelete}

// action is one action of an update.
type action struct {
	section string
	path    []step
	value   *node // nil with REMOVE
}

// update is a checked update expression or the parameter AttributeUpdates.
type update struct {
	actions []action
	legacy  bool // AttributeUpdates, which adds to lists and words its refusals differently
}

// parseUpdate parses a whole update expression.
func parseUpdate(kind, src string) (*syntax, error) {
	p, err := newParser(kind, src, sections...)
	if err != nil {
		return nil, err
	}
	s := &syntax{}
	seen := map[string]bool{}
	for p.peek().kind != tokEOF {
		section := p.keyword()
		if section == "" {
			return nil, p.syntaxError()
		}
		p.at++
		if seen[section] && s.repeated == "" {
			s.repeated = section
		}
		seen[section] = true
		if err := p.actions(section, s); err != nil {
			return nil, err
		}
	}
	s.redundant = p.redundant
	return s, p.countOperators()
}

// actions parses the comma-separated actions of one section.
func (p *parser) actions(section string, s *syntax) error {
	for {
		a, err := p.action(section)
		if err != nil {
			return err
		}
		s.actions = append(s.actions, a)
		if !p.takeSymbol(",") {
			return nil
		}
	}
}

func (p *parser) action(section string) (a action, err error) {
	a.section = section
	if a.path, err = p.path(); err != nil || section == sectionRemove {
		return a, err
	}
	if section == sectionSet {
		if err := p.expect("="); err != nil {
			return a, err
		}
		a.value, err = p.sum()
		return a, err
	}
	if p.peek().kind != tokValue {
		return a, p.syntaxError()
	}
	a.value, err = p.operandNode()
	return a, err
}

// sum parses what SET takes: an operand, or the sum or difference of two.
func (p *parser) sum() (*node, error) {
	left, err := p.summand()
	if err != nil || left.arithmetic() || !p.isSymbol("+") && !p.isSymbol("-") {
		return left, err
	}
	op := p.peek().text
	p.at++
	p.operators++
	right, err := p.operandNode()
	return &node{kind: nodeFunc, op: op, args: []*node{left, right}}, err
}

func (n *node) arithmetic() bool { return n.kind == nodeFunc && (n.op == "+" || n.op == "-") }

func (p *parser) summand() (*node, error) {
	if !p.takeSymbol("(") {
		return p.operandNode()
	}
	n, err := p.sum()
	if err == nil {
		err = p.expect(")")
	}
	return p.inParens(n), err
}

// parseUpdateChecked parses an update expression, resolves the placeholders
// and checks it.
func parseUpdateChecked(src string, s *scope) (*update, error) {
	const kind = "UpdateExpression"
	parsed, err := syntaxes.parse(kind, src, parseUpdate)
	if err != nil {
		return nil, err
	}
	c := &checker{kind: kind, scope: s, update: true}
	if parsed.redundant {
		c.redundant()
	}
	if parsed.repeated != "" {
		c.fault(rankSection, `The "%s" section can only be used once in an update expression;`, parsed.repeated)
	}
	u := &update{actions: make([]action, len(parsed.actions))}
	for i, a := range parsed.actions {
		u.actions[i] = c.action(a)
	}
	c.checkPaths(u.paths())
	return u, c.result()
}

// action returns a resolved copy of a.
func (c *checker) action(a action) action {
	a.path = slices.Clone(a.path)
	c.resolvePath(a.path)
	switch a.section {
	case sectionSet:
		a.value = a.value.clone()
		c.checkSet(a.value, false)
	case sectionAdd, sectionDelete:
		a.value = a.value.clone()
		c.resolveValue(a.value)
		c.checkOperand(a.section, a.value.value.Kind)
	}
	return a
}

// checkOperand holds the operand of ADD to numbers and sets, that of DELETE to
// sets. Kind 0 is an undefined value.
func (c *checker) checkOperand(section string, kind Kind) {
	if kind == 0 || kind >= SS || kind == N && section == sectionAdd {
		return
	}
	name := [...]string{S: "STRING", N: "NUMBER", B: "BINARY", BOOL: "BOOLEAN", NULL: "NULL", L: "LIST", M: "MAP"}[kind]
	c.fault(rankOperand, "Incorrect operand type for operator or function; operator: %s, operand type: %s, typeSet: ALLOWED_FOR_%s_OPERAND", section, name, section)
}

// checkSet resolves and checks the right side of a SET.
func (c *checker) checkSet(n *node, nested bool) {
	switch n.kind {
	case nodePath:
		c.resolvePath(n.steps)
		return
	case nodeValue:
		c.resolveValue(n)
		return
	}
	for _, arg := range n.args {
		c.checkSet(arg, true)
	}
	_, ofConditions := functions[n.op]
	switch {
	case ofConditions:
		c.fault(rankUse, "The function is not allowed in an update expression; function: %s", n.op)
	case n.op == "list_append" && nested:
		c.fault(rankUse, "The function is not allowed to be used this way in an expression; function: %s", n.op)
	case n.op == "if_not_exists", n.op == "list_append", n.arithmetic():
		c.checkSetFunc(n)
	default:
		c.fault(rankFunction, "Invalid function name; function: %s", clip(n.op, 255))
	}
}

func (c *checker) checkSetFunc(n *node) {
	switch {
	case len(n.args) != 2:
		c.fault(rankCount, "Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", n.op, len(n.args))
	case n.op == "list_append":
		c.wantTypes(n.op, n.args, L)
	case n.arithmetic():
		c.wantTypes(n.op, n.args, N)
	case n.args[0].kind != nodePath:
		c.fault(rankCount, "Operator or function requires a document path; operator or function: %s", n.op)
	}
}

// paths are what the update writes to.
func (u *update) paths() [][]step {
	paths := make([][]step, len(u.actions))
	for i := range u.actions {
		paths[i] = u.actions[i].path
	}
	return paths
}

// checkKeys refuses an update of the table's key, and paths into it.
func (u *update) checkKeys(t *Table) error {
	paths := u.paths()
	for _, k := range t.keys() {
		if slices.ContainsFunc(paths, func(steps []step) bool { return steps[0].name == k.Name }) {
			return invalidParam("Cannot update attribute %s. This attribute is part of the key", k.Name)
		}
	}
	for _, a := range u.actions {
		if a.value != nil {
			a.value.eachPath(func(steps []step) { paths = append(paths, steps) })
		}
	}
	return t.checkScalar(paths...)
}

// AttributeUpdate is one member of AttributeUpdates, the parameter from before
// update expressions.
type AttributeUpdate struct {
	Name   string // of a top-level attribute
	Action string // PUT, ADD or DELETE; "" is PUT
	Value  *Value // nil with DELETE removes the attribute
}

// legacyUpdate turns AttributeUpdates into an update.
func legacyUpdate(list []AttributeUpdate) (*update, error) {
	u := &update{legacy: true}
	for _, l := range list {
		a, err := l.action()
		if err != nil {
			return nil, err
		}
		u.actions = append(u.actions, a)
	}
	return u, nil
}

// Check refuses a value that the action does not take.
func (l *AttributeUpdate) Check() error {
	_, err := l.action()
	return err
}

func (l *AttributeUpdate) action() (action, error) {
	a := action{section: sectionSet, path: []step{{name: l.Name}}}
	if l.Value == nil {
		if l.Action != "DELETE" {
			return a, invalidParam("Only DELETE action is allowed when no attribute value is specified")
		}
		a.section = sectionRemove
		return a, nil
	}
	a.value = &node{kind: nodeValue, value: *l.Value}
	kind := l.Value.Kind
	switch l.Action {
	case "ADD":
		a.section = sectionAdd
		if kind != N && kind != L && kind < SS {
			return a, invalidParam("ADD action is not supported for the type %s", kind)
		}
	case "DELETE":
		a.section = sectionDelete
		if kind < SS {
			return a, invalidParam("DELETE action with value is not supported for the type %s", kind)
		}
	}
	return a, nil
}
