package config

import (
	"time"
)

// Frames of a source.
const (
	FormatPattern = "pattern"
	FormatJSON    = "jsonl"
	FormatCSV     = "csv"
)

// DefaultHeartbeat is how often a reading is sent although nothing changed.
const DefaultHeartbeat = 10 * time.Minute

// sourceFormat checks how frames are written. The pattern itself, the columns
// and the names in them are checked by who compiles them.
func (c *checker) sourceFormat(at string, s *Source) {
	if s.Format == "" {
		s.Format = FormatPattern
	}
	c.oneOf(at+".format", s.Format, FormatPattern, FormatJSON, FormatCSV)
	if s.Pattern != "" && s.Format != FormatPattern {
		c.fail(at+".pattern", "pattern and format %q: want one of them", s.Format)
	}
	if s.Format != FormatCSV {
		for key, set := range map[string]bool{"columns": len(s.Columns) > 0, "delimiter": s.Delimiter != "", "comment": s.Comment != ""} {
			if set {
				c.fail(at+"."+key, "%s belongs to format \"csv\"", key)
			}
		}
	}
	if s.Format == FormatCSV && len(s.Columns) == 0 {
		c.fail(at+".format", "format \"csv\" needs the names of the columns: columns = [\"id\", \"dust\", \"temp\"]")
	}
	if s.ID != "" && s.Format != FormatJSON {
		c.fail(at+".id", "id belongs to format \"jsonl\"; a pattern and columns name the field id themselves")
	}
	if s.ID != "" && s.Board != "" {
		c.fail(at+".board", "board names the one board of this line, id says where each frame has its board: want one of them")
	}
	if s.Format == FormatPattern && s.Pattern == "" {
		s.Pattern = DefaultPattern
	}
	if s.MaxFrame == 0 {
		if s.MaxFrame = 256; s.Format == FormatJSON {
			s.MaxFrame = 2048
		}
	}
	if s.MaxFrame < 8 || s.MaxFrame > 32768 {
		c.fail(at+".max_frame", "max_frame %d: want 8 to 32768 bytes", s.MaxFrame)
	}
}

// sourceValues checks what becomes of values.
func (c *checker) sourceValues(at string, s *Source) {
	if s.Implausible == "" {
		s.Implausible = "drop-field"
	}
	c.oneOf(at+".implausible", s.Implausible, "drop-field", "drop-frame")
	s.EveryTime = c.duration(at+".every", s.Every)
	s.HeartbeatAfter = c.duration(at+".heartbeat", s.Heartbeat)
	banded := false
	for i, f := range s.Fields {
		if f.Name == "" {
			c.fail(at, "[[source.field]] number %d has no name: the field that it describes", i+1)
		}
		if f.Round != nil && (*f.Round < 0 || *f.Round > 30) {
			c.fail(at, "field %q: round = %d: want 0 to 30 places after the point", f.Name, *f.Round)
		}
		banded = banded || f.Deadband != nil
	}
	switch {
	case s.Heartbeat != "" && !banded:
		c.fail(at+".heartbeat", "heartbeat belongs to a dead-band: give a [[source.field]] a deadband")
	case s.Heartbeat == "" && banded:
		s.HeartbeatAfter = DefaultHeartbeat
	}
}

// duration reads a duration of a second or more; "" is 0.
func (c *checker) duration(path, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		c.fail(path, "%s %q: want a duration of a second or more, such as \"90s\" or \"5m\"", keyOf(path), text)
	}
	return d
}
