package iotsql

import "strings"

// What people write out of habit from other languages, and what IoT SQL has
// instead. A word counts only where the grammar has no place for it, so that
// members may have these names.
const (
	oneMessage = "a rule sees one message at a time"
	onlySelect = "a rule is one SELECT over one topic filter"
	matching   = "call startswith, endswith or regexp_matches"
)

var foreignWords = map[string]string{
	"IS":   "write = NULL or <> NULL, or call isNull or isUndefined",
	"LIKE": matching, "ILIKE": matching, "RLIKE": matching, "REGEXP": matching,
	"BETWEEN":  "write x >= a AND x <= b",
	"MOD":      "write % or call mod",
	"DIV":      "write / and call floor or trunc",
	"XOR":      "write <> between two Booleans",
	"DISTINCT": oneMessage, "GROUP": oneMessage, "HAVING": oneMessage, "ORDER": oneMessage,
	"LIMIT": oneMessage, "OFFSET": oneMessage, "OVER": oneMessage,
	"JOIN": onlySelect, "INNER": onlySelect, "LEFT": onlySelect, "RIGHT": onlySelect, "FULL": onlySelect,
	"CROSS": onlySelect, "UNION": onlySelect, "EXCEPT": onlySelect, "INTERSECT": onlySelect, "WITH": onlySelect,
	"INSERT": onlySelect, "INTO": onlySelect, "UPDATE": onlySelect, "DELETE": onlySelect, "CREATE": onlySelect, "DROP": onlySelect,
}

var foreignSymbols = []struct{ text, msg string }{
	{"--", "IoT SQL has no comments; write - (-x) to negate twice"},
	{"/*", "IoT SQL has no comments"},
	{"//", "IoT SQL has no comments"},
	{"==", "IoT SQL compares with one `=`"},
	{"=>", "IoT SQL has no `=>`: write `>=`"},
	{"=<", "IoT SQL has no `=<`: write `<=`"},
	{"&&", "IoT SQL has no `&&`: write AND"},
	{"||", "IoT SQL has no `||`: write OR, or + to join texts"},
	{"!", "IoT SQL has no `!`: write NOT"},
	{";", "IoT SQL has no `;`: a rule is one statement, which ends without it"},
	{"`", "names are not quoted in IoT SQL; read an unusual name with get(object, \"name\")"},
}

// foreignSymbol names the sign of another language that s begins with.
func foreignSymbol(s string) (msg string, found bool) {
	for _, f := range foreignSymbols {
		if strings.HasPrefix(s, f.text) {
			return f.msg, true
		}
	}
	return "", false
}

// keywords are the words that a typing error may have hit.
var keywords = []string{"SELECT", "FROM", "WHERE", "WHEN", "THEN", "ELSE", "END", "SET", "AS", "VALUE"}

// nearKeyword returns the keyword among those wanted that word may stand for.
func nearKeyword(word, wanted string) string {
	word = strings.ToUpper(word)
	for _, k := range keywords {
		if len(word) > 2 && strings.Contains(wanted, k) && OneTypo(word, k) {
			return k
		}
	}
	return ""
}

// OneTypo says whether one letter left out, added, changed, or swapped with
// its neighbour makes one word the other.
func OneTypo(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i == len(a) || a[i+1:] == b[i+1:] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}
