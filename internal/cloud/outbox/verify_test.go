package outbox

import (
	"context"
	"testing"
	"time"

	"mote/internal/cloud/store/storetest"
)

func TestVerify(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	k := laneKey{"http", "rule", "lane"}
	value := appendRecord(nil, &Entry{Kind: k.kind, Rule: k.rule, Lane: k.name, Added: time.Now(), Data: []byte("x")}, [8]byte{})
	b := st.NewBatch()
	b.Set(appendKey(nil, k.id(), 1), value)
	b.Set(appendKey(nil, k.id(), 2), value[:5])
	b.Set(append(append([]byte{}, asidePrefix...), 1), value[:5])
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(context.Background(), st)
	if err != nil || v.Waiting != 2 || v.Aside != 1 || v.Wrong != 1 || len(v.Faults) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}
