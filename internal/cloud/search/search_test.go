package search

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// doc is a document by its fields.
type doc map[string][]any

func (d doc) Values(field string) []any { return d[field] }

func (d doc) All() (out []any) {
	for _, v := range d {
		out = append(out, v...)
	}
	return out
}

var board = doc{
	"thingName":               {"Roof-7"},
	"thingTypeName":           {"board"},
	"thingGroupNames":         {"house", "east wing"},
	"attributes.room":         {"attic room"},
	"attributes.floor":        {"10"},
	"attributes.since":        {"2026-01-31"},
	"shadow.reported.temp":    {21.5},
	"shadow.reported.offset":  {-3.0},
	"connectivity.connected":  {true},
	"shadow.reported.firm:v":  {"1"},
	"shadow.reported.samples": {1.0, 2.0, 30.0},
}

func TestQueries(t *testing.T) {
	for text, want := range map[string]bool{
		"thingName:Roof-7":                    true,
		"thingName:roof-7":                    true,
		"thingName:roof":                      false,
		"thingName:roof*":                     true,
		"thingName:*-7":                       true,
		"thingName:r*f-?":                     true,
		"thingName:roof-??":                   false,
		`thingName:"roof*"`:                   false,
		`thingName:roof\-7`:                   true,
		"*":                                   true,
		"thingName:*":                         true,
		"attributes.none:*":                   false,
		"attic":                               true,
		"att*":                                true,
		"ttic":                                false,
		`"attic room"`:                        true,
		`attributes.room:"attic room"`:        true,
		"attributes.room:attic":               false,
		"thingGroupNames:house":               true,
		`thingGroupNames:"east wing"`:         true,
		"thingTypeName:board AND thingName:x": false,
		"thingTypeName:board thingName:roof*": true,
		"thingName:x OR thingTypeName:board":  true,
		"NOT thingName:x":                     true,
		"-thingTypeName:board":                false,
		"thingTypeName:board AND NOT attributes.none:*":                        true,
		"thingName:x OR thingTypeName:board AND thingName:y":                   false,
		"(thingName:x OR thingTypeName:board) AND thingName:r*":                true,
		"NOT (thingName:x OR thingTypeName:board)":                             false,
		"shadow.reported.temp:21.50":                                           true,
		"shadow.reported.temp > 21":                                            true,
		"shadow.reported.temp>=21.5":                                           true,
		"shadow.reported.temp<21.5":                                            false,
		"shadow.reported.temp:>21":                                             true,
		"shadow.reported.temp=21.5":                                            true,
		"shadow.reported.offset:-3":                                            true,
		"shadow.reported.offset < -2":                                          true,
		"shadow.reported.temp:[20 TO 21.5]":                                    true,
		"shadow.reported.temp:[20 TO 21.5}":                                    false,
		"shadow.reported.temp:{21.5 TO *]":                                     false,
		"shadow.reported.temp:[* TO 22]":                                       true,
		"shadow.reported.samples:30":                                           true,
		"shadow.reported.samples > 30":                                         false,
		"shadow.reported.temp:warm":                                            false,
		"shadow.reported.temp > warm":                                          false,
		"attributes.floor > 9":                                                 true,
		"attributes.since:[2026-01-01 TO 2026-12-31]":                          true,
		"attributes.since < 2026-01-01":                                        false,
		"connectivity.connected:true":                                          true,
		"connectivity.connected:FALSE":                                         false,
		"connectivity.connected > 0":                                           false,
		"and":                                                                  false, // a term
		`shadow.reported.firm\:v:1`:                                            true,
		"NOT NOT thingTypeName:board":                                          true,
		"((((thingTypeName:board))))":                                          true,
		"thingTypeName:board AND -thingName:x thingGroupNames:h*":              true,
		"thingTypeName : board":                                                true,
		"(thingName:x)OR(thingTypeName:board)AND(connectivity.connected:true)": true,
	} {
		q, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := q.Match(board); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestNoQueries(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "empty",
		"  ":                               "empty",
		"thingName:a AND":                  "before the end",
		"thingName:a OR":                   "before the end",
		"NOT":                              "before the end",
		"AND thingName:a":                  `before "AND"`,
		"OR thingName:a":                   `before "OR"`,
		"thingName:a AND OR thingName:b":   `before "OR"`,
		"NOT AND thingName:b":              `before "AND"`,
		"(thingName:a":                     "not closed",
		"(thingName:a thingName:b":         "not closed",
		"thingName:a)":                     "nothing that it belongs to",
		")thingName:a":                     `before ")"`,
		"()":                               `before ")"`,
		"attributes.a:":                    "has no value",
		"attributes.a:(b)":                 "has no value",
		"attributes.a >":                   "has no value",
		"a:b:c":                            "is not a term",
		":a":                               "is not a term",
		`a:"b`:                             "quotation mark",
		"a:[1 TO":                          "not closed",
		"a:[1 2]":                          "no range",
		"a]":                               "where none can be",
		strings.Repeat("a", MaxQuery+1):    "the limit is 1000",
		strings.Repeat("(", MaxQuery):      "before the end",
		strings.Repeat("NOT ", 200) + "a)": "nothing that it belongs to",
	} {
		_, err := Parse(text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) {
			t.Errorf("%.60s: %v, want …%s…", text, err, want)
		}
	}
}

func TestFields(t *testing.T) {
	q, err := Parse("b:1 OR NOT (a > 2 c) AND b:[1 TO 2]")
	if err != nil || !slices.Equal(q.Fields(), []string{"a", "b"}) {
		t.Errorf("%v %v", q, err)
	}
}

// FuzzParse looks for queries that cannot be read or asked.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"a", `a:"b\"" AND (c OR -d:[1 TO *})`, "x>=-1", `\`, "a:{", "NOT", "*:* OR a:?*"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err == nil {
			q.Match(board)
			if slices.Contains(q.Fields(), "") {
				t.Errorf("%q names a field without a name", text)
			}
		}
	})
}
