package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"mote/internal/cloud/store"
)

// Verified is what [Verify] has found.
type Verified struct {
	Waiting int64 // actions that are still to be performed
	Aside   int64 // entries that were set aside when they were met: they could not be read
	Faults  []string
	Wrong   int64 // entries that cannot be read, Faults tells the first ones
}

const maxFaults = 8

// Verify reads every entry in r. What is damaged is in the result; an error is
// a failure to read.
func Verify(ctx context.Context, r store.Reader) (v Verified, err error) {
	space := []byte{byte(store.SpaceOutbox)}
	it, err := r.Iterator(space, store.PrefixEnd(space))
	if err != nil {
		return v, err
	}
	defer it.Close()
	for it.First(); it.Valid() && ctx.Err() == nil; it.Next() {
		key := it.Key()
		if len(key) > 1 && key[1] == asidePrefix[1] {
			v.Aside++
			continue
		}
		if len(key) > 1 && key[1] == waitingPrefix[1] {
			v.Waiting++
		}
		if err := verifyEntry(key, it.Value()); err != nil {
			if v.Wrong++; v.Wrong <= maxFaults {
				v.Faults = append(v.Faults, fmt.Sprintf("the entry with the key %x: %v", key[:min(len(key), keyLen)], err))
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return v, err
	}
	return v, it.Error()
}

// verifyEntry holds one entry to its encoding, and to the lane it lies in.
func verifyEntry(key, value []byte) error {
	e, err := parseRecord(key, value)
	if err != nil {
		return err
	}
	id, seq, _ := splitKey(key)
	switch _, ok := e.laneOf(id); {
	case !bytes.HasPrefix(key, waitingPrefix):
		return errors.New("it lies where no entries are")
	case !ok:
		return errors.New("it lies in the lane of another destination")
	case seq == 0:
		return errors.New("it has no number")
	}
	return nil
}
