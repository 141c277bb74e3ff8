package clock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mote/internal/reading"
)

// The file of the state and its format.
const (
	stateName    = "clock.json"
	stateVersion = 1
	maxState     = 1 << 20
	mostBoots    = 1000
)

// state is what is known for good. FORMAT.md describes it.
type state struct {
	Version int       `json:"version"`
	High    time.Time `json:"high"` // no time after it was given out by the wall clock
	Boots   []boot    `json:"boots"`
}

// boot is when a boot was. It never changes once it is written down.
type boot struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`                  // the wall clock at 0 of the clock since boot
	Apart     bool      `json:"apart,omitempty"`     // its times may have been given out before
	Uncertain bool      `json:"uncertain,omitempty"` // estimated
}

func (b *boot) wall(up time.Duration) time.Time { return b.At.Add(up) }

// apart is added to the microseconds of times that may have been given out
// before: the sequence numbers of other times are smaller.
const apart = 500 * time.Microsecond

// final returns r, whose time is since the boot, with its final time.
func (b *boot) final(r reading.Reading) reading.Reading {
	r.Time = b.wall(time.Duration(r.Time.UnixNano())).UTC()
	if b.Apart {
		r.Time = r.Time.Add(apart)
	}
	if b.Uncertain {
		r.Fields = append(r.Fields, reading.Field{Name: "time_uncertain", Text: "true"})
	}
	return r
}

func (s *state) find(id string) *boot {
	if i := slices.IndexFunc(s.Boots, func(b boot) bool { return b.ID == id }); i >= 0 {
		return &s.Boots[i]
	}
	return nil
}

func (s *state) clone() state {
	out := *s
	out.Boots = slices.Clone(s.Boots)
	if n := len(out.Boots); n > mostBoots {
		out.Boots = out.Boots[n-mostBoots:]
	}
	return out
}

// prune forgets all boots but this one.
func (s *state) prune(id string) {
	s.Boots = slices.DeleteFunc(slices.Clone(s.Boots), func(b boot) bool { return b.ID != id })
}

// load reads the state in dir; there may be none yet.
func load(dir string) (state, error) {
	s, path := state{Version: stateVersion}, filepath.Join(dir, stateName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && info.Size() > maxState {
		return s, fmt.Errorf("%s has %d bytes; it is not the clock's state", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("the clock's state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s is damaged (%w): remove it; readings that wait for the time may then come twice", path, err)
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("%s has format version %d, this program knows %d: use a newer mote", path, s.Version, stateVersion)
	}
	return s, nil
}

// save replaces the state in dir; it is on the device when save returns nil.
func (s *state) save(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateName)
	if err := writeSynced(path+".tmp", append(data, '\n')); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A record is the version, the boot's id and the reading's JSON.
const (
	recordVersion = 1
	bootBytes     = 36 // a UUID in text
)

func encode(boot string, r reading.Reading) []byte {
	out := append(make([]byte, 0, 256), recordVersion)
	out = append(out, boot[:min(len(boot), bootBytes)]...)
	for len(out) < 1+bootBytes {
		out = append(out, ' ')
	}
	return r.AppendJSON(out)
}

func decode(record []byte) (boot string, r reading.Reading, err error) {
	if len(record) < 1+bootBytes || record[0] != recordVersion {
		return "", r, errors.New("it is not in format version 1")
	}
	err = r.UnmarshalJSON(record[1+bootBytes:])
	return string(record[1 : 1+bootBytes]), r, err
}
