package table_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/cloud/table/tabletest"
)

// bank performs the operations of package tabletest over the engine.
type bank struct {
	t  *testing.T
	db *table.DB
	st *store.Store
}

func num(n int64) table.Value {
	v, err := table.Number(strconv.FormatInt(n, 10))
	if err != nil {
		panic(err)
	}
	return v
}

func valueOf(it table.Item) int64 {
	if it == nil {
		return tabletest.Absent
	}
	n, err := strconv.ParseInt(it["n"].Str, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func key(id string) table.Item { return table.Item{"id": table.String(id)} }

func (b *bank) do(op tabletest.Op) (r tabletest.Result) {
	item := table.Item{"id": table.String(op.Key), "n": num(op.New)}
	var err error
	switch op.Kind {
	case tabletest.Get:
		var got table.GetResult
		got, err = b.db.GetItem(table.GetRequest{Table: "bank", Key: key(op.Key)})
		r.Value = valueOf(got.Item)
	case tabletest.PutNew:
		_, err = b.db.PutItem(table.PutRequest{Table: "bank", Item: item, Condition: table.Condition{Expression: new("attribute_not_exists(id)")}})
	case tabletest.Swap:
		_, err = b.db.PutItem(table.PutRequest{Table: "bank", Item: item, Condition: table.Condition{Expression: new("n = :old"), Values: table.Item{":old": num(op.Old)}}})
	case tabletest.Add:
		var w table.WriteResult
		w, err = b.db.UpdateItem(table.UpdateRequest{Table: "bank", Key: key(op.Key), Expression: new("ADD n :v"), Return: table.ReturnAllNew, Condition: table.Condition{Values: table.Item{":v": num(op.New)}}})
		r.Value = valueOf(w.Attributes)
	case tabletest.Delete:
		var w table.WriteResult
		w, err = b.db.DeleteItem(table.DeleteRequest{Table: "bank", Key: key(op.Key), ReturnOld: true})
		r.Value = valueOf(w.Old)
	case tabletest.Transfer:
		_, err = b.db.TransactWrite(table.Transaction{Writes: []table.TransactWrite{
			{Update: move(op.From, "SET n = n - :v", "n >= :v", op.New)}, {Update: move(op.To, "SET n = n + :v", "attribute_exists(id)", op.New)}}})
	case tabletest.Balances:
		var got table.TransactGetResult
		got, err = b.db.TransactGet(accounts())
		for i, it := range got.Items {
			r.Balances[i] = valueOf(it)
		}
	}
	var refused *table.Error
	if errors.As(err, &refused) && (refused.Code == table.CodeConditionCheck || refused.Code == table.CodeCancelled) {
		return tabletest.Result{Failed: true}
	}
	if err != nil {
		b.t.Error(err)
		return tabletest.Result{Unknown: true}
	}
	return r
}

func move(account int, update, condition string, amount int64) *table.UpdateRequest {
	return &table.UpdateRequest{Table: "bank", Key: key(tabletest.Account(account)), Expression: &update, Condition: table.Condition{Expression: &condition, Values: table.Item{":v": num(amount)}}}
}

func accounts() (gets []table.TransactGet) {
	for i := range tabletest.Accounts {
		gets = append(gets, table.TransactGet{Table: "bank", Key: key(tabletest.Account(i))})
	}
	return gets
}

func openBank(t *testing.T) *bank {
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := table.Open(st, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Close(), st.Close() })
	if _, err := db.Create(table.CreateRequest{Name: "bank", Billing: table.PayPerRequest, Attributes: []table.KeyAttr{{Name: "id", Kind: table.S}}, Schema: []table.KeyElement{{Name: "id", Type: "HASH"}}}); err != nil {
		t.Fatal(err)
	}
	for i := range tabletest.Accounts {
		if _, err := db.PutItem(table.PutRequest{Table: "bank", Item: table.Item{"id": table.String(tabletest.Account(i)), "n": num(tabletest.Opening)}}); err != nil {
			t.Fatal(err)
		}
	}
	return &bank{t, db, st}
}

// TestLinearisable has clients meet on few items, with everything that reads
// before it writes, and beside them blind writes as those of rules, which must
// be seen whole too.
func TestLinearisable(t *testing.T) {
	b := openBank(t)
	h := tabletest.NewHistory()
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() { h.Run(client, func(done int) bool { return done < 60 }, b.do) })
	}
	wg.Go(func() { // SetAttribute leaves n alone: it must lose no update of it
		for i := range 100 {
			batch := b.st.NewBatch()
			err := b.db.SetAttribute(batch, "bank", key(tabletest.Account(i%tabletest.Accounts)), "seen", num(int64(i)), func(err error) { t.Error(err) })
			if err == nil {
				err = b.st.Commit(batch)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	h.Check(t)
}

// TestDisjointTransactions has transactions on items of their own, of which
// each must be done, and those over two tables must be seen whole.
func TestDisjointTransactions(t *testing.T) {
	b := openBank(t)
	if _, err := b.db.Create(table.CreateRequest{Name: "other", Billing: table.PayPerRequest, Attributes: []table.KeyAttr{{Name: "id", Kind: table.S}}, Schema: []table.KeyElement{{Name: "id", Type: "HASH"}}}); err != nil {
		t.Fatal(err)
	}
	add := func(name, id string) *table.UpdateRequest {
		return &table.UpdateRequest{Table: name, Key: key(id), Expression: new("ADD n :v"), Condition: table.Condition{Values: table.Item{":v": num(1)}}}
	}
	var wg sync.WaitGroup
	const each = 30
	for client := range 6 {
		id := fmt.Sprintf("own%d", client)
		wg.Go(func() {
			for range each {
				if _, err := b.db.TransactWrite(table.Transaction{Writes: []table.TransactWrite{{Update: add("bank", id)}, {Update: add("other", id)}}}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				r, err := b.db.TransactGet([]table.TransactGet{{Table: "other", Key: key(id)}, {Table: "bank", Key: key(id)}})
				if err != nil || valueOf(r.Items[0]) != valueOf(r.Items[1]) {
					t.Errorf("saw a part of a transaction: %v, %v", r.Items, err)
				}
			}
		})
	}
	wg.Wait()
	for client := range 6 {
		r, err := b.db.GetItem(table.GetRequest{Table: "other", Key: key(fmt.Sprintf("own%d", client))})
		if err != nil || valueOf(r.Item) != each {
			t.Errorf("%v, %v: want %d", r.Item, err, each)
		}
	}
}
