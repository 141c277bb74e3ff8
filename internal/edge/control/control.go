// Package control lets the cloud steer the boards: each board is a thing, the
// desired state of its shadow becomes a command on the board's line, and what
// the board's next frames say is reported to the shadow (AWS IoT developer
// guide, "AWS IoT Device Shadow service"). One setting exists: rate, the seconds
// between two frames.
//
// The shadow is asked anew before a command is repeated, so a wish that was
// withdrawn while its board was away is not carried out. Reports are not
// spooled: they say what is true now, and are made again with each connection.
//
// Readings never depend on it. When the server does not let the gateway follow
// the shadows, that is logged once and tried again much later.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// Options make a [Control].
type Options struct {
	// Thing is the name of a board's thing, with {id} in the place of the
	// board's id; "" means "{id}".
	Thing string
	// Command tells a board its rate and reports whether its line is open. It
	// must not wait.
	Command func(board string, rate time.Duration) bool
	Log     *slog.Logger // default: discard
}

const (
	// maxBoards bounds the boards that are followed: each costs memory here and
	// a shadow there.
	maxBoards = 4096
	// manyBoards is from how many boards on one subscription stands for all:
	// AWS IoT Core takes 50 for one connection, and a board needs two.
	manyBoards = 20
	// maxFilters is what AWS IoT Core takes in one SUBSCRIBE.
	maxFilters = 8
	// reportPause is the least time between two reports about one board.
	reportPause = time.Second
	// A board that does not obey is asked again with a pause that doubles.
	leastPatience, mostPatience = 2 * time.Second, 5 * time.Minute
	// deniedPause is how long the shadows are left alone when the server does
	// not let the gateway follow them.
	deniedPause = 10 * time.Minute
)

// Control follows the shadows of the boards. Its methods are safe for
// concurrent use.
type Control struct {
	before, after string // of the id in the thing's name
	command       func(string, time.Duration) bool
	log           *slog.Logger
	wake          chan struct{} // has room for one: there is something to do

	mu     sync.Mutex
	boards map[string]*board // guarded by mu; by id, at most maxBoards
	things map[string]*board // guarded by mu; the same by thing
	full   bool              // guarded by mu; that there is no room was logged
	denied time.Time         // guarded by mu; no shadow is touched until then
	told   bool              // guarded by mu; the denial was logged
}

// New checks the options.
func New(o Options) (*Control, error) {
	if o.Thing == "" {
		o.Thing = "{id}"
	}
	before, after, ok := strings.Cut(o.Thing, "{id}")
	if !ok || before+after != "" && !isThing(before+after) {
		return nil, fmt.Errorf("thing %q: want the name of a board's thing with {id} in it, of letters, digits, : _ and -", o.Thing)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Control{
		before: before, after: after, command: o.Command, log: o.Log,
		wake: make(chan struct{}, 1), boards: map[string]*board{}, things: map[string]*board{},
	}, nil
}

// isThing says whether AWS takes name for a thing (AWS IoT API reference,
// "CreateThing").
func isThing(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '-') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// Seen takes note of a frame: the board that sent it and the rate that it
// reports, 0 for none. It does not wait.
func (c *Control) Seen(id string, rate time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.boards[id]
	if b == nil {
		if b = c.admit(id); b == nil {
			return
		}
	}
	if b.saw(rate, time.Now()) {
		c.rouse()
	}
}

// admit begins to follow a board, or returns nil; mu is held.
func (c *Control) admit(id string) *board {
	if len(c.boards) >= maxBoards {
		if !c.full {
			c.full = true
			c.log.Warn("too many boards to follow the shadows of all; the others go on without", "most", maxBoards)
		}
		return nil
	}
	b := &board{id: id, thing: c.before + id + c.after}
	c.boards[id] = b
	if b.none = !isThing(b.thing); b.none {
		c.log.Warn("a board's id cannot be part of a thing's name; it has no shadow", "board", id)
	} else {
		c.things[b.thing] = b
	}
	c.rouse()
	return b
}

func (c *Control) rouse() {
	select {
	case c.wake <- struct{}{}:
	default: // whoever wakes sees everything
	}
}

// Attend follows the shadows over one connection until ctx ends, which it must
// when the connection does.
func (c *Control) Attend(ctx context.Context, conn *client.Conn) {
	a := &attendance{Control: c, conn: conn}
	c.connected()
	for ctx.Err() == nil {
		pause := a.work(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	a.ended(conn.Err())
}

// connected forgets what was true of the connection before.
func (c *Control) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.boards {
		b.forget()
	}
}

// Handle takes a message of the server. It does not wait.
func (c *Control) Handle(p *mqtt.Publish) {
	thing, what, ok := parseTopic(p.Topic)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.things[thing]
	if b == nil { // of another gateway's board
		return
	}
	w, err := readWish(what, p.Payload)
	if err != nil {
		c.log.Warn("a shadow's message is not understood", "board", b.id, "topic", p.Topic, "error", err)
		return
	}
	if !b.wishes(w) {
		return
	}
	if b.refused != w.refused && w.refused != "" {
		c.log.Warn("the shadow wants what the board cannot do", "board", b.id, "thing", b.thing, "reason", w.refused)
	}
	b.refused = w.refused
	if b.patience == mostPatience && !b.deaf {
		b.deaf = true
		c.log.Warn("the board does not take the rate that its shadow wants; it is told again from time to time", "board", b.id, "wants", b.wish, "has", b.rate)
	}
	if b.wish > 0 && b.wish != b.rate {
		c.command(b.id, b.wish) // when its line is down, its next frame makes the gateway ask again
	}
	c.rouse()
}

// deny leaves the shadows alone for a while.
func (c *Control) deny(why error) {
	c.mu.Lock()
	c.denied = time.Now().Add(deniedPause)
	c.mu.Unlock()
	c.say(why)
}

// say logs a denial, unless that was done.
func (c *Control) say(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told {
		return
	}
	c.told = true
	c.log.Warn("boards cannot be steered through their shadows, readings are not affected: allow iot:Subscribe on "+
		"topicfilter/$aws/things/*/shadow/*, iot:Receive and iot:Publish on topic/$aws/things/*/shadow/* in the gateway's policy, "+
		"or write thing = \"off\" in [gateway]", "error", why)
}

// errUnanswered is a connection that the server closed when it was asked about
// shadows, as AWS IoT Core does with what a policy does not allow.
var errUnanswered = errors.New("the server closed the connection instead of an answer about shadows")
