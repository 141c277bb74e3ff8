package throttle

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lines
		want := func(wantOK bool, wantMissed int64) {
			t.Helper()
			if ok, missed := l.Allow(); ok != wantOK || missed != wantMissed {
				t.Errorf("%v with %d left out, want %v with %d", ok, missed, wantOK, wantMissed)
			}
		}
		want(true, 0)
		for range 1000 {
			want(false, 0)
		}
		time.Sleep(time.Second)
		want(true, 1000)
		want(false, 0)
	})
}
