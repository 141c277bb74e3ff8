package command

import (
	"strconv"
	"strings"

	"mote/internal/typo"
)

// suggest returns `, did you mean "…"?` for the name that word is most likely
// a slip of, and nothing if none is near.
func suggest(word string, names []string) string {
	best, least := "", 3
	if len(word) > 64 {
		return ""
	}
	for _, name := range names {
		d := typo.Distance(word, name)
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
