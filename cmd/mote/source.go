package main

import (
	"strconv"

	"mote/internal/config"
	"mote/internal/edge/frame"
)

// newFormat makes the format of a [[source]]'s frames.
func newFormat(c *config.Source) (*frame.Format, error) {
	o := frame.Options{
		Text: c.Text, Max: c.MaxFrame, Board: c.Board, Time: c.Time, ID: c.ID, Skip: c.Skip,
		DropFrame: c.Implausible == "drop-frame", Units: c.Units,
	}
	for i := range c.Fields {
		o.Values = append(o.Values, newValue(&c.Fields[i]))
	}
	switch c.Format {
	case config.FormatJSON:
		return frame.JSONLines(o)
	case config.FormatCSV:
		return frame.CSV(frame.Table{Columns: c.Columns, Delimiter: c.Delimiter, Comment: c.Comment}, o)
	}
	return frame.Compile(c.Pattern, o)
}

func newValue(f *config.Field) frame.Value {
	v := frame.Value{
		Name: f.Name, Unit: f.Unit, Round: -1,
		Scale: decimal(f.Scale), Offset: decimal(f.Offset), Min: decimal(f.Min), Max: decimal(f.Max), Deadband: decimal(f.Deadband),
	}
	if f.Round != nil {
		v.Round = *f.Round
	}
	return v
}

// decimal is the number as it was written: the shortest text that reads as the
// same float.
func decimal(n *float64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatFloat(*n, 'g', -1, 64)
}
