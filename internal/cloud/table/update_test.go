package table

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// FuzzUpdate feeds update expressions to the parser, and runs what it took:
// the new image must be one that the store can hold, and the old one stay.
func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{
		"SET a = :n + :n, list[0].b = if_not_exists(doc.a, :s) REMOVE #l[1], doc.b ADD ns :ns DELETE ss :ss", "SET #l = list_append(#l, :l), #l[9] = :n", "SET doc.a.b = (doc.b)",
		"remove #l[0] set #l[3] = ((:n))", "ADD dust :n, gone :ss", "SET SET = :n", "SET a = :n SET b = :n", "SET a = (:n - (dust))", "DELETE ss :ss, #l[0] :ns", "SET a.b = :n, a = :n", "set _a = \xff",
	} {
		f.Add(seed)
	}
	values := map[string]Value{":n": {Kind: N, Str: "1"}, ":s": String("S"), ":l": List(Null()), ":ss": {Kind: SS, Set: []string{"", "a"}}, ":ns": {Kind: NS, Set: []string{"1"}}}
	item := everyKind(f)
	item["dust"] = Value{Kind: N, Str: "35.2"}
	before := Map(everyKind(f))
	f.Fuzz(func(t *testing.T, src string) {
		u, err := parseUpdateChecked(src, newScope(map[string]string{"#l": "list"}, values))
		if err != nil {
			if message(err) == "" {
				t.Fatalf("%q gives %v", src, err)
			}
			return
		}
		for _, old := range []Item{item, nil} {
			next, err := u.run(old, Item{"id": String("1")})
			if err != nil {
				if message(err) == "" {
					t.Fatalf("%q gives %v", src, err)
				}
				continue
			}
			if _, err := checkItem(next); err != nil {
				t.Fatalf("%q makes %v: %v", src, next, err)
			}
			projectionTo(u.paths()).item(next)
		}
		delete(item, "dust")
		if now := Map(item); !equal(&now, &before) {
			t.Fatalf("%q changed the old image", src)
		}
		item["dust"] = Value{Kind: N, Str: "35.2"}
	})
}

// TestCountersLoseNothing lets writers add to one number at the same time:
// each must see its own sum, and none may be lost.
func TestCountersLoseNothing(t *testing.T) {
	db, _ := openDB(t)
	createAir(t, db)
	const writers, each = 8, 12
	seen := make([]map[string]bool, writers)
	var wg sync.WaitGroup
	for w := range writers {
		seen[w] = map[string]bool{}
		wg.Go(func() {
			for range each {
				r, err := db.UpdateItem(UpdateRequest{
					Table: "air", Key: Item{"id": String("1"), "time": String("t")}, Expression: new("ADD n :one"), Return: ReturnUpdatedNew,
					Condition: Condition{Values: map[string]Value{":one": number(t, "1")}},
				})
				if err != nil {
					t.Error(err)
					return
				}
				seen[w][r.Attributes["n"].Str] = true
			}
		})
	}
	wg.Wait()
	all := map[string]bool{}
	for _, s := range seen {
		for n := range s {
			all[n] = true
		}
	}
	if len(all) != writers*each || !all[fmt.Sprint(writers*each)] {
		t.Errorf("%d sums of %d", len(all), writers*each)
	}
}

func TestChangesOfOneBatchSeeEachOther(t *testing.T) {
	db, st := openDB(t)
	tab := createAir(t, db)
	key := Item{"id": String("1"), "time": String("t")}
	b := st.NewBatch()
	if err := db.Put(b, "air", reading("1", "t", "5")); err != nil {
		t.Fatal(err)
	}
	u, err := parseUpdateChecked("ADD dust :n", newScope(nil, map[string]Value{":n": number(t, "2")}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := tab.update(key, u)
		if err != nil {
			t.Fatal(err)
		}
		db.write(b, c)
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	got, err := db.GetItem(GetRequest{Table: "air", Key: key})
	if err != nil || got.Item["dust"].Str != "9" {
		t.Errorf("%v, %v", got.Item, err)
	}
}

func TestSyntaxesAreBoundedAndShared(t *testing.T) {
	c := syntaxCache{entries: map[syntaxKey]*syntax{}}
	parsed := 0
	parser := func(kind, text string) (*syntax, error) {
		if parsed++; text == "bad" {
			return nil, errors.New("bad")
		}
		return &syntax{}, nil
	}
	for i := range 3000 {
		if _, err := c.parse("k", fmt.Sprintf("%0200d", i), parser); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for key := range c.entries {
		total += len(key.text)
	}
	if total != c.bytes || total > maxCache || total < maxCache/2 {
		t.Errorf("%d bytes kept, %d counted", total, c.bytes)
	}
	parsed = 0
	first, _ := c.parse("k", "x", parser)
	again, _ := c.parse("k", "x", parser)
	other, _ := c.parse("l", "x", parser)
	if first != again || first == other || parsed != 2 {
		t.Errorf("parsed %d times", parsed)
	}
	_, _ = c.parse("k", "bad", parser)
	if _, err := c.parse("k", "bad", parser); err == nil || parsed != 4 {
		t.Errorf("a refused text was kept: %v", err)
	}
}

// TestOneTextForManyRequests holds that requests with the same text do not see
// each other's placeholders.
func TestOneTextForManyRequests(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprint("n", i)
			for range 200 {
				n, err := conditionOf("#a = :v AND NOT #a.#a = :v", map[string]string{"#a": name}, map[string]Value{":v": String(name)})
				if err != nil || !n.holds(Item{name: String(name)}) {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestActionsAreNoOperators updates more attributes at once than an expression
// may have operators: only sums and functions count.
func TestActionsAreNoOperators(t *testing.T) {
	many := func(right string) string {
		list := make([]string, maxOperators+1)
		for i := range list {
			list[i] = fmt.Sprintf("a%d=%s", i, right)
		}
		return "SET " + strings.Join(list, ",")
	}
	if _, err := parseUpdateChecked(many("b"), newScope(nil, nil)); err != nil {
		t.Error(err)
	}
	const want = "Invalid UpdateExpression: The expression contains too many operators; operator count: 301"
	if _, err := parseUpdateChecked(many("b+c"), newScope(nil, nil)); message(err) != want {
		t.Errorf("%v, not %s", err, want)
	}
}
