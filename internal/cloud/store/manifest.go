package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// damageAdvice says what to do about a store that cannot be opened as it was.
const damageAdvice = "keep a copy of the directory, check the disk and the memory of this machine, and restore the last good backup (mote restore); mote verify tells what else is damaged"

// DamageError says that files of the store are damaged or missing, so that it
// was not opened, and was not changed.
type DamageError struct{ Err error }

func (e *DamageError) Error() string { return e.Err.Error() }

// Unwrap returns what is damaged.
func (e *DamageError) Unwrap() error { return e.Err }

// explain says which files an error of opening the store in dir is about.
func explain(dir string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "replaying WAL"):
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for i := range logs {
			logs[i] = filepath.Base(logs[i])
		}
		return &DamageError{fmt.Errorf("a log of the store %s is damaged in its middle, one of %s: %s", dir, strings.Join(logs, ", "), text)}
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, pebble.ErrDBDoesNotExist):
		return &DamageError{fmt.Errorf("a file of the store %s is damaged or missing: %s", dir, text)}
	}
	return fmt.Errorf("open store %s: %w", dir, err)
}

// checkManifest refuses a store whose list of files is missing or damaged.
// Pebble takes a list for ended where it cannot read on, as it is after a
// crash, and removes the files that are not on it.
func checkManifest(dir string) error {
	if !IsStore(dir) {
		return nil
	}
	d, err := pebble.Peek(dir, vfs.Default)
	if err != nil {
		return explain(dir, err)
	}
	if !d.Exists {
		return &DamageError{fmt.Errorf("the store %s has files, and no marker that names its MANIFEST", dir)}
	}
	list, err := os.ReadFile(d.ManifestFilename)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamageError{fmt.Errorf("the store %s lacks its file %s", dir, filepath.Base(d.ManifestFilename))}
	}
	if err != nil {
		return err
	}
	if at, damaged := damagedChunk(list); damaged {
		return &DamageError{fmt.Errorf("the file %s of the store is damaged at byte %d", filepath.Base(d.ManifestFilename), at)}
	}
	return nil
}

// The format of Pebble's record package: blocks of 32 KiB hold chunks, each with
// a checksum of its type and data, their length and the type, and padding.
const (
	chunkHead    = 4 + 2 + 1
	chunkBlock   = 32 << 10
	maxChunkType = 4 // full, first, middle, last
)

// damagedChunk finds the first chunk that cannot be read although there is a
// whole one behind it. What a crash has cut off is at the end.
func damagedChunk(data []byte) (at int, damaged bool) {
	for at < len(data) {
		if chunkBlock-at%chunkBlock < chunkHead {
			at += chunkBlock - at%chunkBlock
			continue
		}
		n := wholeChunk(data, at)
		if n == 0 {
			break
		}
		at += n
	}
	if at == 0 && len(data) > 0 {
		return 0, true // the first is written before the marker names the file
	}
	for behind := at + 1; behind < len(data); behind++ {
		if wholeChunk(data, behind) > 0 {
			return at, true
		}
	}
	return at, false
}

// wholeChunk is the length of the chunk at a place, 0 when there is none.
func wholeChunk(data []byte, at int) int {
	room := min(len(data), at-at%chunkBlock+chunkBlock) - at
	if room < chunkHead || data[at+6] < 1 || data[at+6] > maxChunkType {
		return 0
	}
	n := chunkHead + int(binary.LittleEndian.Uint16(data[at+4:]))
	if n > room {
		return 0
	}
	c := crc32.Checksum(data[at+6:at+n], crc32.MakeTable(crc32.Castagnoli))
	if binary.LittleEndian.Uint32(data[at:]) != (c>>15|c<<17)+0xa282ead8 { // masked, as in LevelDB's log format
		return 0
	}
	return n
}
