package table

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mote/internal/cloud/store"
)

const (
	benchSize   = 122 // bytes of an item, as DynamoDB counts them
	benchBoards = 1000
)

// benchItem is what boards send; three of its ten parts are random digits,
// which compress to half at best.
func benchItem(rng *rand.Rand, n int) []Member {
	number := func(whole, from int) Value {
		return Value{Kind: N, Str: fmt.Sprintf("%d.%d", from+rng.IntN(whole), 1+rng.IntN(9))}
	}
	return []Member{
		{"id", String(fmt.Sprintf("dev-%04d", n%benchBoards))}, {"time", String(benchTime(n))},
		{"dust", number(90, 10)}, {"temp", number(30, 10)}, {"humid", Value{Kind: N, Str: fmt.Sprint(31 + rng.IntN(9))}},
		{"rate", Value{Kind: N, Str: "7"}}, {"site", String(fmt.Sprintf("building-%d-nw", rng.IntN(10)))},
		{"trace", String(fmt.Sprintf("%016x%016x%03x", rng.Uint64(), rng.Uint64(), rng.IntN(1<<12)))},
	}
}

// benchTime is the sort key of the n-th item: every board sends once a minute.
func benchTime(n int) string {
	return time.Unix(int64(1_700_000_000+n/benchBoards*60), 0).UTC().Format("2006-01-02T15:04:05.000Z")
}

// benchItems are items of seven minutes, for others to be made of: a live heap
// much larger than that would make garbage collection cheaper than it is.
func benchItems() [][]Member {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([][]Member, 7*benchBoards)
	for i := range list {
		list[i] = benchItem(rng, i)
	}
	return list
}

func TestBenchItemHasTheSizeThatTheFiguresName(t *testing.T) {
	for n := range 50 {
		if size, err := checkItem(itemOf(benchItem(rand.New(rand.NewPCG(1, 2)), n))); size != benchSize || err != nil {
			t.Errorf("%d bytes, %v", size, err)
		}
	}
}

// cpuTime is user and system time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs commit b.N times and reports the CPU for each of the items
// that one commit has.
func measure(b *testing.B, items int, commit func(n int)) {
	commit(0)
	b.ResetTimer()
	cpu := cpuTime()
	for n := range b.N {
		commit(n + 1)
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(b.N*items), "cpu-µs/item")
}

var benchGroups = []int{1, 64, 1024}

// BenchmarkRawAppend is the limit: the bytes of the items, written and synced
// into a growing file.
func BenchmarkRawAppend(b *testing.B) {
	for _, group := range benchGroups {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			data := bytes.Repeat([]byte(strings.Repeat("r", benchSize)), group)
			measure(b, group, func(int) {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := syscall.Fdatasync(int(f.Fd())); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkPut puts groups of items that come as maps, one commit each.
func BenchmarkPut(b *testing.B) {
	var items []Item
	for _, m := range benchItems() {
		items = append(items, itemOf(m))
	}
	benchmarkPut(b, func(db *DB, batch *store.Batch, n int, at Value) error {
		item := items[n%len(items)]
		item["time"] = at
		return db.Put(batch, "air", item)
	})
}

// BenchmarkPutMembers is the same for items that come as lists.
func BenchmarkPutMembers(b *testing.B) {
	items := benchItems()
	benchmarkPut(b, func(db *DB, batch *store.Batch, n int, at Value) error {
		item := items[n%len(items)]
		item[1].Value = at
		return db.PutMembers(batch, "air", item)
	})
}

func benchmarkPut(b *testing.B, put func(db *DB, batch *store.Batch, n int, at Value) error) {
	for _, group := range benchGroups {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			db, st := openDB(b)
			createAir(b, db)
			var at Value
			measure(b, group, func(n int) {
				batch := st.NewBatch()
				for i := n * group; i < (n+1)*group; i++ {
					if i%benchBoards == 0 || i == n*group {
						at = String(benchTime(i))
					}
					if err := put(db, batch, i, at); err != nil {
						b.Fatal(err)
					}
				}
				if err := st.Commit(batch); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkQuery reads 1,000 items of a board among others.
func BenchmarkQuery(b *testing.B) {
	db, st := openDB(b)
	createAir(b, db)
	rng := rand.New(rand.NewPCG(1, 2))
	for first := 0; first < 100_000; first += 1000 {
		batch := st.NewBatch()
		for n := first; n < first+1000; n++ {
			m := benchItem(rng, n)
			m[0].Value = String(fmt.Sprintf("dev-%04d", n%50))
			m[1].Value = String(benchTime(n / 50 * benchBoards))
			if err := db.PutMembers(batch, "air", m); err != nil {
				b.Fatal(err)
			}
		}
		if err := st.Commit(batch); err != nil {
			b.Fatal(err)
		}
	}
	r := QueryRequest{Reading: Reading{Table: "air", Values: Item{":i": String("dev-0007"), ":a": String(benchTime(500 * benchBoards)), ":b": String(benchTime(1499 * benchBoards))},
		Names: map[string]string{"#t": "time"}}, KeyCondition: "id = :i AND #t BETWEEN :a AND :b"}
	for _, way := range []string{"maps", "rows"} {
		b.Run(way, func(b *testing.B) {
			if r.Each = nil; way == "rows" {
				r.Each = func([]Member) {}
			}
			b.ReportAllocs()
			measure(b, 1000, func(int) {
				page, err := db.Query(r)
				if err != nil || page.Count != 1000 {
					b.Fatal(page.Count, err)
				}
			})
		})
	}
}
