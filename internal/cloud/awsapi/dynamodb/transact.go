package dynamodb

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// maxActions is the limit of both transactions.
const maxActions = 100

// action is one element of TransactItems.
type action struct {
	kind  string // "Put", "Update", "Delete", "ConditionCheck" or "Get"; of several, the last
	in    *input // its members
	given int    // count of kinds that are there
}

// actions takes the list TransactItems, whose elements have one of the kinds.
func (s *scanner) actions(element string, kinds ...string) (list []action) {
	s.list(func() {
		var a action
		s.object(unexpectedValue, structureOf(element), func(name string) {
			if s.null() {
				return
			}
			if !slices.Contains(kinds, name) {
				s.skip()
				return
			}
			a.kind, a.given = name, a.given+1
			a.in = &input{op: name}
			s.object(unexpectedValue, structureOf(name), func(member string) { s.member(a.in, member) })
		})
		list = append(list, a)
	})
	return list
}

// transactItems holds TransactItems to its length.
func (c *constraints) transactItems(in *input, n int) {
	switch {
	case in.transactItems == nil:
		c.required(false, "transactItems")
	case n < 1:
		c.add("'[]'", "transactItems", "have length greater than or equal to 1")
	case n > maxActions:
		c.add("'"+dump(compact(in.transactItems))+"'", "transactItems", "have length less than or equal to "+strconv.Itoa(maxActions))
	}
}

// action checks what of an action must be there.
func (c *constraints) action(a *action, number int) {
	if a.in == nil {
		return
	}
	at := "transactItems." + strconv.Itoa(number) + ".member." + strings.ToLower(a.kind[:1]) + a.kind[1:] + "."
	c.tableName(a.in.tableName, at+"tableName")
	switch a.kind {
	case "Put":
		c.required(a.in.item != nil, at+"item")
	case "Update":
		c.required(a.in.update != nil, at+"updateExpression")
		c.required(a.in.key != nil, at+"key")
	case "ConditionCheck":
		c.required(a.in.condition != nil, at+"conditionExpression")
		c.required(a.in.key != nil, at+"key")
	default:
		c.required(a.in.key != nil, at+"key")
	}
	c.enum(a.in.onFailed, at+"returnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
}

// token holds a ClientRequestToken to its length.
func (c *constraints) token(in *input) {
	if in.token != nil {
		c.length(*in.token, "clientRequestToken", 1, 36)
	}
}

func (h *Handler) transactWriteItems(in *input) ([]byte, error) {
	s := &scanner{data: in.transactItems}
	var list []action
	if in.transactItems != nil {
		list = s.actions("TransactWriteItem", "Put", "Update", "Delete", "ConditionCheck")
	}
	if s.err != nil {
		return nil, s.err
	}
	var c constraints
	c.token(in)
	c.capacity(in)
	c.metrics(in)
	c.transactItems(in, len(list))
	for i := range list {
		c.action(&list[i], i+1)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	x := table.Transaction{Writes: make([]table.TransactWrite, len(list))}
	for i := range list {
		var err error
		if x.Writes[i], err = list[i].write(); err != nil {
			return nil, cmp.Or(checkTexts(x.Writes[:i]), err)
		}
	}
	in.idempotent(&x, in.transactItems)
	return h.transact(in, x)
}

// checkTexts is the refusal of the first of some writes that says something
// wrong by itself: DynamoDB looks at one after the other.
func checkTexts(writes []table.TransactWrite) error {
	for i := range writes {
		if err := writes[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// idempotent gives the transaction the request's token, if it has one.
func (in *input) idempotent(x *table.Transaction, parameters []byte) {
	if in.token != nil {
		x.Token, x.Fingerprint = *in.token, fingerprint(parameters)
	}
}

// transact does the writes and answers with their capacity.
func (h *Handler) transact(in *input, x table.Transaction) ([]byte, error) {
	units, err := h.db.TransactWrite(x)
	if err != nil {
		return nil, err
	}
	var a answer
	a.capacities(in, kindOf(units.Read), units.Units)
	err = h.collectionsMetrics(&a, in, targets(x.Writes))
	return a.done(), err
}

// targets are the items that the writes of a transaction change.
func targets(writes []table.TransactWrite) (list []touched) {
	for _, w := range writes {
		switch {
		case w.Put != nil:
			list = append(list, touched{w.Put.Table, w.Put.Item})
		case w.Update != nil:
			list = append(list, touched{w.Update.Table, w.Update.Key})
		case w.Delete != nil:
			list = append(list, touched{w.Delete.Table, w.Delete.Key})
		}
	}
	return list
}

var (
	errManyActions = refused("TransactItems can only contain one of Check, Put, Update or Delete")
	errNoAction    = refused("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
)

// write is the action for the engine.
func (a *action) write() (w table.TransactWrite, err error) {
	switch a.given {
	case 0:
		return w, errNoAction
	case 1:
	default:
		return w, errManyActions
	}
	in := a.in
	expressions := []parameter{expression("ConditionExpression", in.condition)}
	it := in.key
	switch a.kind {
	case "Put":
		it = in.item
	case "Update":
		expressions = append([]parameter{expression("UpdateExpression", in.update)}, expressions...)
	}
	if err := in.checkStyle(expressions, nil); err != nil {
		return w, err
	}
	if it.fault != nil {
		return w, it.fault
	}
	cond, err := in.writeCondition()
	if err != nil {
		return w, err
	}
	switch name := bareName(*in.tableName); a.kind {
	case "Put":
		w.Put = &table.PutRequest{Table: name, Item: it.Item, Condition: cond}
	case "Update":
		w.Update = &table.UpdateRequest{Table: name, Key: it.Item, Expression: in.update, Condition: cond}
	case "Delete":
		w.Delete = &table.DeleteRequest{Table: name, Key: it.Item, Condition: cond}
	default:
		w.Check = &table.CheckRequest{Table: name, Key: it.Item, Condition: cond}
	}
	return w, in.checkPlaceholders()
}

func (h *Handler) transactGetItems(in *input) ([]byte, error) {
	s := &scanner{data: in.transactItems}
	var list []action
	if in.transactItems != nil {
		list = s.actions("TransactGetItem", "Get")
	}
	if s.err != nil {
		return nil, s.err
	}
	var c constraints
	c.capacity(in)
	c.transactItems(in, len(list))
	for i := range list {
		if list[i].in == nil {
			c.required(false, "transactItems."+strconv.Itoa(i+1)+".member.get")
		}
		c.action(&list[i], i+1)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	gets := make([]table.TransactGet, len(list))
	for i := range list {
		var err error
		if gets[i], err = list[i].get(); err != nil {
			return nil, err
		}
	}
	return h.transactGet(in, gets, func(_ int, it table.Item) table.Item { return it })
}

func (a *action) get() (g table.TransactGet, err error) {
	in := a.in
	if err := in.checkStyle([]parameter{expression("ProjectionExpression", in.projection)}, nil); err != nil {
		return g, err
	}
	if in.key.fault != nil {
		return g, in.key.fault
	}
	return table.TransactGet{Table: bareName(*in.tableName), Key: in.key.Item, Projection: in.projection, Names: in.names}, in.checkPlaceholders()
}

// transactGet reads and answers with what shown makes of each item.
func (h *Handler) transactGet(in *input, gets []table.TransactGet, shown func(i int, it table.Item) table.Item) ([]byte, error) {
	r, err := h.db.TransactGet(gets)
	if err != nil {
		return nil, err
	}
	var a answer
	a.member("Responses")
	i := -1
	a.out = appendList(a.out, r.Items, func(out []byte, it table.Item) []byte {
		i++
		if it == nil {
			return append(out, "{}"...)
		}
		return append(appendItem(append(out, `{"Item":`...), shown(i, it)), '}')
	})
	a.capacities(in, kindOf(true), r.Units)
	return a.done(), nil
}

// kindOf is the member that says of a transaction's units what they are of.
func kindOf(read bool) string {
	if read {
		return "ReadCapacityUnits"
	}
	return "WriteCapacityUnits"
}

// appendReasons appends the CancellationReasons of a transaction.
func appendReasons(out []byte, reasons []table.Reason) []byte {
	return appendList(out, reasons, func(out []byte, r table.Reason) []byte {
		var a answer
		a.member("Code")
		a.out = appendString(a.out, r.Code)
		if r.Message != "" {
			a.member("Message")
			a.out = appendString(a.out, r.Message)
		}
		a.item("Item", r.Item)
		return append(out, a.done()...)
	})
}

// fingerprint tells requests apart by what they mean: neither the order of
// members nor that of a set's elements counts, which clients shuffle when they
// write a request again.
func fingerprint(raw []byte) [32]byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	_ = d.Decode(&v) // the request was valid JSON
	sortSets(v)
	text, _ := json.Marshal(v) // sorts the names of members
	return sha256.Sum256(text)
}

func sortSets(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			sortSets(e)
		}
	case map[string]any:
		for name, e := range v {
			if list, ok := e.([]any); ok && (name == "SS" || name == "NS" || name == "BS") {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(a), text(b)) })
			}
			sortSets(e)
		}
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
