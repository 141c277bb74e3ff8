// Package tabletest checks that the writes and reads of many clients on one
// table are linearisable: that there is an order of them, agreeing with the
// clock, in which each is answered as if it were alone. It is for tests; what
// performs the operations, the engine or a client of the whole system, is
// theirs.
package tabletest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations. Those on a register look at one item, whose
// attribute n is its value; those of the bank look at several in one transaction.
const (
	Get      Kind = iota // read a register
	PutNew               // make a register with New, if it is absent
	Swap                 // put New in place of Old, if that is the value
	Add                  // add New to a register, which is 0 if it is absent
	Delete               // remove a register
	Transfer             // move New from account From to account To, if From has as much
	Balances             // read all accounts
	kinds
)

// Sizes of the histories' world: few enough for clients to meet.
const (
	Registers = 3
	Accounts  = 4
	Opening   = 100 // of each account
	Absent    = int64(math.MinInt64)
)

// Op is one operation.
type Op struct {
	Kind     Kind
	Key      string // of a register
	Old, New int64
	From, To int // of accounts
}

// Register and Account are the keys of the items.
func Register(i int) string { return fmt.Sprintf("register%d", i) }

// Account is the key of an account.
func Account(i int) string { return fmt.Sprintf("account%d", i) }

// Result is how an operation was answered.
type Result struct {
	Unknown bool  // there was no answer: it may have happened, now or later, or not
	Failed  bool  // the condition did not hold
	Value   int64 // of Get and Delete the value there was, of Add the new one; Absent for none

	Balances [Accounts]int64
}

// balances is the state of the bank.
type balances [Accounts]int64

// Random returns some operation. Every New of PutNew and Swap is distinct with
// high probability, so that a write that is lost or done twice shows.
func Random(r *rand.Rand) Op {
	op := Op{Kind: Kind(r.IntN(int(kinds))), Key: Register(r.IntN(Registers)), New: 1 + r.Int64N(1<<40)}
	switch op.Kind {
	case Add:
		op.New = 1 + r.Int64N(9)
	case Transfer:
		op.From = r.IntN(Accounts)
		op.To = (op.From + 1 + r.IntN(Accounts-1)) % Accounts
		op.New = 1 + r.Int64N(60)
	}
	return op
}

// History collects what clients did. Its methods are safe for concurrent use.
type History struct {
	begin time.Time

	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
}

// NewHistory returns an empty history, of a table in which every account has
// Opening and no register is there.
func NewHistory() *History { return &History{begin: time.Now()} }

// Run has one client do random operations one after the other, while more says
// so.
func (h *History) Run(client int, more func(done int) bool, perform func(Op) Result) {
	r := rand.New(rand.NewPCG(uint64(client), 11))
	last := map[string]int64{} // what the client knows of each register, for its swaps
	for n := 0; more(n); n++ {
		op := Random(r)
		op.Old = last[op.Key]
		result := h.do(client, op, perform)
		if result.Unknown || result.Failed {
			continue
		}
		switch op.Kind {
		case Get, Add:
			last[op.Key] = result.Value
		case PutNew, Swap:
			last[op.Key] = op.New
		}
	}
}

// do performs one operation and notes it.
func (h *History) do(client int, op Op, perform func(Op) Result) Result {
	call := time.Since(h.begin)
	result := perform(op)
	end := time.Since(h.begin)
	if result.Unknown {
		if op.Kind == Get || op.Kind == Balances {
			return result // it says nothing
		}
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: result, Return: int64(end)})
	return result
}

// checkTime is how long the search for an order may take.
const checkTime = 20 * time.Second

// Check fails the test if no order explains the history.
func (h *History) Check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	answered := 0
	for _, o := range h.ops {
		if r := o.Output.(Result); !r.Unknown && !r.Failed {
			answered++
		}
	}
	t.Logf("%d operations, %d done", len(h.ops), answered)
	if answered == 0 {
		t.Error("no operation was done")
	}
	switch porcupine.CheckOperationsTimeout(model, h.ops, checkTime) {
	case porcupine.Illegal:
		t.Errorf("no order explains this history:\n%s", h.describe())
	case porcupine.Unknown:
		t.Errorf("no order was found within %v", checkTime)
	}
}

const maxShown = 100

// describe lists the parts of the history that no order explains.
func (h *History) describe() string {
	var text strings.Builder
	for _, part := range partition(h.ops) {
		if porcupine.CheckOperationsTimeout(model, part, checkTime) == porcupine.Ok {
			continue
		}
		for i, o := range part {
			if i == maxShown {
				fmt.Fprintf(&text, "and %d more\n", len(part)-i)
				break
			}
			fmt.Fprintf(&text, "client %d, %d to %d: %+v gave %+v\n", o.ClientId, o.Call, o.Return, o.Input, o.Output)
		}
	}
	return text.String()
}

var model = porcupine.Model{
	Partition: partition,
	Init:      func() any { return nil },
	Step: func(state, input, output any) (bool, any) {
		op, result := input.(Op), output.(Result)
		if op.Kind == Transfer || op.Kind == Balances {
			return stepBank(state, op, result)
		}
		return stepRegister(state, op, result)
	},
}

// partition splits a history into those of each register and that of the bank,
// which have nothing to do with each other.
func partition(history []porcupine.Operation) (parts [][]porcupine.Operation) {
	by := map[string]int{}
	for _, o := range history {
		key := o.Input.(Op).Key
		if k := o.Input.(Op).Kind; k == Transfer || k == Balances {
			key = ""
		}
		i, ok := by[key]
		if !ok {
			i = len(parts)
			by[key], parts = i, append(parts, nil)
		}
		parts[i] = append(parts[i], o)
	}
	return parts
}

func stepBank(state any, op Op, result Result) (bool, any) {
	b, ok := state.(balances)
	if !ok {
		for i := range b {
			b[i] = Opening
		}
	}
	if op.Kind == Balances {
		return b == result.Balances, b
	}
	failed := b[op.From] < op.New
	if !failed {
		b[op.From] -= op.New
		b[op.To] += op.New
	}
	return result.Unknown || failed == result.Failed, b
}

func stepRegister(state any, op Op, result Result) (bool, any) {
	old, ok := state.(int64)
	if !ok {
		old = Absent
	}
	want, next := Result{Value: old}, old
	switch op.Kind {
	case PutNew:
		want = Result{Failed: old != Absent}
		next = op.New
	case Swap:
		want = Result{Failed: old != op.Old || old == Absent}
		next = op.New
	case Add:
		if next = op.New; old != Absent {
			next += old
		}
		want.Value = next
	case Delete:
		next = Absent
	}
	if want.Failed {
		next = old
	}
	return result.Unknown || result == want, next
}
