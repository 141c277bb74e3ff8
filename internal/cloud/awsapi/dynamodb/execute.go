package dynamodb

import (
	"errors"
	"strconv"
	"strings"

	"mote/internal/cloud/partiql"
	"mote/internal/cloud/table"
)

// Limits of statements (Amazon DynamoDB API Reference, BatchExecuteStatement
// and ExecuteTransaction).
const (
	maxStatement  = 8192 // characters
	maxStatements = 25
)

// attributes takes the list Parameters, which is not nil.
func (s *scanner) attributes() []attribute {
	list := []attribute{}
	s.list(func() { list = append(list, s.attribute(maxNesting, unexpectedValue)) })
	return list
}

// statements takes the list of a batch or transaction.
func (s *scanner) statements(structure string) (list []*input) {
	s.list(func() {
		in := &input{op: structure}
		s.object(unexpectedValue, structureOf(structure), func(name string) { s.member(in, name) })
		list = append(list, in)
	})
	return list
}

// statement holds a statement and its parameters to their lengths.
func (c *constraints) statement(in *input, at string) {
	if in.statement == nil {
		c.required(false, at+"statement")
		return
	}
	if *in.statement == "" {
		c.add("''", at+"statement", "have length greater than or equal to 1")
	}
	if n := len([]rune(*in.statement)); n > maxStatement {
		c.add(quote(*in.statement), at+"statement", "have length less than or equal to "+strconv.Itoa(maxStatement))
	}
	if in.parameters != nil && len(in.parameters) == 0 {
		c.add("'[]'", at+"parameters", "have length greater than or equal to 1")
	}
	c.enum(in.onFailed, at+"returnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
}

func (h *Handler) executeStatement(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	c.limit(in)
	c.statement(in, "")
	if err := c.err(); err != nil {
		return nil, err
	}
	st, err := parseStatement(*in.statement, in.parameters)
	if err != nil {
		return nil, err
	}
	if st.isRead() {
		return h.executeSelect(in, &st)
	}
	w, err := h.writeOf(&st, is(in.onFailed, "ALL_OLD"))
	if err != nil {
		return nil, err
	}
	it, r, err := h.do(&w, in.wantsCapacity())
	if err != nil {
		return nil, inStatement(err)
	}
	var a answer
	var items []table.Item
	if it != nil {
		items = []table.Item{it}
	}
	a.found(items)
	a.capacity(in, w.table, r.Units, r.Indexes...)
	return a.done(), nil
}

func (a *answer) found(items []table.Item) {
	a.member("Items")
	a.out = appendList(a.out, items, appendItem)
}

func (h *Handler) executeSelect(in *input, st *statement) ([]byte, error) {
	s := st.Statement.(*partiql.Select)
	p, err := h.planSelect(st, s)
	if err != nil {
		return nil, err
	}
	at, err := st.position(in.nextToken, len(p.hashes))
	if err != nil {
		return nil, err
	}
	p.reading.Consistent = isTrue(in.consistent)
	if p.index != nil && p.index.Global && p.reading.Consistent {
		return nil, refused("Strongly consistent read is not supported on Global Secondary Indexes")
	}
	limit := 0
	if in.limit != nil {
		limit = int(*in.limit)
	}
	page, next, err := h.read(&p, limit, at)
	if err != nil {
		return nil, inStatement(err)
	}
	for i, it := range page.Items {
		page.Items[i] = shown(s, it)
	}
	var a answer
	a.found(page.Items)
	if next != nil {
		a.item("LastEvaluatedKey", next.key)
		a.member("NextToken")
		a.out = appendString(a.out, st.nextToken(next))
	}
	a.capacity(in, s.From.Table, page.Units, indexUnits(&page)...)
	return a.done(), nil
}

// listLength holds the statements of a batch or transaction to their count.
func (c *constraints) listLength(raw []byte, n int, member string, most int) {
	switch {
	case raw == nil:
		c.required(false, member)
	case n < 1:
		c.add("'[]'", member, "have length greater than or equal to 1")
	case n > most:
		c.add("'"+dump(compact(raw))+"'", member, "have length less than or equal to "+strconv.Itoa(most))
	}
}

// listOf decodes the statements of a batch or transaction.
func listOf(raw []byte, structure, member string, most int, c *constraints) ([]*input, error) {
	var list []*input
	s := &scanner{data: raw}
	if raw != nil {
		list = s.statements(structure)
	}
	if s.err != nil {
		return nil, s.err
	}
	c.listLength(raw, len(list), member, most)
	for i, one := range list {
		c.statement(one, member+"."+strconv.Itoa(i+1)+".member.")
	}
	return list, c.err()
}

// executed is what came of one statement of a batch.
type executed struct {
	table    string
	item     table.Item
	consumed table.Consumed
	err      error
}

func (h *Handler) batchExecuteStatement(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	list, err := listOf(in.statements, "BatchStatementRequest", "statements", maxStatements, &c)
	if err != nil {
		return nil, err
	}
	parsed := make([]statement, len(list))
	done := make([]executed, len(list))
	reads, writes := false, false
	for i, one := range list {
		if parsed[i], done[i].err = parseStatement(*one.statement, one.parameters); done[i].err == nil {
			reads, writes = reads || parsed[i].isRead(), writes || !parsed[i].isRead()
		}
	}
	if reads && writes {
		return nil, refused("The statements of a batch must be all reads or all writes")
	}
	costs := table.Costs{}
	for i, one := range list {
		d := &done[i]
		if d.err == nil {
			*d = h.execute(one, &parsed[i], in.wantsCapacity())
			costs.Add(d.table, d.consumed.Units, d.consumed.Indexes...)
		}
	}
	delete(costs, "")
	var a answer
	a.member("Responses")
	a.out = appendList(a.out, done, h.appendExecuted)
	a.capacities(in, "", costs)
	return a.done(), nil
}

// execute does one statement of a batch.
func (h *Handler) execute(in *input, st *statement, measure bool) (d executed) {
	if !st.isRead() {
		w, err := h.writeOf(st, is(in.onFailed, "ALL_OLD"))
		if err != nil {
			return executed{err: err}
		}
		it, r, err := h.do(&w, measure)
		return executed{w.table, it, table.Consumed{Units: r.Units, Indexes: r.Indexes}, inStatement(err)}
	}
	s, key, err := h.keyOnly(st, "BatchExecuteStatement")
	if err != nil {
		return executed{err: err}
	}
	r, err := h.db.GetItem(table.GetRequest{Table: s.From.Table, Key: key, Consistent: isTrue(in.consistent)})
	if r.Item != nil {
		r.Item = shown(s, r.Item)
	}
	return executed{s.From.Table, r.Item, table.Consumed{Units: r.Units}, err}
}

func (h *Handler) appendExecuted(out []byte, d executed) []byte {
	var a answer
	if d.err != nil {
		e := h.wire(d.err)
		var inner answer
		inner.member("Code")
		inner.out = appendString(inner.out, errorCode(e))
		inner.member("Message")
		inner.out = appendString(inner.out, e.message)
		inner.item("Item", e.item)
		a.member("Error")
		a.out = append(a.out, inner.done()...)
	}
	a.item("Item", d.item)
	if d.table != "" {
		a.member("TableName")
		a.out = appendString(a.out, d.table)
	}
	return append(out, a.done()...)
}

func (h *Handler) executeTransaction(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	c.token(in)
	list, err := listOf(in.transactStatements, "ParameterizedStatement", "transactStatements", maxActions, &c)
	if err != nil {
		return nil, err
	}
	parsed := make([]statement, len(list))
	reads := 0
	for i, one := range list {
		if parsed[i], err = parseStatement(*one.statement, one.parameters); err != nil {
			if fault, ok := err.(*table.Error); ok {
				return nil, fault // of a parameter, which stands for itself
			}
			return nil, inTransaction(i, err)
		}
		if parsed[i].returns() {
			return nil, inTransaction(i, refused("RETURNING clause is not supported in ExecuteTransaction."))
		}
		if parsed[i].isRead() {
			reads++
		}
	}
	switch reads {
	case 0:
		return h.transactStatements(in, list, parsed)
	case len(list):
		return h.transactSelects(in, parsed)
	}
	return nil, refused("The statements of a transaction must be all reads or all writes; a condition is EXISTS(SELECT ...)")
}

// inStatement takes the name of an expression, which a statement has not, off
// the front of a refusal.
func inStatement(err error) error {
	var e *table.Error
	if !errors.As(err, &e) || e.Code != table.CodeValidation || !strings.HasPrefix(e.Message, "Invalid ") {
		return err
	}
	kind, text, found := strings.Cut(e.Message, ": ")
	if !found || !strings.HasSuffix(kind, "Expression") {
		return err
	}
	return refused(text)
}

// inTransaction says which statement was refused.
func inTransaction(i int, err error) error {
	var own *wireError
	text := ""
	var e *table.Error
	switch {
	case errors.As(err, &own) && own.code == table.CodeValidation:
		text = own.message
	case errors.As(err, &e) && e.Code == table.CodeValidation:
		text = e.Message
	default:
		return err
	}
	return refused("Validation failed in TransactStatements[" + strconv.Itoa(i) + "]: " + text)
}

func (h *Handler) transactStatements(in *input, list []*input, parsed []statement) ([]byte, error) {
	x := table.Transaction{Writes: make([]table.TransactWrite, len(parsed))}
	inserts := make([]bool, len(parsed))
	for i := range parsed {
		w, err := h.transactWrite(&parsed[i], is(list[i].onFailed, "ALL_OLD"))
		if err != nil {
			return nil, inTransaction(i, err)
		}
		x.Writes[i], inserts[i] = w.TransactWrite, w.insert
	}
	in.idempotent(&x, in.transactStatements)
	units, err := h.db.TransactWrite(x)
	if err != nil {
		return nil, inStatement(asDuplicates(err, inserts))
	}
	var a answer
	a.member("Responses")
	a.out = append(a.out, "[]"...)
	a.capacities(in, kindOf(units.Read), units.Units)
	return a.done(), nil
}

func (h *Handler) transactWrite(st *statement, returnItem bool) (write, error) {
	if s, ok := st.Statement.(*partiql.Exists); ok {
		return h.check(st, s, returnItem)
	}
	return h.writeOf(st, returnItem)
}

func (h *Handler) transactSelects(in *input, parsed []statement) ([]byte, error) {
	gets := make([]table.TransactGet, len(parsed))
	selects := make([]*partiql.Select, len(parsed))
	for i := range parsed {
		if parsed[i].Statement.(*partiql.Select).From.Index != "" {
			return nil, inTransaction(i, refused("Reads on indices are not supported within transactions."))
		}
		s, key, err := h.keyOnly(&parsed[i], "ExecuteTransaction")
		if err != nil {
			return nil, inTransaction(i, err)
		}
		gets[i], selects[i] = table.TransactGet{Table: s.From.Table, Key: key}, s
	}
	return h.transactGet(in, gets, func(i int, it table.Item) table.Item { return shown(selects[i], it) })
}
