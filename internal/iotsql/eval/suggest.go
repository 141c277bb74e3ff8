package eval

import (
	"maps"
	"slices"
	"strings"

	"mote/internal/iotsql"
)

// elsewhere are functions of other languages, and what to write instead.
var elsewhere = map[string]string{
	"count": aggregate, "sum": aggregate, "avg": aggregate, "min": aggregate, "max": aggregate, "first": aggregate, "last": aggregate,
	"coalesce": "call get_or_default or nanvl", "ifnull": "call get_or_default or nanvl", "nvl": "call nanvl",
	"if": condition, "iif": condition, "contains": "call indexof or regexp_matches, or write x IN array",
	"len": "call length", "size": "call length", "split": "call regexp_substr", "tolower": "call lower", "toupper": "call upper",
	"now": "call timestamp", "getdate": "call timestamp", "current_timestamp": "call timestamp", "uuid": "call newuuid",
	"date_format": "call parse_time", "to_timestamp": "call time_to_epoch", "from_base64": "call decode(x, 'base64')", "to_base64": "call encode(x, 'base64')",
	"convert": "write cast(x AS type)", "pow": "call power", "log10": "call log", "messageid": "call traceid",
}

const (
	aggregate = "a rule sees one message at a time"
	condition = "write CASE condition WHEN true THEN x ELSE y END"
)

// noFunction refuses a call of a function that does not exist.
func (c *compiler) noFunction(x *iotsql.Call) error {
	name, advice := strings.ToLower(x.Name), ""
	if instead, ok := elsewhere[name]; ok {
		advice = ": " + instead
	} else if near := nearFunction(name); near != "" {
		advice = "; did you mean " + near + "?"
	}
	return iotsql.Errorf(c.src, x.Pos, "there is no function %s%s", clip(x.Name), advice)
}

// nearFunction returns the function whose name is one letter or underscore
// away, "" when there is none or more than one.
func nearFunction(name string) string {
	var found []string
	for _, f := range slices.Sorted(maps.Keys(functions)) {
		if len(name) > 3 && (iotsql.OneTypo(name, f) || strings.ReplaceAll(name, "_", "") == strings.ReplaceAll(f, "_", "")) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}
