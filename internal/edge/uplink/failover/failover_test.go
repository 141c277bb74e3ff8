package failover

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/watch"
)

// road is an uplink under the test's control.
type road struct {
	name string

	mu        sync.Mutex
	state     string // guarded by mu; "works", "down": asks for nothing, "mute": takes records and never delivers, "dies": Run returns
	got       []string
	delivered uint64
	running   int
	most      int // that ran at the same time
}

func (r *road) set(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

func (r *road) now() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *road) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *road) Name() string { return r.name }

func (r *road) Status() uplink.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uplink.Status{Connected: r.state == "works", Delivered: r.delivered}
}

func (r *road) Run(ctx context.Context, q uplink.Queue) error {
	r.mu.Lock()
	r.running++
	r.most = max(r.most, r.running)
	r.mu.Unlock()
	defer func() { r.mu.Lock(); r.running--; r.mu.Unlock() }()
	q.Rewind()
	for ctx.Err() == nil {
		switch r.now() {
		case "dies":
			return errors.New("broken")
		case "down":
			uplink.Sleep(ctx, 100*time.Millisecond)
			continue
		}
		seq, record, err := q.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				return err
			}
			return nil
		}
		for ctx.Err() == nil && r.now() != "works" {
			uplink.Sleep(ctx, 100*time.Millisecond)
		}
		if ctx.Err() != nil {
			return nil
		}
		r.mu.Lock()
		r.got = append(r.got, string(record))
		r.delivered++
		r.mu.Unlock()
		q.Ack(seq)
	}
	return nil
}

func start(t *testing.T, q uplink.Queue, roads ...*road) (*Group, *watch.Log) {
	t.Helper()
	log := &watch.Log{}
	o := Options{After: 10 * time.Second, Log: log.Logger()}
	for _, r := range roads {
		o.Uplinks = append(o.Uplinks, r)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	uplinktest.Run(t, g, q)
	return g, log
}

func TestTheNextCarriesUntilTheFirstWorksAgain(t *testing.T) {
	for _, failure := range []string{"down", "mute", "dies"} {
		t.Run(failure, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := &road{name: "iot", state: "works"}, &road{name: "rest", state: "works"}
				q := &uplinktest.Queue{}
				g, log := start(t, q, first, second)
				feed := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
						q.AppendReadings(1, "1")
					}
				}
				feed(20 * time.Second)
				if first.count() != 20 || second.count() != 0 {
					t.Fatalf("first %d, second %d of 20", first.count(), second.count())
				}
				first.set(failure)
				feed(9 * time.Second)
				if second.count() != 0 {
					t.Error("the second took over too early")
				}
				feed(15 * time.Second)
				if g.Status().Carrier != "rest" || second.count() < 20 {
					t.Errorf("%+v, second %d", g.Status(), second.count())
				}
				first.set("works")
				feed(30 * time.Second)
				if g.Status().Carrier != "iot" {
					t.Errorf("%+v", g.Status())
				}
				before := second.count()
				feed(20 * time.Second)
				if second.count() != before {
					t.Error("the second carries still")
				}
				if err := q.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
				all := map[string]bool{}
				for _, r := range append(first.got, second.got...) {
					all[r] = true
				}
				if extra := first.count() + second.count() - 94; extra < 0 || extra > 3 || len(all) != 1 {
					t.Errorf("%d deliveries of 94 records", first.count()+second.count())
				}
				if first.most > 1 || second.most > 1 {
					t.Error("an uplink ran twice at the same time")
				}
				if n := log.Count("another uplink carries"); n != 2 {
					t.Errorf("%d changes\n%s", n, log)
				}
			})
		})
	}
}

// While nothing waits, an uplink that does not work is no reason to change; a
// single record is.
func TestNothingHappensWhileNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &road{name: "iot", state: "down"}, &road{name: "rest", state: "works"}
		q := &uplinktest.Queue{}
		g, _ := start(t, q, first, second)
		time.Sleep(time.Hour)
		if g.Status().Carrier != "iot" {
			t.Error("changed without a reason")
		}
		q.AppendReadings(1, "1")
		time.Sleep(9 * time.Second)
		if second.count() != 0 {
			t.Error("too early")
		}
		time.Sleep(3 * time.Second)
		if second.count() != 1 || q.Acked() != 1 {
			t.Errorf("%d delivered", second.count())
		}
	})
}

func TestAllDownLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		roads := []*road{{name: "iot", state: "mute"}, {name: "rest", state: "down"}, {name: "dynamodb", state: "dies"}}
		q := &uplinktest.Queue{}
		g, log := start(t, q, roads...)
		q.AppendReadings(50, "1", "2")
		time.Sleep(10 * time.Minute)
		if q.Acked() != 0 {
			t.Error("acknowledged without a delivery")
		}
		if n := log.Count("another uplink carries"); n < 20 || n > 61 {
			t.Errorf("%d changes in ten minutes", n)
		}
		roads[2].set("works")
		if err := q.Empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		if roads[2].count() != 100 || g.Status().Delivered != 100 {
			t.Errorf("%d of 100", roads[2].count())
		}
	})
}

// A trial does not disturb the one that carries: nothing is delivered twice but
// the record that the trial is made with.
func TestTrialsDoNotDelayTheOneThatCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &road{name: "iot", state: "mute"}, &road{name: "rest", state: "works"}
		q := &uplinktest.Queue{}
		start(t, q, first, second)
		q.AppendReadings(1, "1")
		time.Sleep(12 * time.Second)
		for range 600 {
			q.AppendReadings(1, "1")
			time.Sleep(time.Second)
			if q.Acked() != second.count() {
				t.Fatalf("%d acknowledged, %d delivered", q.Acked(), second.count())
			}
		}
		if second.count() != 601 {
			t.Errorf("%d of 601", second.count())
		}
	})
}

type brokenQueue struct{ uplinktest.Queue }

func (*brokenQueue) Next(context.Context) (uint64, []byte, error) {
	return 0, nil, errors.New("no disk")
}

func TestTheQueuesErrorEndsRun(t *testing.T) {
	g, err := New(Options{Uplinks: []Uplink{&road{name: "a", state: "works"}, &road{name: "b", state: "works"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context(), &brokenQueue{}); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Error(err)
	}
	if _, err := New(Options{Uplinks: []Uplink{&road{}}}); err == nil {
		t.Error("one uplink is no group")
	}
}
