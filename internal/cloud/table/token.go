package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"mote/internal/cloud/store"
)

// TokenLife is how long a token keeps a transaction from being done again
// (TransactWriteItems, ClientRequestToken).
const TokenLife = 10 * time.Minute

// maxDue is how many tokens that are out of date a transaction removes. It is
// more than the one that it adds, so that they do not pile up.
const maxDue = 4

// The keys of tokens; FORMAT.md says what is in them.
const (
	tokenRecords = 'r' // then the token
	tokenEnds    = 'e' // then the end of its life, 8 bytes, and the token
	tokenVersion = 1
	tokenSize    = 1 + 8 + 32 // version, end, fingerprint
)

// tokens are the tokens of the transactions of the last minutes. They are in
// the store only, in the batches of their transactions.
type tokens struct {
	swept atomic.Int64 // no token ended before: where the search for those that are due begins
}

// dueToken is a token whose life may have ended, as its place among the ends
// says.
type dueToken struct {
	ends  int64 // Unix nanoseconds
	token string
}

func recordKey(token string) []byte {
	return append([]byte{byte(store.SpaceToken), tokenRecords}, token...)
}

func endKey(ends int64, token string) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(store.SpaceToken), tokenEnds}, uint64(ends))
	return append(key, token...)
}

// due returns some tokens that are out of date.
func (k *tokens) due(st *store.Store) (list []dueToken, err error) {
	now := time.Now().UnixNano()
	swept := k.swept.Load()
	it, err := st.Iterator(endKey(swept, ""), endKey(now, ""))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok && len(list) < maxDue; ok = it.Next() {
		if len(it.Key()) < 10 {
			return nil, errDamaged
		}
		list = append(list, dueToken{int64(binary.BigEndian.Uint64(it.Key()[2:])), string(it.Key()[10:])})
	}
	if len(list) > 0 {
		// Those before it are gone; it may stay, when the batch that removes it is given up.
		k.swept.CompareAndSwap(swept, list[0].ends)
	}
	return list, it.Error()
}

// known says whether a transaction with the token was done within TokenLife,
// and refuses one with other parameters.
func (k *tokens) known(b *store.Batch, token string, fingerprint [32]byte) (bool, error) {
	if token == "" {
		return false, nil
	}
	record, found, err := b.Get(recordKey(token))
	if err != nil || !found {
		return false, err
	}
	ends, print, err := readToken(record)
	if err != nil || ends <= time.Now().UnixNano() {
		return false, err
	}
	if !bytes.Equal(print, fingerprint[:]) {
		return false, &Error{Code: CodeMismatch, Message: "the ClientRequestToken was used within the last 10 minutes for a transaction with other parameters: take a new one"}
	}
	return true, nil
}

func readToken(record []byte) (ends int64, print []byte, err error) {
	if len(record) != tokenSize || record[0] != tokenVersion {
		return 0, nil, errors.New("the record of a transaction's token is damaged, or of a newer mote")
	}
	return int64(binary.BigEndian.Uint64(record[1:])), record[9:], nil
}

// note adds to b the token of its transaction, if it has one, and the removal
// of those that are due.
func (k *tokens) note(b *store.Batch, token string, fingerprint [32]byte, due []dueToken) error {
	for _, d := range due {
		record, found, err := b.Get(recordKey(d.token))
		if err != nil {
			return err
		}
		b.Delete(endKey(d.ends, d.token))
		if !found {
			continue
		}
		if ends, _, err := readToken(record); err != nil {
			return err
		} else if ends == d.ends { // else it was used again since
			b.Delete(recordKey(d.token))
		}
	}
	if token == "" {
		return nil
	}
	ends := time.Now().Add(TokenLife).UnixNano()
	record := binary.BigEndian.AppendUint64([]byte{tokenVersion}, uint64(ends))
	b.Note(recordKey(token), append(record, fingerprint[:]...)) // the transaction may only remove items
	b.Note(endKey(ends, token), nil)
	return nil
}
