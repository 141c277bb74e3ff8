//go:build !gateway

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Bounds of what a plot keeps and draws.
const (
	maxPoints = 1 << 18 // of one partition; beyond it every second one is dropped
	maxPlots  = 12      // partitions
	plotRows  = 10      // lines of a drawing
)

// plot draws one attribute of the rows over the range key, one drawing for
// each partition and all to one scale, so that they can be compared.
type plot struct {
	out, notes io.Writer
	attribute  string
	keys       []string // of the table: hash, and range when it has one
	width      int      // characters of a line
	series     []*series
	byName     map[string]*series
	without    int // rows whose attribute is not a number
	unplotted  int // rows of partitions beyond maxPlots
}

// series are the points of one partition. Every stride-th row is kept.
type series struct {
	name         string
	points       []point
	stride, seen int
}

type point struct{ x, y float64 }

func newPlot(out, notes io.Writer, attribute string, keys []string, width int) *plot {
	return &plot{out: out, notes: notes, attribute: attribute, keys: keys, width: max(width, 60), byName: map[string]*series{}}
}

func (p *plot) write(items []map[string]types.AttributeValue) error {
	for _, item := range items {
		y, ok := number(item[p.attribute])
		if !ok {
			p.without++
			continue
		}
		s := p.of(cell(item[p.keys[0]]))
		if s == nil {
			p.unplotted++
			continue
		}
		x := float64(s.seen)
		if len(p.keys) > 1 {
			if at, ok := position(item[p.keys[1]]); ok {
				x = at
			}
		}
		s.add(point{x, y})
	}
	return nil
}

// of returns the series of a partition, nil when there are too many.
func (p *plot) of(name string) *series {
	s := p.byName[name]
	if s == nil && len(p.series) < maxPlots {
		s = &series{name: name, stride: 1}
		p.byName[name] = s
		p.series = append(p.series, s)
	}
	return s
}

func (s *series) add(at point) {
	s.seen++
	if s.seen%s.stride != 0 {
		return
	}
	if s.points = append(s.points, at); len(s.points) < maxPoints {
		return
	}
	for i := range len(s.points) / 2 {
		s.points[i] = s.points[2*i]
	}
	s.points = s.points[:len(s.points)/2]
	s.stride *= 2
}

// number reads a number, also one that was stored as text.
func number(v types.AttributeValue) (float64, bool) {
	var text string
	switch v := v.(type) {
	case *types.AttributeValueMemberN:
		text = v.Value
	case *types.AttributeValueMemberS:
		text = v.Value
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// position is where a range key lies on the horizontal axis: a time in seconds
// since 1970, or a number.
func position(v types.AttributeValue) (float64, bool) {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		if at, err := time.Parse(time.RFC3339Nano, s.Value); err == nil {
			return float64(at.UnixMicro()) / 1e6, true
		}
	}
	return number(v)
}

func (p *plot) close() error {
	all := []point{}
	for _, s := range p.series {
		all = append(all, s.points...)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(p.notes, "nothing to plot: %d rows have no number in %s\n", p.without, p.attribute)
		return err
	}
	view := windowOf(all)
	slices.SortFunc(p.series, func(a, b *series) int { return strings.Compare(a.name, b.name) })
	for _, s := range p.series {
		if _, err := io.WriteString(p.out, p.draw(s, view)); err != nil {
			return err
		}
	}
	if p.without > 0 {
		fmt.Fprintf(p.notes, "left out: %d rows without a number in %s\n", p.without, p.attribute)
	}
	if p.unplotted > 0 {
		fmt.Fprintf(p.notes, "left out: %d rows of further partitions; choose one with --key\n", p.unplotted)
	}
	return nil
}

// window is the part of the plane that is drawn.
type window struct{ left, right, bottom, top float64 }

func windowOf(points []point) window {
	f := window{points[0].x, points[0].x, points[0].y, points[0].y}
	for _, p := range points {
		f.left, f.right = min(f.left, p.x), max(f.right, p.x)
		f.bottom, f.top = min(f.bottom, p.y), max(f.top, p.y)
	}
	if f.top == f.bottom { // a flat line lies in the middle
		pad := max(math.Abs(f.top)/10, 1)
		f.top, f.bottom = f.top+pad, f.bottom-pad
	}
	if f.right == f.left {
		f.right++
	}
	return f
}

// margin is the width of the vertical axis with its labels.
const margin = 11

// draw returns the drawing of one partition.
func (p *plot) draw(s *series, f window) string {
	c := newCanvas(p.width-margin, plotRows)
	sort.Slice(s.points, func(i, j int) bool { return s.points[i].x < s.points[j].x })
	for i, at := range s.points {
		x, y := c.place(at, f)
		c.set(x, y)
		if i > 0 {
			px, py := c.place(s.points[i-1], f)
			c.line(px, py, x, y)
		}
	}
	var b strings.Builder
	low, high := s.points[0].y, s.points[0].y
	for _, at := range s.points {
		low, high = min(low, at.y), max(high, at.y)
	}
	fmt.Fprintf(&b, "%s of %s %s: %d values, %s to %s\n", printable(p.attribute), printable(p.keys[0]), printable(s.name), s.seen, short(low), short(high))
	for i, row := range c.rows() {
		label := ""
		switch i {
		case 0:
			label = short(f.top)
		case plotRows / 2:
			label = short((f.top + f.bottom) / 2)
		case plotRows - 1:
			label = short(f.bottom)
		}
		fmt.Fprintf(&b, "%*s ┤%s\n", margin-2, label, strings.TrimRight(row, "\u2800"))
	}
	left, right := ends(f)
	fmt.Fprintf(&b, "%*s└%s\n", margin-1, "", strings.Repeat("─", p.width-margin))
	fmt.Fprintf(&b, "%*s%s%*s\n\n", margin, "", left, p.width-margin-len(left), right)
	return b.String()
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

// ends are the labels of the horizontal axis. What looks like seconds of this
// era is shown as a time.
func ends(f window) (left, right string) {
	const year2000 = 946684800
	if f.left < year2000 || f.right > 1e11 {
		return short(f.left), short(f.right)
	}
	text := func(v float64) string { return time.UnixMilli(int64(v * 1000)).UTC().Format("2006-01-02 15:04:05Z") }
	return text(f.left), text(f.right)
}

// canvas is a grid of dots, two by four in a character (Unicode, "Braille
// Patterns").
type canvas struct {
	columns, lines int
	cells          [][]rune
}

func newCanvas(columns, lines int) *canvas {
	c := &canvas{columns: columns, lines: lines}
	for range lines {
		c.cells = append(c.cells, slices.Repeat([]rune{0x2800}, columns))
	}
	return c
}

func (c *canvas) place(p point, f window) (x, y int) {
	w, h := float64(2*c.columns-1), float64(4*c.lines-1)
	return int(math.Round((p.x - f.left) / (f.right - f.left) * w)), int(math.Round((f.top - p.y) / (f.top - f.bottom) * h))
}

// dots are the bits of a character's dots, by row and column.
var dots = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

func (c *canvas) set(x, y int) {
	if x >= 0 && y >= 0 && x < 2*c.columns && y < 4*c.lines {
		c.cells[y/4][x/2] |= dots[y%4][x%2]
	}
}

// line sets the dots between two (Bresenham's algorithm).
func (c *canvas) line(x0, y0, x1, y1 int) {
	dx, dy := abs(x1-x0), -abs(y1-y0)
	sx, sy := sign(x1-x0), sign(y1-y0)
	for e := dx + dy; ; {
		c.set(x0, y0)
		if x0 == x1 && y0 == y1 {
			return
		}
		twice := 2 * e
		if twice >= dy {
			e, x0 = e+dy, x0+sx
		}
		if twice <= dx {
			e, y0 = e+dx, y0+sy
		}
	}
}

func (c *canvas) rows() []string {
	out := make([]string, len(c.cells))
	for i, row := range c.cells {
		out[i] = string(row)
	}
	return out
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

func sign(n int) int {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}
