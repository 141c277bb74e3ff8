package uplink

import (
	"net"
	"time"
)

const (
	dialWithin = 15 * time.Second
	// unheard is how long what was sent may go without the other side's TCP
	// saying that it came, and how long that may take no more because the program
	// there reads nothing and its buffer is full. Without a bound, Linux goes on for
	// a quarter of an hour. An answer may take longer, for it comes from the program
	// there; the way itself may not: on one of more than dialWithin there and back
	// no connection is made.
	unheard = 20 * time.Second
)

// Dialer opens the connections of uplinks. They end some seconds after the other
// side has gone without a word, or this machine has another address, and not
// only when the next answer or ping is overdue.
func Dialer() *net.Dialer { return &net.Dialer{Timeout: dialWithin, Control: boundUnheard} }
