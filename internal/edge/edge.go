// Package edge is the gateway: it follows the lines of boards, turns their
// frames into readings, makes the readings durable in the spool and lets the
// uplinks deliver them.
//
// A [Gateway] promises that one board, one line or one uplink in trouble never
// delays another, that every reading it has taken is durable before the next
// bytes of its line are read, and that a stop is in order: lines first, then
// their last readings, then a short time for the uplinks.
//
// It knows sources, the spool and uplinks by interface only; cmd/mote joins the
// concrete ones.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/edge/spool"
	"mote/internal/reading"
)

// Source is where a line of boards begins.
type Source interface {
	// Name says what the source reaches, in a few words; it is unique in a gateway.
	Name() string
	// Dial makes one attempt to connect, and returns soon when ctx ends. The
	// connection's deadlines work, and Close ends its waiting calls.
	Dial(ctx context.Context) (net.Conn, error)
}

// Messenger is a connection of a source that carries whole messages instead of a
// stream. Of [net.Conn] only Close is used.
type Messenger interface {
	// Messages waits for messages and returns at least one, or why there are no
	// more. The call says that what the one before returned is durable, or
	// refused for good.
	Messages(ctx context.Context) ([]frame.Message, error)
	// Tell tells a board to send a message every rate, and returns when that was
	// taken over, or ctx ended. It is called beside Messages, by one goroutine.
	// [errors.ErrUnsupported] says that the boards of this source can be told
	// nothing.
	Tell(ctx context.Context, board string, rate time.Duration) error
}

// Spool makes records durable; [spool.Spool] is one.
type Spool interface {
	// Append returns when the records are durable. A full spool may make it
	// wait. The records are the spool's only until it returns.
	Append(ctx context.Context, records ...[]byte) (last uint64, err error)
	Stats() spool.Stats
}

// Uplink delivers records, and is told its place in the spool by who makes it.
type Uplink struct {
	// Name is unique in a gateway, and the name of the uplink's reader in the
	// spool's statistics.
	Name string
	// Key tells uplinks of one name apart, for [Gateway.Reload]; nil equals
	// nothing.
	Key any
	// Run delivers in order until ctx ends, connecting again by itself. A
	// return before that is taken as a failure, and Run is called again later.
	Run func(ctx context.Context) error
}

// Deliver makes an Uplink of u and its place in the spool.
func Deliver[Queue any](u interface {
	Name() string
	Run(ctx context.Context, q Queue) error
}, q Queue) Uplink {
	return Uplink{Name: u.Name(), Key: u, Run: func(ctx context.Context) error { return u.Run(ctx, q) }}
}

// Clock says what time it is, and keeps readings while nobody knows. The default
// is the machine's clock as it is.
type Clock interface {
	// Set reports whether the wall clock is to be believed; once it is, it stays so.
	Set() bool
	// Stamp gives a reading that was complete at now its time, by the wall clock.
	Stamp(id string, now time.Time) time.Time
	// Own gives a reading its time by the board's own clock.
	Own(id string, t time.Time, fields []reading.Field) time.Time
	// Untimed makes a record for Hold of a reading that was complete just now.
	Untimed(r reading.Reading) []byte
	// Hold makes records durable until the clock is set.
	Hold(ctx context.Context, records ...[]byte) error
	// Held is how many readings wait for the clock.
	Held() uint64
	// Run moves what is held into the spool when the clock is set, until ctx ends.
	Run(ctx context.Context, move func(ctx context.Context, records ...[]byte) (last uint64, err error))
}

// wallClock is the machine's clock as it is.
type wallClock struct{ reading.Clock }

func (*wallClock) Set() bool                                                             { return true }
func (*wallClock) Held() uint64                                                          { return 0 }
func (*wallClock) Untimed(r reading.Reading) []byte                                      { return r.AppendJSON(nil) }
func (*wallClock) Hold(context.Context, ...[]byte) error                                 { return errors.ErrUnsupported } // it is always set
func (*wallClock) Run(context.Context, func(context.Context, ...[]byte) (uint64, error)) {}

// Line is one source and how its bytes are read.
type Line struct {
	Source Source
	Format *frame.Format
	// Silence is how long no byte may come before the connection is closed and
	// dialled again; 0 derives it from the rates that the boards report.
	Silence time.Duration
	// MaxBoards bounds the distinct ids taken from the line, since each costs
	// memory; 0 means DefaultMaxBoards. Frames of further ids are refused.
	MaxBoards int
	// Every thins out: of a board's frames that come within Every, about, only
	// the first becomes a reading. 0 takes all.
	Every time.Duration
	// Heartbeat is after how long a reading is made of a frame although no
	// value changed beyond its dead-band. It is used when the format has bands.
	Heartbeat time.Duration
}

// DefaultMaxBoards bounds the ids of one line.
const DefaultMaxBoards = 1024

// Options make a gateway.
type Options struct {
	Lines   []Line
	Uplinks []Uplink
	Spool   Spool
	Clock   Clock        // default: the machine's clock as it is
	Log     *slog.Logger // default: discard
	// Seen, when set, is called with each reading that became durable: the
	// board, and the rate that it reported, 0 when it reported none. It is
	// called by the goroutines of the lines and must not wait for anything.
	Seen func(board string, rate time.Duration)
	// Drain is how long a stop waits for uplinks to deliver what is left;
	// 0 means DefaultDrain, less than 0 not at all.
	Drain time.Duration
}

// Stopping takes at most DefaultDrain after the last append, for which there is
// appendGrace. The uplinks then give what is on its way up to a second, and all
// of it together must stay under two.
const (
	DefaultDrain = 400 * time.Millisecond
	appendGrace  = 400 * time.Millisecond
)

// Gateway is made by New and does its work in Run.
type Gateway struct {
	spool   Spool
	log     *slog.Logger
	drain   time.Duration
	seen    func(board string, rate time.Duration) // or nil
	clock   Clock
	started atomic.Pointer[time.Time]

	mu      sync.Mutex
	lines   []*line    // guarded by mu; Reload replaces the slice
	uplinks []*uplink  // guarded by mu; Reload replaces the slice
	op      *operation // guarded by mu; nil before Run, and from the end of its context on
}

// New checks the options. Nothing is opened before Run.
func New(o Options) (*Gateway, error) {
	if o.Spool == nil {
		return nil, errors.New("a gateway needs a spool")
	}
	g := &Gateway{spool: o.Spool, log: o.Log, drain: o.Drain, seen: o.Seen}
	if g.clock = o.Clock; g.clock == nil {
		g.clock = &wallClock{}
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.drain == 0 {
		g.drain = DefaultDrain
	}
	if err := check(o.Lines, o.Uplinks); err != nil {
		return nil, err
	}
	for _, l := range o.Lines {
		g.lines = append(g.lines, newLine(g, l))
	}
	for _, u := range o.Uplinks {
		g.uplinks = append(g.uplinks, newUplink(g, u))
	}
	return g, nil
}
