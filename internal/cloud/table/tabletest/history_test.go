package tabletest

import (
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

// one is an operation of a history without overlaps.
func one(at int64, op Op, r Result) porcupine.Operation {
	return porcupine.Operation{Input: op, Call: at, Output: r, Return: at + 1}
}

// TestModel holds the model itself to histories of which one knows what they are.
func TestModel(t *testing.T) {
	key := Register(0)
	put, add := Op{Kind: PutNew, Key: key, New: 5}, Op{Kind: Add, Key: key, New: 1}
	get := Op{Kind: Get, Key: key}
	opening := balances{Opening, Opening, Opening, Opening}
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"in order":       {[]porcupine.Operation{one(0, put, Result{}), one(2, add, Result{Value: 6}), one(4, get, Result{Value: 6})}, true},
		"lost":           {[]porcupine.Operation{one(0, put, Result{}), one(2, get, Result{Value: Absent})}, false},
		"doubled":        {[]porcupine.Operation{one(0, put, Result{}), one(2, add, Result{Value: 7})}, false},
		"put twice":      {[]porcupine.Operation{one(0, put, Result{}), one(2, put, Result{})}, false},
		"unknown, done":  {[]porcupine.Operation{{Input: put, Call: 0, Output: Result{Unknown: true}, Return: 99}, one(2, get, Result{Value: 5})}, true},
		"unknown, never": {[]porcupine.Operation{{Input: put, Call: 0, Output: Result{Unknown: true}, Return: 99}, one(2, get, Result{Value: Absent})}, true},
		"half a transfer": {[]porcupine.Operation{
			{Input: Op{Kind: Transfer, From: 0, To: 1, New: 10}, Call: 0, Output: Result{Unknown: true}, Return: 99},
			one(2, Op{Kind: Balances}, Result{Balances: balances{Opening - 10, Opening, Opening, Opening}})}, false},
		"swapped":              {[]porcupine.Operation{one(0, put, Result{}), one(2, Op{Kind: Swap, Key: key, Old: 5, New: 8}, Result{}), one(4, get, Result{Value: 8})}, true},
		"swapped with nothing": {[]porcupine.Operation{one(0, Op{Kind: Swap, Key: key, Old: Absent, New: 8}, Result{})}, false},
		"overdrawn":            {[]porcupine.Operation{one(0, Op{Kind: Transfer, From: 0, To: 1, New: Opening + 1}, Result{})}, false},
		"refused":              {[]porcupine.Operation{one(0, Op{Kind: Transfer, From: 0, To: 1, New: Opening + 1}, Result{Failed: true}), one(2, Op{Kind: Balances}, Result{Balances: opening})}, true},
	} {
		if got := porcupine.CheckOperations(model, c.ops); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRandomMeetsEverything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[Kind]bool{}
	for range 200 {
		op := Random(r)
		seen[op.Kind] = true
		if op.Kind == Transfer && (op.From == op.To || op.From >= Accounts || op.To >= Accounts) {
			t.Errorf("%+v", op)
		}
	}
	if len(seen) != int(kinds) {
		t.Errorf("%d kinds, want %d", len(seen), kinds)
	}
}
