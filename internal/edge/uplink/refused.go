package uplink

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// maxRefusedFile is how large the file of refused records grows, in bytes,
// before it becomes the old one. Tests lower it.
var maxRefusedFile int64 = 8 << 20

// Refused keeps the records that can never be delivered, so that they are not
// lost and do not stop the others: one JSON object per line in a file,
//
//	{"at":"2026-11-22T10:15:31Z","uplink":"iot","reason":"…","record":{…}}
//
// The record is text when it is not JSON. At 8 MiB the file is renamed to
// File.old, which replaces the one before. Everything refused is logged too.
type Refused struct {
	File   string // "" keeps them in the log only
	Uplink string // the uplink's name
	Log    *slog.Logger

	mu    sync.Mutex // held while writing the file
	count uint64     // guarded by mu
}

type refusedLine struct {
	At     time.Time `json:"at"`
	Uplink string    `json:"uplink"`
	Reason string    `json:"reason"`
	Record any       `json:"record"`
}

// Add keeps record. When the file cannot be written, the record is in the log
// alone.
func (r *Refused) Add(record []byte, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if r.File != "" {
		err := r.write(record, reason)
		if err == nil {
			r.Log.Warn("record refused", "reason", reason, "file", r.File)
			return
		}
		r.Log.Error("cannot keep refused records: free the disk or set another file", "file", r.File, "error", err)
	}
	r.Log.Warn("record refused", "reason", reason, "record", fmt.Sprintf("%.4000q", record))
}

// Count is how many records were refused since the start.
func (r *Refused) Count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *Refused) write(record []byte, reason string) error {
	line := refusedLine{At: time.Now().UTC().Truncate(time.Second), Uplink: r.Uplink, Reason: reason, Record: printable(record)}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if info, err := os.Stat(r.File); err == nil && info.Size()+int64(len(text)) >= maxRefusedFile {
		if err := os.Rename(r.File, r.File+".old"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(r.File, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// printable is how a record is written into a JSON line.
func printable(record []byte) any {
	if json.Valid(record) {
		return json.RawMessage(record)
	}
	if utf8.Valid(record) {
		return string(record)
	}
	return fmt.Sprintf("%x", record)
}
