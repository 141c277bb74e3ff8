package table

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mote/internal/cloud/store"
)

// indexed is a table with one index of each kind and projection.
func indexed(name string) CreateRequest {
	return CreateRequest{
		Name: name, Billing: PayPerRequest,
		Attributes: []KeyAttr{{"h", S}, {"r", N}, {"g", S}, {"n", N}},
		Schema:     []KeyElement{{"h", "HASH"}, {"r", "RANGE"}},
		Local:      []IndexRequest{{Name: "local", Schema: []KeyElement{{"h", "HASH"}, {"n", "RANGE"}}, Projection: ProjectKeys}},
		Global: []IndexRequest{
			{Name: "all", Global: true, Schema: []KeyElement{{"g", "HASH"}, {"n", "RANGE"}}, Projection: ProjectAll},
			{Name: "some", Global: true, Schema: []KeyElement{{"g", "HASH"}}, Projection: ProjectSome, Include: []string{"x"}},
		},
	}
}

// itemModel is what a table should hold: its items by their key.
type itemModel map[string]Item

func (m itemModel) key(item Item) string { return item["h"].Str + "/" + item["r"].Str }

// randomItem returns an item that may lack the attributes of the indexes.
func randomItem(t *testing.T, r *rand.Rand) Item {
	item := Item{"h": String(fmt.Sprint("h", r.IntN(3))), "r": number(t, fmt.Sprint(r.IntN(12)-6)), "x": number(t, fmt.Sprint(r.IntN(3))), "y": String("other")}
	if r.IntN(4) > 0 {
		item["g"] = String(fmt.Sprint("g", r.IntN(3)))
	}
	if r.IntN(4) > 0 {
		item["n"] = number(t, fmt.Sprint(r.IntN(5)-2))
	}
	return item
}

// step makes one random change to the table and to the model.
func (m itemModel) step(t *testing.T, db *DB, st *store.Store, r *rand.Rand, name string) {
	t.Helper()
	item := randomItem(t, r)
	key := Item{"h": item["h"], "r": item["r"]}
	var err error
	switch r.IntN(6) {
	case 0:
		_, err = db.DeleteItem(DeleteRequest{Table: name, Key: key})
		delete(m, m.key(item))
	case 1:
		set, values := "REMOVE n SET x = :x", map[string]Value{":x": item["x"]}
		if v, ok := item["n"]; ok {
			set, values[":n"] = "SET n = :n, x = :x", v
		}
		_, err = db.UpdateItem(UpdateRequest{Table: name, Key: key, Expression: &set, Condition: Condition{Values: values}})
		next := maps.Clone(m[m.key(item)])
		if next == nil {
			next = maps.Clone(key)
		}
		next["x"] = item["x"]
		delete(next, "n")
		if v, ok := item["n"]; ok {
			next["n"] = v
		}
		m[m.key(item)] = next
	case 2:
		b := st.NewBatch()
		first := maps.Clone(item)
		first["g"] = String("first")
		err = db.Put(b, name, first)
		if err == nil {
			err = db.Put(b, name, item)
		}
		if err == nil {
			err = st.Commit(b)
		}
		m[m.key(item)] = item
	case 3:
		err = func() error {
			b := st.NewBatch()
			if err := db.SetAttribute(b, name, key, "g", String("set"), func(err error) { t.Error(err) }); err != nil {
				return err
			}
			return st.Commit(b)
		}()
		next := maps.Clone(m[m.key(item)])
		if next == nil {
			next = maps.Clone(key)
		}
		next["g"] = String("set")
		m[m.key(item)] = next
	default:
		_, err = db.PutItem(PutRequest{Table: name, Item: item})
		m[m.key(item)] = item
	}
	if err != nil {
		t.Fatal(err)
	}
}

// entriesOf returns what the index should hold, in its order.
func (m itemModel) entriesOf(x *Index) (all []Item) {
	for _, item := range m {
		in := true
		for _, k := range x.keys() {
			in = in && item[k.Name].Kind == k.Kind
		}
		if in {
			entry := Item{}
			for name, v := range item {
				if x.Projects(name) {
					entry[name] = v
				}
			}
			all = append(all, entry)
		}
	}
	order := slices.Concat(x.keys(), x.entries.tail)
	slices.SortFunc(all, func(a, b Item) int {
		for _, k := range order {
			v, w := a[k.Name], b[k.Name]
			if c := compareKeyValues(&v, &w); c != 0 {
				return c
			}
		}
		return 0
	})
	return all
}

// checkIndexes holds every index of the table to the model: what it stores,
// and what scans and queries of it give, page by page.
func (m itemModel) checkIndexes(t *testing.T, db *DB, r *rand.Rand, name string) {
	t.Helper()
	tab, err := db.Describe(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tab.Indexes {
		want := m.entriesOf(x)
		var got []Item
		q := ScanRequest{Reading: Reading{Table: name, Index: x.Name, Limit: 1 + r.IntN(7)}, Segments: 1 + r.IntN(4)}
		for q.Segment = range q.Segments {
			q.StartKey = nil
			for {
				p, err := db.Scan(q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p.Items...)
				if q.StartKey = p.LastKey; p.LastKey == nil {
					break
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("index %s: a scan gives %d items, want %d", x.Name, len(got), len(want))
		}
		m.checkIndexQuery(t, db, r, name, x, want)
	}
}

func (m itemModel) checkIndexQuery(t *testing.T, db *DB, r *rand.Rand, name string, x *Index, all []Item) {
	t.Helper()
	hashes := map[string]bool{"none": true}
	for _, item := range all {
		hashes[item[x.Hash.Name].Str] = true
	}
	for hash := range hashes {
		q := QueryRequest{KeyCondition: "#h = :h", Descending: r.IntN(2) == 0, Reading: Reading{
			Table: name, Index: x.Name, Limit: 1 + r.IntN(5), Names: map[string]string{"#h": x.Hash.Name}, Values: map[string]Value{":h": String(hash)}}}
		var want []Item
		low, high := number(t, fmt.Sprint(r.IntN(4)-2)), number(t, "1")
		op := []string{"", "=", "<", "<=", ">", ">=", "BETWEEN"}[r.IntN(7)]
		if x.Range == nil {
			op = ""
		}
		switch op {
		case "":
		case "BETWEEN":
			q.KeyCondition += " AND n BETWEEN :low AND :high"
			q.Values[":low"], q.Values[":high"] = low, high
		default:
			q.KeyCondition += " AND n " + op + " :low"
			q.Values[":low"] = low
		}
		for _, item := range all {
			n := item["n"]
			in := op == "" || op == "=" && equal(&n, &low) || op == "BETWEEN" && ordered(&n, &low, ">=") && ordered(&n, &high, "<=") ||
				strings.ContainsAny(op, "<>") && ordered(&n, &low, op)
			if item[x.Hash.Name].Str == hash && in {
				want = append(want, item)
			}
		}
		if q.Descending {
			slices.Reverse(want)
		}
		var got []Item
		for {
			p, err := db.Query(q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Items...)
			if q.StartKey = p.LastKey; p.LastKey == nil {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("index %s, %+v:\ngot  %v\nwant %v", x.Name, q, got, want)
		}
	}
}

func TestIndexesAgainstModel(t *testing.T) {
	db, st := openDB(t)
	if _, err := db.Create(indexed("model")); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	m := itemModel{}
	for i := range 400 {
		m.step(t, db, st, r, "model")
		if i%20 == 0 {
			m.checkIndexes(t, db, r, "model")
		}
	}
	m.checkIndexes(t, db, r, "model")
	if _, err := db.Delete("model"); err != nil {
		t.Fatal(err)
	}
	if n := spaceCount(t, st, store.SpaceIndex); n != 0 {
		t.Errorf("%d entries are left of a dropped table", n)
	}
}

func spaceCount(t *testing.T, st *store.Store, space store.Space) (n int) {
	t.Helper()
	it, err := st.Iterator([]byte{byte(space)}, []byte{byte(space) + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n
}

func TestLocalIndexFetchesWhatItDoesNotHold(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.Create(indexed("air")); err != nil {
		t.Fatal(err)
	}
	item := Item{"h": String("a"), "r": number(t, "1"), "n": number(t, "2"), "g": String("g"), "x": number(t, "3"), "y": String("why")}
	put, err := db.PutItem(PutRequest{Table: "air", Item: item})
	if err != nil || put.Units != 4 || len(put.Indexes) != 3 {
		t.Fatalf("%+v, %v", put, err)
	}
	for _, x := range db.tableNamed(t, "air").Indexes {
		if n := db.CountIndex(x); n.Items != 1 || n.Bytes == 0 {
			t.Errorf("index %s: counted %+v", x.Name, n)
		}
	}
	query := func(index, key string, f func(r *QueryRequest)) (Page, error) {
		q := QueryRequest{KeyCondition: key + " = :v", Reading: Reading{Table: "air", Index: index, Values: map[string]Value{":v": item[key]}}}
		f(&q)
		return db.Query(q)
	}
	p, err := query("local", "h", func(*QueryRequest) {})
	if err != nil || len(p.Items) != 1 || len(p.Items[0]) != 3 || p.Units != 0.5 {
		t.Errorf("keys only: %+v, %v", p, err)
	}
	p, err = query("local", "h", func(r *QueryRequest) { r.AllAttributes, r.Consistent = true, true })
	if err != nil || !reflect.DeepEqual(p.Items, []Item{item}) || p.Units != 2 || p.Index.Units != 1 {
		t.Errorf("all attributes: %+v, %v", p, err)
	}
	filter, want := "y = :y", "x"
	p, err = query("local", "h", func(r *QueryRequest) { r.Filter, r.Projection, r.Values[":y"] = &filter, &want, item["y"] })
	if err != nil || len(p.Items) != 1 || len(p.Items[0]) != 1 {
		t.Errorf("filter and projection: %+v, %v", p, err)
	}
	y := "y"
	for _, c := range []struct {
		index, want string
		f           func(r *QueryRequest)
	}{
		{"some", "Select type ALL_ATTRIBUTES is not supported for global secondary index some because its projection type is not ALL", func(r *QueryRequest) { r.AllAttributes = true }},
		{"some", "Global secondary index some does not project [y]", func(r *QueryRequest) { r.Projection = &y }},
		{"all", "Consistent reads are not supported on global secondary indexes", func(r *QueryRequest) { r.Consistent = true }},
		{"none", "The table does not have the specified index: none", func(*QueryRequest) {}},
		{"all", "The provided starting key is invalid", func(r *QueryRequest) { r.StartKey = Item{"g": item["g"], "n": item["n"]} }},
	} {
		if _, err := query(c.index, "g", c.f); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.index, err, c.want)
		}
	}
}

func TestIndexKeysAreChecked(t *testing.T) {
	db, st := openDB(t)
	if _, err := db.Create(indexed("air")); err != nil {
		t.Fatal(err)
	}
	base := Item{"h": String("a"), "r": number(t, "1")}
	bad := func(name string, v Value) Item {
		item := maps.Clone(base)
		item[name] = v
		return item
	}
	const typed = "One or more parameter values were invalid: Type mismatch for Index Key n Expected: N Actual: S IndexName: all"
	const empty = "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: all, IndexKey: g"
	for _, c := range []struct {
		item Item
		want string
	}{{bad("n", String("x")), typed}, {bad("g", String("")), empty}, {bad("g", String(strings.Repeat("x", 2049))), "2048 bytes"}} {
		b := st.NewBatch()
		_, err := db.PutItem(PutRequest{Table: "air", Item: c.item})
		_, batchErr := db.WriteBatch([]BatchWrite{{Table: "air", Item: c.item}}, false)
		members := []Member{}
		for name, v := range c.item {
			members = append(members, Member{name, v})
		}
		for _, err := range []error{err, batchErr, db.Put(b, "air", c.item), db.PutMembers(b, "air", members)} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		}
		b.Discard()
	}
	for set, want := range map[string]string{"SET n = :v": typed, "SET n = if_not_exists(absent, :v)": "attempted to update the secondary index key to unsupported type"} {
		_, err := db.UpdateItem(UpdateRequest{Table: "air", Key: base, Expression: &set, Condition: Condition{Values: map[string]Value{":v": String("x")}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", set, err, want)
		}
	}
	b := st.NewBatch()
	defer b.Discard()
	if err := db.SetAttribute(b, "air", base, "n", String("x"), nil); err == nil || !strings.Contains(err.Error(), typed) {
		t.Error(err)
	}
	if n := spaceCount(t, st, store.SpaceItem); n != 0 {
		t.Errorf("%d items were written", n)
	}
}

func TestCreateTableRefusesBadIndexes(t *testing.T) {
	db, _ := openDB(t)
	for want, f := range map[string]func(r *CreateRequest){
		"List of LocalSecondaryIndexes is empty":                                                func(r *CreateRequest) { r.Local = []IndexRequest{} },
		"List of GlobalSecondaryIndexes is empty":                                               func(r *CreateRequest) { r.Global = []IndexRequest{} },
		"Duplicate index name: all":                                                             func(r *CreateRequest) { r.Global[1].Name = "all" },
		"Unknown ProjectionType: null":                                                          func(r *CreateRequest) { r.Global[0].Projection = "" },
		"ProjectionType is ALL, but NonKeyAttributes is specified":                              func(r *CreateRequest) { r.Global[0].Include = []string{"a"} },
		"Some index key attributes are not defined in AttributeDefinitions. Keys: [no], Attrib": func(r *CreateRequest) { r.Global[1].Schema[0].Name = "no" },
		"Index KeySchema does not have a range key for index: local":                            func(r *CreateRequest) { r.Local[0].Schema = r.Local[0].Schema[:1] },
		"index hash key: g, table hash key: h":                                                  func(r *CreateRequest) { r.Local[0].Schema[0].Name = "g" },
		"ProvisionedThroughput should not be specified for index: all":                          func(r *CreateRequest) { r.Global[0].HasProvision = true },
		"Some AttributeDefinitions are not used. AttributeDefinitions: [h, r, g, n], keys used": func(r *CreateRequest) { r.Local, r.Global = nil, r.Global[1:] },
		"per-table limit of 5":                                                                  func(r *CreateRequest) { r.Local = many(r.Local[0], 6) },
		"per-table limit of 20":                                                                 func(r *CreateRequest) { r.Global = many(r.Global[0], 21) },
	} {
		r := indexed("air")
		f(&r)
		if _, err := db.Create(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func many(x IndexRequest, n int) (all []IndexRequest) {
	for i := range n {
		x.Name = fmt.Sprint("index", i)
		all = append(all, x)
	}
	return all
}

// TestIndexesSurviveReopen holds tables that use nothing new to the
// catalogue's first version, and tables with indexes to what they were made as.
func TestIndexesSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	db, st := openAt(t, dir)
	if _, err := db.Create(indexed("air")); err != nil {
		t.Fatal(err)
	}
	plain := indexed("plain")
	plain.Local, plain.Global, plain.Attributes = nil, nil, plain.Attributes[:2]
	if _, err := db.Create(plain); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	m := itemModel{}
	for range 50 {
		m.step(t, db, st, r, "air")
	}
	data, _, err := st.Get(catalogueKey("plain"))
	if err != nil || !bytes.HasPrefix(data, []byte(`{"version":1,`)) {
		t.Errorf("record %s, %v", data, err)
	}
	closeDB(t, db, st)
	db, st = openAt(t, dir)
	defer closeDB(t, db, st)
	m.checkIndexes(t, db, r, "air")
	for range 50 {
		m.step(t, db, st, r, "air")
	}
	m.checkIndexes(t, db, r, "air")
}

func closeDB(t *testing.T, db *DB, st *store.Store) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
