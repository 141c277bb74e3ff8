package frame

import (
	"strconv"
	"time"
)

// RateCommand is what tells a board to send a frame every d: {rate:N} with N in
// seconds, as the sketch in firmware/dust takes it.
func RateCommand(d time.Duration) []byte {
	b := append([]byte(nil), "{rate:"...)
	b = strconv.AppendFloat(b, d.Seconds(), 'f', -1, 64)
	return append(b, '}')
}
