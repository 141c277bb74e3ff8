// Package iotsql is the language of IoT topic rules (AWS IoT developer guide,
// "AWS IoT SQL reference"): a lexer, a Pratt parser with positions, the syntax
// tree, and a printer for which print(parse(x)) is stable. It is pure: it
// knows nothing of messages, values or which functions exist; package
// iotsql/eval gives a statement its meaning.
//
// The parser accepts the whole grammar, also what an evaluator may not offer,
// so that an evaluator can refuse a feature by its name and place.
package iotsql

import "fmt"

// Version is a version of the language.
type Version string

// The versions that AWS offers. A rule that names none has V2015 (AWS IoT API,
// CreateTopicRule, awsIotSqlVersion).
const (
	V2015 Version = "2015-10-08"
	V2016 Version = "2016-03-23"
)

// ParseVersion reads an awsIotSqlVersion; "" is V2015 and "beta" is V2016.
func ParseVersion(s string) (Version, error) {
	switch s {
	case "", string(V2015):
		return V2015, nil
	case "beta", string(V2016):
		return V2016, nil
	}
	return "", fmt.Errorf("unknown SQL version %.40q: use %q or %q", s, V2015, V2016)
}

// Pos is a byte offset into the source text.
type Pos int

// Statement is one rule statement.
type Statement struct {
	Source string // the text it was parsed from
	Set    []Assign
	Select Selection
	From   *Filter // nil when absent: a rule for Basic Ingest only
	Where  Expr    // nil when absent
}

// Assign is one variable of a SET clause; Name has no @.
type Assign struct {
	Pos  Pos
	Name string
	X    Expr
}

// Filter is the topic filter of a FROM clause.
type Filter struct {
	Pos  Pos
	Text string
}

// Selection is what a SELECT selects: one value (SELECT VALUE), or items that
// become the members of an object.
type Selection struct {
	Pos   Pos
	Value Expr   // SELECT VALUE expr; nil otherwise
	Items []Item // empty with Value
}

// Item is one entry of a SELECT list.
type Item struct {
	X      Expr     // *Star for "*"
	Spread bool     // path.*
	Alias  []string // segments of AS a.b.c; nil when absent
	Text   string   // the source of X
}

// Expr is an expression: one of the types below.
type Expr interface{ Position() Pos }

// LitKind is the kind of a Literal.
type LitKind uint8

// The kinds of literals.
const (
	LitNull LitKind = iota
	LitTrue
	LitFalse
	LitNumber
	LitString
)

type (
	// Literal is a constant. Text holds a number as written, or the value of a
	// string.
	Literal struct {
		Pos  Pos
		Kind LitKind
		Text string
	}
	// Star is "*": the whole payload.
	Star struct{ Pos Pos }
	// Name is a member of the payload, the start of a path.
	Name struct {
		Pos  Pos
		Name string
	}
	// Var is @Name, a variable of the SET clause.
	Var struct {
		Pos  Pos
		Name string
	}
	// Field is X.Name.
	Field struct {
		X    Expr
		Pos  Pos // of the name
		Name string
	}
	// Index is X[I].
	Index struct {
		X, I Expr
		Pos  Pos // of the bracket
	}
	// Unary is Op X, with Neg or Not.
	Unary struct {
		Pos Pos
		Op  Op
		X   Expr
	}
	// Binary is L Op R.
	Binary struct {
		Op   Op
		Pos  Pos // of the operator
		L, R Expr
	}
	// Call is Name(Args…); the name is as written, case does not matter.
	Call struct {
		Pos  Pos
		Name string
		Args []Expr
	}
	// Cast is cast(X AS Type).
	Cast struct {
		Pos     Pos
		X       Expr
		TypePos Pos
		Type    string
	}
	// Case is CASE X WHEN … THEN … ELSE … END; Else is nil when absent.
	Case struct {
		Pos   Pos
		X     Expr
		Whens []When
		Else  Expr
	}
	// Object is an object literal.
	Object struct {
		Pos     Pos
		Members []Member
	}
	// Array is an array literal.
	Array struct {
		Pos   Pos
		Elems []Expr
	}
	// Nested is (SELECT … FROM path AS alias WHERE …).
	Nested struct {
		Pos    Pos
		Select Selection
		From   Expr
		Alias  string
		Where  Expr
	}
)

// When is one branch of a Case.
type When struct{ If, Then Expr }

// Member is one member of an object literal.
type Member struct {
	Pos  Pos
	Name string
	X    Expr
}

// Position implements Expr.
func (x *Literal) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Star) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Name) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Var) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Field) Position() Pos { return x.X.Position() }

// Position implements Expr.
func (x *Index) Position() Pos { return x.X.Position() }

// Position implements Expr.
func (x *Unary) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Binary) Position() Pos { return x.L.Position() }

// Position implements Expr.
func (x *Call) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Cast) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Case) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Object) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Array) Position() Pos { return x.Pos }

// Position implements Expr.
func (x *Nested) Position() Pos { return x.Pos }

// Op is an operator.
type Op uint8

// The operators, the loosest first.
const (
	OpOr Op = iota + 1
	OpAnd
	OpNot
	OpEq
	OpNe
	OpLt
	OpLe
	OpGt
	OpGe
	OpIn
	OpAdd
	OpSub
	OpMul
	OpDiv
	OpMod
	OpNeg
)

var opText = [...]string{
	OpOr: "OR", OpAnd: "AND", OpNot: "NOT", OpEq: "=", OpNe: "<>", OpLt: "<", OpLe: "<=", OpGt: ">", OpGe: ">=",
	OpIn: "IN", OpAdd: "+", OpSub: "-", OpMul: "*", OpDiv: "/", OpMod: "%", OpNeg: "-",
}

func (o Op) String() string { return opText[o] }

// IsArithmetic says whether o computes with numbers: + - * / and %.
func (o Op) IsArithmetic() bool { return o >= OpAdd && o <= OpMod }

// Binding powers: how tightly an operator holds its operands.
const (
	powerNone = iota
	powerOr
	powerAnd
	powerNot
	powerCompare
	powerAdd
	powerMul
	powerNeg
	powerPostfix
)

func (o Op) power() int {
	switch o {
	case OpOr:
		return powerOr
	case OpAnd:
		return powerAnd
	case OpNot:
		return powerNot
	case OpAdd, OpSub:
		return powerAdd
	case OpMul, OpDiv, OpMod:
		return powerMul
	case OpNeg:
		return powerNeg
	}
	return powerCompare
}
