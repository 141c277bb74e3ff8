// Package storetest opens stores for the tests of what keeps its data in them.
// Only tests import it.
package storetest

import (
	"testing"

	"mote/internal/cloud/store"
)

// Open opens the store in dir, and closes it when the test ends unless the test
// has.
func Open(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}
