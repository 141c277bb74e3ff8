package dynamodb

import (
	"errors"
	"slices"
	"strings"

	"mote/internal/cloud/partiql"
	"mote/internal/cloud/table"
)

// write is a statement that writes, as what the engine does for it.
type write struct {
	table.TransactWrite
	table     string
	returning table.ReturnValues
	insert    bool
}

// tableOf is the table that a statement names.
func (h *Handler) tableOf(name string) (*table.Table, error) {
	if len(name) < 3 || len(name) > 255 || strings.ContainsFunc(name, notOfName) {
		return nil, refused("Table name should be within the length [3, 255] and only contain 'a-z', 'A-Z', '0-9', '-', '_', '.'.")
	}
	t, err := h.db.Describe(name)
	if err != nil {
		return nil, &table.Error{Code: table.CodeNotFound, Message: "Requested resource not found"}
	}
	return t, nil
}

// isRead says whether the statement writes nothing.
func (st *statement) isRead() bool {
	_, ok := st.Statement.(*partiql.Select)
	return ok
}

// returns says whether the statement has a clause RETURNING.
func (st *statement) returns() bool {
	switch s := st.Statement.(type) {
	case *partiql.Update:
		return s.Returning != nil
	case *partiql.Delete:
		return s.Returning != nil
	}
	return false
}

// writeOf compiles a statement that writes.
func (h *Handler) writeOf(st *statement, returnItem bool) (w write, err error) {
	switch s := st.Statement.(type) {
	case *partiql.Insert:
		return h.insert(st, s, returnItem)
	case *partiql.Update:
		return h.update(st, s, returnItem)
	case *partiql.Delete:
		return h.remove(st, s, returnItem)
	}
	return w, refused("EXISTS can only be used in ExecuteTransaction write requests.")
}

func (h *Handler) insert(st *statement, s *partiql.Insert, returnItem bool) (w write, err error) {
	v, _, err := st.valueAt(s.Value, "")
	if err != nil {
		return w, err
	}
	if v.Kind != table.M {
		return w, refused("Unsupported format in item expression. Please use struct format {...} to express item values for insert statement.")
	}
	t, err := h.tableOf(s.Table)
	if err != nil {
		return w, err
	}
	b := st.builder()
	cond := b.condition("attribute_not_exists(" + b.name(t.Hash.Name) + ")")
	cond.ReturnItem = returnItem
	w = write{table: s.Table, insert: true}
	w.Put = &table.PutRequest{Table: s.Table, Item: v.Map, Condition: cond}
	return w, nil
}

// one compiles the WHERE of a write, which names one item by its key.
func (h *Handler) one(st *statement, name string, where *partiql.Expr) (t *table.Table, key table.Item, rest []*partiql.Expr, err error) {
	if t, err = h.tableOf(name); err != nil {
		return nil, nil, nil, err
	}
	key, rest, err = st.keyOf(t, where)
	if err == nil && key == nil {
		err = refused("Where clause does not contain a mandatory equality on all key attributes")
	}
	return t, key, rest, err
}

func (h *Handler) update(st *statement, s *partiql.Update, returnItem bool) (w write, err error) {
	t, key, rest, err := h.one(st, s.Table, s.Where)
	if err != nil {
		return w, err
	}
	b := st.builder()
	expression, err := b.update(s.Actions)
	if err != nil {
		return w, err
	}
	// Unlike UpdateItem, UPDATE makes no item.
	text := "attribute_exists(" + b.name(t.Hash.Name) + ")"
	if more, err := b.all(rest); err != nil {
		return w, err
	} else if more != "" {
		text += " AND (" + more + ")"
	}
	cond := b.condition(text)
	cond.ReturnItem = returnItem
	w = write{table: s.Table, returning: returned(s.Returning)}
	w.Update = &table.UpdateRequest{Table: s.Table, Key: key, Expression: &expression, Condition: cond, Return: w.returning}
	return w, nil
}

func returned(r *partiql.Returning) table.ReturnValues {
	switch {
	case r == nil:
		return table.ReturnNone
	case r.All && r.New:
		return table.ReturnAllNew
	case r.All:
		return table.ReturnAllOld
	case r.New:
		return table.ReturnUpdatedNew
	}
	return table.ReturnUpdatedOld
}

// update writes an update expression.
func (b *builder) update(actions []partiql.Action) (string, error) {
	sections := map[string][]string{}
	for _, a := range actions {
		section, text, err := b.action(&a)
		if err != nil {
			return "", err
		}
		sections[section] = append(sections[section], text)
	}
	var parts []string
	for _, section := range []string{"SET", "REMOVE", "ADD", "DELETE"} {
		if list := sections[section]; list != nil {
			parts = append(parts, section+" "+strings.Join(list, ", "))
		}
	}
	return strings.Join(parts, " "), nil
}

func (b *builder) action(a *partiql.Action) (section, text string, err error) {
	path := b.path(a.Path)
	switch v := a.Value; {
	case v == nil:
		return "REMOVE", path, nil
	case v.Kind == partiql.Call && (v.Text == "set_add" || v.Text == "set_delete"):
		return b.setAction(a)
	case v.Kind == partiql.Binary && (v.Text == "+" || v.Text == "-"):
		args, err := b.operands(v.Args, "if_not_exists")
		if err != nil {
			return "", "", err
		}
		return "SET", path + " = " + args[0] + " " + v.Text + " " + args[1], nil
	default:
		text, err = b.operand(v, "list_append", "if_not_exists")
		return "SET", path + " = " + text, err
	}
}

// setAction writes a = set_add(a, <<…>>) or a = set_delete(a, <<…>>).
func (b *builder) setAction(a *partiql.Action) (section, text string, err error) {
	call := a.Value
	name := strings.ToUpper(call.Text)
	if len(call.Args) != 2 {
		return "", "", refusedAt(call, name+" must have exactly two arguments")
	}
	first, second := call.Args[0], call.Args[1]
	if first.Kind != partiql.PathExpr || !slices.Equal(first.Path, a.Path) {
		return "", "", refusedAt(call, "The first argument to "+name+" must equal the assignment value")
	}
	v, ok, err := b.st.value(second)
	if err == nil && (!ok || v.Kind < table.SS) {
		err = refusedAt(first, "The second argument to "+name+" must be a value with type SET")
	}
	section = "ADD"
	if name == "SET_DELETE" {
		section = "DELETE"
	}
	return section, b.path(a.Path) + " " + b.constant(v), err
}

func (h *Handler) remove(st *statement, s *partiql.Delete, returnItem bool) (w write, err error) {
	if r := s.Returning; r != nil && (!r.All || r.New) {
		return w, refused("Invalid returning clause:" + r.String() + ". Only RETURNING ALL OLD * is allowed in DELETE statements.")
	}
	t, key, rest, err := h.one(st, s.Table, s.Where)
	if err != nil {
		return w, err
	}
	b := st.builder()
	text, err := b.all(rest)
	if err != nil {
		return w, err
	}
	if text != "" { // an item that is not there is no error
		text = "attribute_not_exists(" + b.name(t.Hash.Name) + ") OR (" + text + ")"
	}
	cond := b.condition(text)
	cond.ReturnItem = returnItem
	w = write{table: s.Table, returning: returned(s.Returning)}
	w.Delete = &table.DeleteRequest{Table: s.Table, Key: key, Condition: cond, ReturnOld: s.Returning != nil}
	return w, nil
}

// check compiles EXISTS, of a transaction.
func (h *Handler) check(st *statement, s *partiql.Exists, returnItem bool) (w write, err error) {
	const notOne = "EXISTS() must contain a single item read with additional condition"
	from := s.Select.From
	if from.Index != "" {
		return w, refused("Operations on indices are not supported in transactions")
	}
	t, err := h.tableOf(from.Table)
	if err != nil {
		return w, err
	}
	key, rest, err := st.keyOf(t, s.Select.Where)
	if err != nil {
		return w, err
	}
	if key == nil || len(rest) == 0 {
		return w, refused(notOne)
	}
	b := st.builder()
	text, err := b.all(rest)
	if err != nil {
		return w, err
	}
	cond := b.condition("attribute_exists(" + b.name(t.Hash.Name) + ") AND (" + text + ")")
	cond.ReturnItem = returnItem
	w = write{table: from.Table}
	w.Check = &table.CheckRequest{Table: from.Table, Key: key, Condition: cond}
	return w, nil
}

// do performs a write outside of a transaction.
func (h *Handler) do(w *write, measure bool) (it table.Item, r table.WriteResult, err error) {
	switch {
	case w.Put != nil:
		w.Put.Measure = measure
		r, err = h.db.PutItem(*w.Put)
	case w.Update != nil:
		w.Update.Measure = measure
		r, err = h.db.UpdateItem(*w.Update)
		it = r.Attributes
	default:
		w.Delete.Measure = measure
		r, err = h.db.DeleteItem(*w.Delete)
		it = r.Old
	}
	var e *table.Error
	if w.insert && errors.As(err, &e) && e.Code == table.CodeConditionCheck {
		err = duplicate()
	}
	return it, r, err
}
