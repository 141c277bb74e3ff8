// Package partiql is the syntax of the PartiQL that DynamoDB takes: one
// statement that reads or writes one table (Amazon DynamoDB Developer Guide,
// "PartiQL - a SQL-compatible query language for Amazon DynamoDB"). It parses
// and prints; what a statement does is for package awsapi/dynamodb.
package partiql

import "fmt"

// Statement is a *Select, *Insert, *Update, *Delete or *Exists.
type Statement interface {
	// String prints the statement in one form: its parse prints the same.
	String() string
}

// Select reads items.
type Select struct {
	Paths []Path // what of them; nil: all
	From  Source
	Where *Expr // nil: none
	Order []Order
}

// Source names a table or an index of it.
type Source struct {
	Table string
	Index string // "": the table itself
}

// Order is one element of ORDER BY.
type Order struct {
	Path       Path
	Descending bool
}

// Insert writes a new item.
type Insert struct {
	Table string
	Value *Expr // Struct or Param
}

// Update changes one item.
type Update struct {
	Table     string
	Actions   []Action
	Where     *Expr
	Returning *Returning // nil: nothing
}

// Action sets a path or, without a value, removes it.
type Action struct {
	Path  Path
	Value *Expr
}

// Delete removes one item.
type Delete struct {
	Table     string
	Where     *Expr
	Returning *Returning // nil: nothing
}

// Returning says what of an item a write gives back.
type Returning struct {
	All bool // ALL, not MODIFIED
	New bool // NEW, not OLD
}

// Exists is a condition of a transaction.
type Exists struct{ Select *Select }

// Kind is what an expression is.
type Kind uint8

// The kinds of expressions. Text and Args are used as the comments say.
const (
	PathExpr Kind = iota // Path
	Text                 // Text: the text
	Number               // Text: as it was written
	Bool                 // Text: "true" or "false"
	Null
	Missing
	Param   // ?; Index: which of them, from 0
	List    // [Args]
	Bag     // <<Args>>
	Struct  // {Names: Args}
	Call    // Text(Args), Text in small letters
	Not     // NOT Args[0]
	Binary  // Args[0] Text Args[1]: = <> < <= > >= + - AND OR
	Between // Args[0] BETWEEN Args[1] AND Args[2]
	In      // Args[0] IN the rest; a single Param may be a list
	Is      // Args[0] IS Text; Text is MISSING, NULL or a type in capitals
)

// Expr is an expression.
type Expr struct {
	Kind  Kind
	Text  string
	Path  Path
	Index int
	Names []string
	Args  []*Expr
	At    Place
}

// EachPath calls f with each path in the expression.
func (e *Expr) EachPath(f func(Path)) {
	if e.Kind == PathExpr {
		f(e.Path)
	}
	for _, arg := range e.Args {
		arg.EachPath(f)
	}
}

// Path is a document path, which begins with a name.
type Path []Step

// Step is a name or an index of a list.
type Step struct {
	Name  string
	Index int // from 0; when Name is not meant
	List  bool
}

// Place is where in a statement something stands, in characters from 1.
type Place struct{ Line, Column, Length int }

// String is the place as DynamoDB's errors have it, line:column:length.
func (p Place) String() string { return fmt.Sprintf("%d:%d:%d", p.Line, p.Column, p.Length) }

// Error refuses a statement.
type Error struct {
	At          Place
	Problem     string
	Unsupported bool // the statement is good PartiQL that a table does not do
	Placeless   bool // DynamoDB's text for it says no place
}

func (e *Error) Error() string {
	if e.Placeless {
		return e.Problem
	}
	return e.Problem + " at " + e.At.String()
}

// Limits of statements, from their text in bytes (Amazon DynamoDB API
// Reference, ExecuteStatement: 8192 characters).
const (
	MaxLength = 8192 * 4
	maxDepth  = 40 // of expressions in each other
)
