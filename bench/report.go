package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// row is one line of the table.
type row struct {
	what     string
	unit     string
	baseline string  // what mote is compared with; "" for none
	base     float64 // the baseline's median
	value    float64 // mote's median
	goal     float64 // upper bound; 0 for none
	absolute bool    // the goal is about value, not about value/base
	zero     bool    // the goal is that value is 0
}

// report collects the lines.
type report struct{ rows []row }

func (r *report) add(w row) { r.rows = append(r.rows, w) }

// print writes a Markdown table, padded so that it reads on a terminal.
func (r *report) print(w io.Writer) {
	lines := [][]string{{"measured", "unit", "baseline", "its figure", "mote", "ratio", "goal", "result"}}
	for _, m := range r.rows {
		lines = append(lines, m.cells())
	}
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, c := range l {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	rule := make([]string, len(widths))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", n)
	}
	for _, l := range slices.Insert(lines, 1, rule) {
		for i, c := range l {
			fmt.Fprintf(w, "| %s%s ", c, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		fmt.Fprintln(w, "|")
	}
}

func (m row) cells() []string {
	base, ratio := "", ""
	if m.baseline != "" {
		base, ratio = figure(m.base), figure(m.value/m.base)
	}
	goal, result := "", ""
	if m.goal > 0 {
		goal, result = "≤ "+figure(m.goal)+"×", "reached"
		compared := m.value / m.base
		if m.absolute {
			goal, compared = "≤ "+figure(m.goal)+" "+m.unit, m.value
		}
		if !(compared <= m.goal) {
			result = "goal missed"
		}
	}
	if m.zero {
		goal, result = "0", "reached"
		if m.value != 0 {
			result = "goal missed"
		}
	}
	return []string{m.what, m.unit, m.baseline, base, figure(m.value), ratio, goal, result}
}

// figure writes three digits: the noise of a measurement hides the others.
func figure(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// median of the measurements of several turns.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// mean of the measurements of several turns.
func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// turns measures each of the given things rounds times, one after the other in
// every turn, and returns the figures of each.
func (b *bench) turns(measure ...func() (float64, error)) ([][]float64, error) {
	all := make([][]float64, len(measure))
	for range b.rounds {
		for i, m := range measure {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			v, err := m()
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], v)
		}
	}
	return all, nil
}
