package frame

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scan feeds the pieces one after another and writes down what comes out.
func scan(f *Format, pieces ...[]byte) (events []string, skipped int64) {
	s := f.NewScanner()
	onFrame := func(fr Frame) {
		line := fr.ID
		for _, v := range fr.Fields {
			line += " " + v.Text
		}
		events = append(events, line+" rate="+fr.Rate)
	}
	onReject := func(r Reject) {
		events = append(events, fmt.Sprintf("reject %d %q: %v", r.Length, r.Data, r.Reason))
	}
	for _, p := range pieces {
		s.Feed(p, onFrame, onReject)
	}
	s.End(onReject)
	return events, s.Skipped()
}

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name, pattern, in string
		want              []string
		skipped           int64
	}{
		{"one", "{id:d}", "{1:2}", []string{"1 2 rate="}, 0},
		{"merged", "{id:d}", "{1:2}{2:3}\r\n{3:4}", []string{"1 2 rate=", "2 3 rate=", "3 4 rate="}, 2},
		{"noise around", "{id:d}", "\xff\x00}}1:2}{1:2}zz", []string{"1 2 rate="}, 10},
		{"restart", "{id:d}", "{1:{2:3}", []string{`reject 3 "{1:": a new frame began before this one ended`, "2 3 rate="}, 0},
		{"only marks", "{id:d}", "{{{{1:2}", []string{"1 2 rate="}, 3},
		{"empty", "{id:d}", "{}{1:2}", []string{`reject 2 "{}": it is empty`, "1 2 rate="}, 0},
		{"cut at the end", "{id:d}", "{1:2}{1:", []string{"1 2 rate=", `reject 3 "{1:": the connection ended inside the frame`}, 0},
		{"mark at the end", "{id:d}", "{1:2}{", []string{"1 2 rate="}, 1},
		{"too long", "{id:d}", "{1:" + strings.Repeat("9", 17) + "{1:2}", []string{`reject 16 "{1:9999999999999": no closing mark came within the longest frame`, "1 2 rate="}, 4},
		{"longest", "{id:d}", "{1:" + strings.Repeat("9", 12) + "}", []string{"1 " + strings.Repeat("9", 12) + " rate="}, 0},
		{"long marks overlap", "<<id:d>>", "<<<1:2>>><<1:<<<3:4>>", []string{"1 2 rate=", `reject 4 "<<1:": a new frame began before this one ended`, "3 4 rate="}, 3},
		{"half a mark at the overflow", "<<id:d>>", "<<1:" + strings.Repeat("9", 11) + "<<1:2>>", []string{`reject 15 "<<1:99999999999": no closing mark came within the longest frame`, "1 2 rate="}, 0},
		{"half a closing mark", "<<id:d>>", "<<1:2>3>>", []string{"1 2>3 rate="}, 0},
		{"lines", "id,d\n", "rtial,7\n1,2\n\n2,3\n3,", []string{"1 2 rate=", "2 3 rate=", `reject 2 "3,": the connection ended inside the frame`}, 9},
		{"a long line", "id,d\n", "\n1," + strings.Repeat("9", 30) + "\n1,2\n", []string{`reject 16 "1,99999999999999": no closing mark came within the longest frame`, "1 2 rate="}, 18},
		{"a long line cut in its end", "id,d\r\n", "\r\n1," + strings.Repeat("9", 13) + "\r\n1,2\r\n", []string{`reject 15 "1,9999999999999": no closing mark came within the longest frame`, "1 2 rate="}, 4},
	} {
		got, skipped := scan(mustCompile(t, c.pattern, Options{Max: 16}), []byte(c.in))
		if !slices.Equal(got, c.want) || skipped != c.skipped {
			t.Errorf("%s: %q\n got %q, %d skipped\nwant %q, %d", c.name, c.in, got, skipped, c.want, c.skipped)
		}
	}
}

func TestRejectIsBoundedAndPrintable(t *testing.T) {
	f := mustCompile(t, "{id:d}", Options{Max: 4096})
	f.NewScanner().Feed([]byte("{\x1b[2J\u202e\xff"+strings.Repeat("x", 5000)), func(Frame) { t.Error("a frame") }, func(r Reject) {
		if r.Length != 4096 || len(r.Data) != maxShown {
			t.Errorf("length %d, shown %d", r.Length, len(r.Data))
		}
		if want := "{.[2J..xx"; !strings.HasPrefix(r.Text(), want) {
			t.Errorf("text %.20q, want %q first", r.Text(), want)
		}
		if want := "7b 1b 5b 32"; !strings.HasPrefix(r.Hex(), want) {
			t.Errorf("hex %.20q, want %q first", r.Hex(), want)
		}
	})
}

// split cuts stream into pieces, also empty ones.
func split(rng *rand.Rand, stream []byte) (pieces [][]byte) {
	for len(stream) > 0 {
		n := min(rng.IntN(9), len(stream))
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return pieces
}

// plain is the same search written another way, for one-byte marks and frames
// under the longest length: the innermost {…}.
var plain = regexp.MustCompile(`\{[^{}]*\}`)

func FuzzScan(f *testing.F) {
	for i, seed := range []string{
		"{1:35.2:21.5:40:7}", "{1:35.2:21.5:40:7}{2:35.2:21.5:40:7}\r\n", "\xff{1:35{1:35.2:21.5:40:7}}", "{{{}}}", "<<1:2>><<<3:4>>>", "aab1,2\r\naab", "{1:2:3:4:\x00}",
		"{" + strings.Repeat("1:", 60) + "}{1:1:1:1:1}",
	} {
		f.Add([]byte(seed), uint64(i))
	}
	formats := []*Format{
		mustCompile(f, seedPattern, Options{Max: 40}), mustCompile(f, "<<id:d>>", Options{Max: 20}), mustCompile(f, "id,d\r\n", Options{Max: 20}),
		mustCompile(f, "{}id:d}-", Options{Max: 30}), mustCompile(f, "$$_id:d\t$_\t", Options{Max: 30}),
	}
	wide := mustCompile(f, seedPattern, Options{Max: LargestMax})
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for _, fm := range formats {
			whole, skipped := scan(fm, stream)
			pieces, skippedToo := scan(fm, split(rng, stream)...)
			if !slices.Equal(whole, pieces) || skipped != skippedToo {
				t.Fatalf("%s: in one piece %q, %d skipped\nin many %q, %d", fm.pattern, whole, skipped, pieces, skippedToo)
			}
			checkGoodFrameAfter(t, fm, stream)
			checkEveryByteCounted(t, fm, stream)
		}
		if len(stream) < LargestMax {
			checkAgainstPlainSearch(t, wide, stream)
		}
	})
}

// checkGoodFrameAfter: whatever came before, a whole frame is found.
func checkGoodFrameAfter(t *testing.T, fm *Format, noise []byte) {
	good := fm.open + "77"
	for _, fd := range fm.fields[1:] {
		good += fd.before + "8"
	}
	good += fm.close
	if fm.open == "" {
		good = fm.close + good
	}
	events, _ := scan(fm, noise, []byte(good))
	if len(events) == 0 || !strings.HasPrefix(events[len(events)-1], "77 8") {
		t.Fatalf("%s: the frame %q after %q was lost: %q", fm.pattern, good, noise, events)
	}
}

// checkEveryByteCounted: each byte is in a frame, in a reject or skipped.
func checkEveryByteCounted(t *testing.T, fm *Format, stream []byte) {
	s, inFrames, rejected, last := fm.NewScanner(), 0, 0, 0
	for i := range stream {
		pending := len(s.buf)
		s.Feed(stream[i:i+1], func(Frame) { inFrames += pending + 1 }, func(r Reject) { rejected += r.Length })
		if len(s.buf) > fm.max {
			t.Fatalf("%s: %d bytes buffered", fm.pattern, len(s.buf))
		}
		now := inFrames + rejected + int(s.Skipped()) + len(s.buf) + s.held
		if now != last+1 {
			t.Fatalf("%s: %q: after byte %d: %d bytes accounted for, then %d", fm.pattern, stream, i, last, now)
		}
		last = now
	}
}

func checkAgainstPlainSearch(t *testing.T, fm *Format, stream []byte) {
	var want, got []string
	for _, m := range plain.FindAll(stream, -1) {
		if fr, err := fm.Parse(m[1 : len(m)-1]); err == nil {
			want = append(want, fmt.Sprint(fr))
		}
	}
	fm.NewScanner().Feed(stream, func(fr Frame) { got = append(got, fmt.Sprint(fr)) }, func(Reject) {})
	if !slices.Equal(got, want) {
		t.Fatalf("%q\n got %q\nwant %q", stream, got, want)
	}
}

// TestScanRandomLines runs the fuzz properties over lines that look like a bad
// serial connection, which a short fuzz run hardly reaches.
func TestScanRandomLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	fm := mustCompile(t, seedPattern, Options{Max: 40})
	for range 400 {
		var line []byte
		for range rng.IntN(12) {
			fr := fmt.Appendf(nil, "{%d:%d.5:21.5:40:7}", rng.IntN(3), rng.IntN(100))
			switch rng.IntN(4) {
			case 0:
				fr[rng.IntN(len(fr))] = byte(rng.IntN(256))
			case 1:
				fr = fr[:rng.IntN(len(fr))]
			case 2:
				line = append(line, bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(60))...)
			}
			line = append(line, fr...)
		}
		whole, _ := scan(fm, line)
		if pieces, _ := scan(fm, split(rng, line)...); !slices.Equal(whole, pieces) {
			t.Fatalf("%q\nin one piece %q\nin many %q", line, whole, pieces)
		}
		checkGoodFrameAfter(t, fm, line)
		checkEveryByteCounted(t, fm, line)
	}
}

func BenchmarkScan(b *testing.B) {
	fm := mustCompile(b, seedPattern, Options{})
	stream := bytes.Repeat([]byte("{1:35.2:21.5:40:7}\r\n"), 1000)
	s := fm.NewScanner()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		s.Feed(stream, func(Frame) {}, func(Reject) {})
	}
}
