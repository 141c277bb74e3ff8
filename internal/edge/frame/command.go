package frame

import (
	"strconv"
	"strings"
	"time"
)

// CommandMark stands in a command's template for the rate.
const CommandMark = "{rate}"

// LineCommand is the template of what boards on lines are told, {rate:N}, as the
// sketch in firmware/dust takes it.
const LineCommand = "{rate:" + CommandMark + "}"

// RateCommand tells a board to send a frame every d: the template with the
// seconds in the place of {rate}.
func RateCommand(template string, d time.Duration) []byte {
	return []byte(strings.ReplaceAll(template, CommandMark, strconv.FormatFloat(d.Seconds(), 'f', -1, 64)))
}
