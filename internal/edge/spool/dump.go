package spool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DumpOptions configure [Dump]. The zero value writes text.
type DumpOptions struct {
	JSON bool // one JSON object a line instead of text
	FS   FS   // default OS
}

// Dump writes what the spool in dir holds: a line for each segment, then one
// for each of its records with its sequence, its offset, whether each reader
// has acknowledged it, and its data. It takes no lock and changes nothing, so
// it works on a spool in use too; a segment that is reused meanwhile is shown
// as far as it could be read. Acks that a running gateway has not saved yet
// are not seen.
func Dump(w io.Writer, dir string, opts DumpOptions) error {
	if opts.FS == nil {
		opts.FS = OS{}
	}
	d := dumper{fs: opts.FS, dir: dir, asJSON: opts.JSON, w: bufio.NewWriter(w)}
	segs, rest, err := scanDir(d.fs, dir, d.path)
	if err != nil {
		return fmt.Errorf("spool %s: dump: %w", dir, err)
	}
	if len(segs) == 0 && len(rest) == 0 {
		if !exists(d.fs, d.path(lockName)) {
			return fmt.Errorf("spool %s: dump: no spool there: want a directory with %s files", dir, segSuffix)
		}
	}
	d.acks, _ = d.saved(segs)
	for _, f := range rest {
		d.blank(f)
	}
	for _, seg := range segs {
		if err := d.segment(seg); err != nil {
			return err
		}
	}
	return d.w.Flush()
}

type dumper struct {
	fs     FS
	dir    string
	asJSON bool
	w      *bufio.Writer
	acks   []ackState
}

func (d *dumper) path(name string) string { return filepath.Join(d.dir, name) }

func exists(fsys FS, path string) bool {
	f, err := fsys.Open(path, false)
	return err == nil && f.Close() == nil
}

// saved returns the state that the next Open would start from: the acks, and the
// sequence of the next record.
func (d *dumper) saved(segs []*segment) ([]ackState, uint64) {
	if len(segs) == 0 {
		return nil, 1
	}
	seg := segs[len(segs)-1]
	m, err := d.survey(seg)
	if err != nil {
		return seg.head.acks, seg.head.base
	}
	return mergeAcks(seg.head.acks, m.acks), m.last + 1
}

// Left returns how many records wait in the spool in dir for the reader that has
// most to get, as far as its acks are saved; 0 when there is no spool. It takes no
// lock and changes nothing. For a spool that a process has open the error wraps
// [ErrLocked].
func Left(dir string) (waiting uint64, err error) {
	d := dumper{fs: OS{}, dir: dir}
	segs, _, err := scanDir(d.fs, dir, d.path)
	if err != nil || len(segs) == 0 {
		return 0, err
	}
	if used, err := inUse(d.path(lockName)); err != nil {
		return 0, err
	} else if used {
		return 0, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	first := segs[0].head.base
	acks, next := d.saved(segs)
	if len(acks) == 0 && next > first {
		return next - first, nil
	}
	for _, a := range acks {
		waiting = max(waiting, a.missing(first, next))
	}
	return waiting, nil
}

func (d *dumper) survey(seg *segment) (summary, error) {
	file, err := d.fs.Open(d.path(seg.name), false)
	if err != nil {
		return summary{}, err
	}
	defer file.Close()
	return newWalker(file, &seg.head, seg.end, seg.cap, nil).survey(), nil
}

// segmentLine is what a dump says of a segment.
type segmentLine struct {
	File       string     `json:"file"`
	Generation uint64     `json:"generation"`
	Base       uint64     `json:"base"`
	Records    int64      `json:"records"`
	Bytes      int64      `json:"bytes"` // of the records' data
	Size       int64      `json:"size"`  // of the file
	Damaged    []spanLine `json:"damaged,omitempty"`
	Unreadable int64      `json:"unreadable_blocks,omitempty"`
	Note       string     `json:"note,omitempty"`
}

type spanLine struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// blank writes the line of a file without a valid header.
func (d *dumper) blank(f found) {
	line := segmentLine{File: f.name, Generation: generationOf(f.name), Size: f.size, Note: "no valid header: blank, or torn while it was reused"}
	if f.err != nil {
		line.Note = f.err.Error()
	}
	d.segmentLine(line)
}

// segment writes the lines of one segment: one pass counts, the next prints.
func (d *dumper) segment(seg *segment) error {
	line := segmentLine{File: seg.name, Generation: seg.head.generation, Base: seg.head.base, Size: seg.head.size}
	m, err := d.survey(seg)
	if err != nil {
		line.Note = err.Error()
		d.segmentLine(line)
		return nil
	}
	line.Records, line.Bytes, line.Unreadable = m.records, m.bytes, m.unreadable
	for _, s := range m.spans {
		line.Damaged = append(line.Damaged, spanLine{s.from, s.to})
	}
	if len(m.spans) == maxSpans {
		line.Note = fmt.Sprintf("first %d damaged spans of %d bytes in all", maxSpans, m.damaged)
	}
	if now, err := scanFile(d.fs, d.path(seg.name)); err != nil || now.head.generation != seg.head.generation {
		line.Note = "reused by the running gateway while this was read"
	}
	d.segmentLine(line)
	return d.records(seg)
}

func (d *dumper) segmentLine(l segmentLine) {
	if d.asJSON {
		d.line(l)
		return
	}
	fmt.Fprintf(d.w, "%s  generation %d  base %d  records %d  bytes %d of %d", l.File, l.Generation, l.Base, l.Records, l.Bytes, l.Size)
	for _, s := range l.Damaged {
		fmt.Fprintf(d.w, "  damaged %d-%d", s.From, s.To-1)
	}
	if l.Unreadable > 0 {
		fmt.Fprintf(d.w, "  unreadable blocks %d", l.Unreadable)
	}
	if l.Note != "" {
		fmt.Fprintf(d.w, "  (%s)", l.Note)
	}
	fmt.Fprintln(d.w)
}

// line writes v as one line of JSON.
func (d *dumper) line(v any) {
	b, _ := json.Marshal(v)           // only our own structs come here
	_, _ = d.w.Write(append(b, '\n')) // Flush reports its error
}

func (d *dumper) records(seg *segment) error {
	file, err := d.fs.Open(d.path(seg.name), false)
	if err != nil {
		return nil // the gateway has removed it since
	}
	defer file.Close()
	walk := newWalker(file, &seg.head, seg.end, seg.cap, nil)
	for {
		rec, err := walk.step()
		switch {
		case err == io.EOF:
			return d.w.Flush() // ends the dump early when nobody reads it any more
		case err != nil:
			walk.skipBlock()
		case !rec.acks:
			d.record(rec)
		}
	}
}

func (d *dumper) record(rec record) {
	if d.asJSON {
		d.line(recordLine{rec.seq, rec.off, d.states(rec.seq), jsonData(rec.data)})
		return
	}
	fmt.Fprintf(d.w, "  %d @%d", rec.seq, rec.off)
	for _, a := range d.acks {
		fmt.Fprintf(d.w, " %s=%s", a.name, state(a, rec.seq))
	}
	fmt.Fprintf(d.w, " %s\n", textData(rec.data))
}

// recordLine is what a dump says of a record.
type recordLine struct {
	Seq     uint64            `json:"seq"`
	Offset  int64             `json:"offset"`
	Readers map[string]string `json:"readers"`
	Record  json.RawMessage   `json:"record"`
}

func (d *dumper) states(seq uint64) map[string]string {
	m := make(map[string]string, len(d.acks))
	for _, a := range d.acks {
		m[a.name] = state(a, seq)
	}
	return m
}

func state(a ackState, seq uint64) string {
	if first, _ := a.open(seq); first > seq {
		return "acked"
	}
	return "waiting"
}

// jsonData returns data when it is JSON, else the quoted text of it.
func jsonData(data []byte) json.RawMessage {
	if json.Valid(data) {
		return data
	}
	b, _ := json.Marshal(string(data)) // a string always marshals
	return b
}

// textData keeps a record on its line and away from the terminal's controls.
func textData(data []byte) string {
	text := string(data)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
