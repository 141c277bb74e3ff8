package watch

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test of which only the failure counts.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		Until(t, "a second has passed", func() bool { return time.Since(begin) >= time.Second })
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("waited %v for one second", d)
		}
		f := &failing{TB: t}
		var wg sync.WaitGroup
		wg.Go(func() { Until(f, "pigs fly", func() bool { return false }) })
		wg.Wait()
		if !strings.Contains(f.said, "pigs fly") || time.Since(begin) < Patience {
			t.Errorf("%q after %v", f.said, time.Since(begin))
		}
	})
}

func TestLog(t *testing.T) {
	var l Log
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { l.Logger().Info("one line", "b", 1) })
		wg.Go(func() { _ = l.String() })
	}
	wg.Wait()
	if n := l.Count("one line"); n != 4 || strings.Count(l.String(), "\n") != 4 {
		t.Errorf("%d lines:\n%s", n, &l)
	}
}
