package command

import (
	"strconv"
	"strings"
)

// suggest returns `, did you mean "…"?` for the name that word is most likely
// a slip of, and nothing if none is near.
func suggest(word string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		d := distance(word, name)
		if len(strings.TrimLeft(word, "-")) > 1 && strings.HasPrefix(name, word) {
			d = min(d, 1) // cut short
		}
		if d < least && d < len(strings.TrimLeft(name, "-")) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + strconv.Quote(best) + "?"
}

// distance returns how many letters must be put in, taken out or changed to
// turn a into b (Levenshtein's distance).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
