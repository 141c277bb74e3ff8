package eval

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a gateway may have no zone files
)

// zoneName are the English names of a zone (parse_time's z, time_to_epoch's z
// and v).
type zoneName struct {
	long, short             string // of standard time
	summerLong, summerShort string
}

//go:embed zonenames.txt
var zoneNamesText string

// zoneTable is zonenames.txt, read.
type zoneTable struct {
	names   map[string]*zoneName // by zone
	short   map[string]string    // zones by short name
	long    map[string]string    // zones by long name
	generic map[string]string    // zones by short name, or long name without standard or summer
}

var zoneNames = sync.OnceValue(readZoneNames)

func readZoneNames() *zoneTable {
	t := &zoneTable{map[string]*zoneName{}, map[string]string{}, map[string]string{}, map[string]string{}}
	for line := range strings.Lines(zoneNamesText) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 5 {
			continue
		}
		n := &zoneName{f[0], f[1], f[2], f[3]}
		ids := strings.Fields(f[4])
		for _, id := range ids {
			t.names[id] = n
		}
		first(t.long, ids[0], n.long, n.summerLong)
		first(t.short, ids[0], n.short, n.summerShort)
		first(t.generic, ids[0], n.short, n.summerShort, strings.Replace(n.long, " Standard Time", " Time", 1))
	}
	for short, id := range map[string]string{"PT": "America/Los_Angeles", "MT": "America/Denver", "CT": "America/Chicago", "ET": "America/New_York"} {
		t.generic[short] = id
	}
	return t
}

// first sets what is not there yet.
func first(to map[string]string, id string, names ...string) {
	for _, n := range names {
		if _, ok := to[n]; !ok {
			to[n] = id
		}
	}
}

// maxZoneID is how long the id of a zone may be.
const maxZoneID = 40

var zones cache[*time.Location]

// zoneByID returns the zone of the time zone database with an id such as
// Europe/Berlin or UTC.
func zoneByID(id string) (*time.Location, bool) {
	if loc, ok := zones.get(id); ok {
		return loc, loc != nil
	}
	var loc *time.Location
	if isZoneID(id) {
		loc, _ = time.LoadLocation(id)
	}
	zones.put(id, loc)
	return loc, loc != nil
}

// isZoneID keeps what is not an id, for example Local or a path, from the
// lookup.
func isZoneID(id string) bool {
	if id == "" || len(id) > maxZoneID || id == "Local" || id == "localtime" || id == "posixrules" || id == "Factory" {
		return false
	}
	dir, _, _ := strings.Cut(id, "/")
	if dir == "posix" || dir == "right" || !isLetter(id[0]) {
		return false
	}
	for i := range len(id) {
		if !inZoneID(id[i]) {
			return false
		}
	}
	return true
}

func inZoneID(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '/' || c == '_' || c == '-' || c == '+'
}

// maxOffset is how far a zone may be from UTC, in seconds.
const maxOffset = 18 * 3600

// fixedZone is the zone of an offset in seconds, named by it.
func fixedZone(offset int) *time.Location {
	if offset == 0 {
		return time.UTC
	}
	return time.FixedZone(offsetText(offset, ":"), offset)
}

// offsetText writes an offset in seconds as ±hh:mm, and its seconds if there are any.
func offsetText(offset int, colon string) string {
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	s := fmt.Sprintf("%c%02d%s%02d", sign, offset/3600, colon, offset/60%60)
	if seconds := offset % 60; seconds != 0 {
		s += fmt.Sprintf("%s%02d", colon, seconds)
	}
	return s
}

// nameAt returns the name of the time in its zone, its offset when it has none.
func nameAt(t time.Time, long bool) string {
	abbreviation, offset := t.Zone()
	n, ok := zoneNames().names[t.Location().String()]
	if !ok {
		return offsetText(offset, ":")
	}
	summer := t.IsDST()
	switch abbreviation { // of Ireland, the database calls the winter the exception
	case n.short:
		summer = summer && n.short == n.summerShort
	case n.summerShort:
		summer = true
	}
	switch {
	case long && summer:
		return n.summerLong
	case long:
		return n.long
	case summer:
		return n.summerShort
	}
	return n.short
}
