package table

import (
	"errors"
	"strings"

	"mote/internal/cloud/store"
)

// Limits of transactions (Amazon DynamoDB Developer Guide, "Amazon DynamoDB
// transactions: how it works").
const (
	maxTransact      = 100
	maxTransactBytes = 4 << 20
	transactFactor   = 2 // a transaction costs twice the units of the same reads or writes
)

// CheckRequest asks that a condition holds for an item that a transaction does
// not change.
type CheckRequest struct {
	Table     string
	Key       Item // exactly the key attributes
	Condition Condition
}

// TransactWrite is one action of a transaction: one of the members is set.
// What their requests ask to be given back is not; Condition.ReturnItem is
// honoured.
type TransactWrite struct {
	Put    *PutRequest
	Update *UpdateRequest
	Delete *DeleteRequest
	Check  *CheckRequest
}

// Validate refuses what is wrong with the action by itself.
func (w *TransactWrite) Validate() error {
	_, err := w.parse()
	return err
}

// Transaction is a group of writes of which all are done, or none.
type Transaction struct {
	Writes []TransactWrite
	// Token makes the transaction idempotent for TokenLife from its commit, also
	// over a restart; "" does not. Fingerprint tells its parameters from others
	// with the same token.
	Token       string
	Fingerprint [32]byte
}

// TransactUnits are the capacity units of a transaction by table.
type TransactUnits struct {
	Units Costs
	Read  bool // nothing was written, since the token was known: the units are of reads
}

// Codes of the reasons why a transaction was cancelled.
const (
	ReasonNone       = "None"
	ReasonCondition  = "ConditionalCheckFailed"
	ReasonValidation = "ValidationError"
)

// Reason says of one action of a cancelled transaction what stands against it.
type Reason struct {
	Code    string // ReasonNone: nothing
	Message string
	Item    Item // of a condition that does not hold: the item, when it was asked for
}

var (
	errSameItem   = invalid("Transaction request cannot include multiple operations on one item")
	errNoAction   = invalid("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
	errLargeWrite = invalid("Transaction payload size cannot exceed %d bytes", maxTransactBytes)
	errLargeRead  = invalid("Transaction request cannot read more than %d bytes of items", maxTransactBytes)
)

// TransactWrite does all writes in one step if all conditions hold; they are
// durable on return, or none is done. An *[Error] with Reasons says which
// actions stood against it.
//
// # Isolation
//
// The transaction is one batch, whose conditions and updates are evaluated when
// the batch is committed (see [store.Batch.BeforeApply]), while no other batch is
// applied: it sees all of every other write, single or in a transaction, or
// nothing of it, over all tables, and is on the disk as one record of the log.
// What transactions share, whether their items meet or not, is that step: a few
// reads from memory (the old items were read just before) and the making of the
// new images; and the fsync, which is one for all that are waiting. No item is
// locked, so that none waits for another's fsync, and there is no conflict to
// give up for.
func (db *DB) TransactWrite(x Transaction) (TransactUnits, error) {
	p, err := db.planTransaction(&x)
	if err != nil {
		return TransactUnits{}, err
	}
	for _, c := range p.changes { // so that the reads under the commit's lock find them in memory
		if _, _, err := db.st.Get(c.key); err != nil {
			return TransactUnits{}, err
		}
	}
	due, err := db.tokens.due(db.st)
	if err != nil {
		return TransactUnits{}, err
	}
	b := db.st.NewBatch()
	b.BeforeApply(func() error { return p.run(db, b, due) })
	if err := db.st.Commit(b); err != nil {
		return TransactUnits{}, err
	}
	return p.units(), nil
}

// transaction is a Transaction that was checked.
type transaction struct {
	*Transaction
	changes  []*change
	checks   []bool // by change: it writes nothing
	repeated bool   // the token was known
}

// intent is an action of which only the text was checked.
type intent struct {
	table string
	item  Item // of a put, else nil
	key   Item
	u     *update // of an update, else nil
	cond  *node
	from  *Condition
	check bool
}

// planTransaction checks everything that needs no item: texts and values
// first, then tables, then keys.
func (db *DB) planTransaction(x *Transaction) (*transaction, error) {
	if n := len(x.Writes); n == 0 || n > maxTransact {
		return nil, invalid("a transaction has 1 to %d actions, not %d", maxTransact, n)
	}
	intents := make([]intent, len(x.Writes))
	for i := range x.Writes {
		var err error
		if intents[i], err = x.Writes[i].parse(); err != nil {
			return nil, err
		}
	}
	tables := make([]*Table, len(intents))
	for i := range intents {
		var err error
		if tables[i], err = db.table(intents[i].table); err != nil {
			return nil, err
		}
	}
	p := &transaction{Transaction: x, changes: make([]*change, len(intents)), checks: make([]bool, len(intents))}
	for i := range intents {
		var err error
		if p.changes[i], err = intents[i].change(tables[i]); err != nil {
			return nil, refusedKey(err, i, len(intents))
		}
		p.checks[i] = intents[i].check
	}
	return p, p.distinct()
}

// refusedKey cancels a transaction of n actions for the key of the item that
// action i names: DynamoDB looks no further then.
func refusedKey(err error, i, n int) error {
	reasons := make([]error, n)
	reasons[i] = err
	return refusedKeys(reasons)
}

// refusedKeys cancels a transaction for the keys of its items. An empty key is
// no reason of its own: DynamoDB refuses the request for it.
func refusedKeys(reasons []error) error {
	for _, err := range reasons {
		var e *Error
		if errors.As(err, &e) && (strings.Contains(e.Message, "cannot contain an empty string value") || strings.Contains(e.Message, "cannot contain an empty binary value")) {
			return e
		}
	}
	return cancelled(reasons)
}

// distinct refuses two actions on one item.
func (p *transaction) distinct() error {
	seen := make(map[string]bool, len(p.changes))
	for _, c := range p.changes {
		if seen[string(c.key)] {
			return errSameItem
		}
		seen[string(c.key)] = true
	}
	return nil
}

// parse checks what the action says by itself.
func (w *TransactWrite) parse() (in intent, err error) {
	switch {
	case w.Put != nil:
		in = intent{table: w.Put.Table, item: w.Put.Item, from: &w.Put.Condition}
		_, err = checkItem(in.item)
	case w.Update != nil:
		in = intent{table: w.Update.Table, key: w.Update.Key, from: &w.Update.Condition}
		_, err = checkItem(in.key)
	case w.Delete != nil:
		in = intent{table: w.Delete.Table, key: w.Delete.Key, from: &w.Delete.Condition}
		_, err = checkItem(in.key)
	case w.Check != nil:
		in = intent{table: w.Check.Table, key: w.Check.Key, from: &w.Check.Condition, check: true}
		_, err = checkItem(in.key)
	default:
		return in, errNoAction
	}
	if err != nil {
		return in, err
	}
	if w.Update != nil {
		in.u, in.cond, err = w.Update.parse()
	} else {
		in.cond, err = in.from.parse()
	}
	return in, err
}

// change returns the change of an action on the table that it names.
func (in *intent) change(t *Table) (c *change, err error) {
	switch {
	case in.item != nil:
		c, err = t.put(in.item, inItem)
	case in.u != nil:
		c, err = t.update(in.key, in.u)
	default:
		c, err = t.remove(in.key)
	}
	if err == nil {
		err = c.guard(in.cond, in.from, true)
	}
	return c, err
}

// run adds all changes to b, or refuses it. No other batch is applied
// meanwhile.
func (p *transaction) run(db *DB, b *store.Batch, due []dueToken) error {
	known, err := db.tokens.known(b, p.Token, p.Fingerprint)
	if err != nil || known {
		p.repeated = known
		return err
	}
	reasons := make([]error, len(p.changes))
	size := 0
	for i, c := range p.changes {
		err := p.step(db, b, i)
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		reasons[i] = err
		size += c.size // what goes does not count
	}
	if err := refusedKeys(reasons); err != nil {
		return err
	}
	if size > maxTransactBytes {
		return errLargeWrite
	}
	return db.tokens.note(b, p.Token, p.Fingerprint, due)
}

// step does one action, or says what stands against it.
func (p *transaction) step(db *DB, b *store.Batch, i int) error {
	c := p.changes[i]
	if !p.checks[i] {
		return db.apply(b, c)
	}
	if err := c.look(b); err != nil {
		return err
	}
	if c.cond != nil && !c.cond.holds(c.old) {
		return c.refusal()
	}
	return nil
}

// cancelled is the refusal of a transaction by the refusals of its actions, nil
// when there is none.
func cancelled(refusals []error) error {
	reasons := make([]Reason, len(refusals))
	codes := make([]string, len(refusals))
	refused := false
	for i, err := range refusals {
		reasons[i] = reasonOf(err)
		codes[i] = reasons[i].Code
		refused = refused || err != nil
	}
	if !refused {
		return nil
	}
	return &Error{
		Code:    CodeCancelled,
		Message: "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]",
		Reasons: reasons,
	}
}

func reasonOf(err error) Reason {
	var e *Error
	switch {
	case !errors.As(err, &e):
		return Reason{Code: ReasonNone}
	case e.Code == CodeConditionCheck:
		return Reason{Code: ReasonCondition, Message: e.Message, Item: e.Item}
	}
	return Reason{Code: ReasonValidation, Message: e.Message}
}

// units are what the transaction cost.
func (p *transaction) units() TransactUnits {
	u := TransactUnits{Units: Costs{}, Read: p.repeated}
	for _, c := range p.changes {
		n := Consumed{c.totalUnits(), c.indexUnits}
		if p.repeated {
			n = Consumed{Units: readUnits(c.size, true)}
		}
		n.times(transactFactor)
		u.Units.Add(c.t.Name, n.Units, n.Indexes...)
	}
	return u
}

// TransactGet asks a transaction for one item.
type TransactGet struct {
	Table      string
	Key        Item // exactly the key attributes
	Projection *string
	Names      map[string]string
}

// TransactGetResult is the answer to TransactGets.
type TransactGetResult struct {
	Items []Item // by request; nil where there is none
	Units Costs  // read capacity units
}

// TransactGet reads up to 100 items of any tables as they were at one moment:
// of no other write, single or in a transaction, it sees a part.
func (db *DB) TransactGet(gets []TransactGet) (TransactGetResult, error) {
	r := TransactGetResult{Items: make([]Item, len(gets)), Units: Costs{}}
	wants, err := db.planGets(gets)
	if err != nil {
		return r, err
	}
	snap := db.st.Snapshot()
	defer snap.Close()
	total := 0
	for i, w := range wants {
		c := &change{t: w.t, key: w.key}
		if err := c.look(snap); err != nil {
			return r, err
		}
		if total += c.oldSize; total > maxTransactBytes {
			return r, errLargeRead
		}
		r.Units.Add(w.t.Name, transactFactor*readUnits(c.oldSize, true))
		if c.old != nil {
			r.Items[i] = w.want.item(c.old)
		}
	}
	return r, nil
}

// wanted is a TransactGet that was checked.
type wanted struct {
	t    *Table
	key  []byte
	want *projection
}

// planGets checks the requests in the order of planTransaction.
func (db *DB) planGets(gets []TransactGet) ([]wanted, error) {
	if n := len(gets); n == 0 || n > maxTransact {
		return nil, invalid("a transaction reads 1 to %d items, not %d", maxTransact, n)
	}
	wants := make([]wanted, len(gets))
	for i, g := range gets {
		if _, err := checkItem(g.Key); err != nil {
			return nil, err
		}
		var err error
		if wants[i].want, err = projectionOf(g.Projection, nil, newScope(g.Names, nil)); err != nil {
			return nil, err
		}
	}
	for i, g := range gets {
		t, err := db.table(g.Table)
		if err != nil {
			return nil, err
		}
		if err := wants[i].want.checkScalar(t); err != nil {
			return nil, err
		}
		wants[i].t = t
		if wants[i].key, err = t.encodeKey(g.Key); err != nil {
			return nil, refusedKey(err, i, len(gets))
		}
	}
	seen := make(map[string]bool, len(wants))
	for _, w := range wants {
		if seen[string(w.key)] {
			return nil, errSameItem
		}
		seen[string(w.key)] = true
	}
	return wants, nil
}
