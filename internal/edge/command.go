package edge

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"mote/internal/edge/frame"
)

// commandTimeout bounds how long a board may not read what it is told.
const commandTimeout = 2 * time.Second

// Command tells a board to send a frame every rate, on the line where it was
// seen last. It does not wait; what is not yet written when the next command for
// the board comes is replaced by it. It reports whether there is such a line and
// it is open. That the board obeys is known by its next frames only.
func (g *Gateway) Command(board string, rate time.Duration) bool {
	var at *line
	var seen time.Time
	lines, _ := g.parts()
	for _, l := range lines {
		if t := l.lastSeen(board); t.After(seen) {
			at, seen = l, t
		}
	}
	return at != nil && at.command(board, rate)
}

// lastSeen is when the board's last frame was complete; zero for a board that
// is not on this line.
func (l *line) lastSeen(board string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.boards[board]; b != nil {
		return b.seen
	}
	return time.Time{}
}

// command leaves a command to the goroutine in speak, while there is one.
func (l *line) command(board string, rate time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.commands == nil {
		return false
	}
	l.commands[board] = rate
	select {
	case l.commanded <- struct{}{}:
	default: // it will see this one too
	}
	return true
}

// telling tells a board its rate.
type telling func(ctx context.Context, board string, rate time.Duration) error

// obey has commands carried out by tell until end is called, which closes conn
// and waits for the last of them.
func (l *line) obey(ctx context.Context, conn net.Conn, tell telling) (end func()) {
	speaking, quiet := context.WithCancel(ctx)
	var speaker sync.WaitGroup
	l.hears(true)
	speaker.Go(func() { l.speak(speaking, tell) })
	return func() {
		l.hears(false)
		quiet()
		conn.Close()
		speaker.Wait()
	}
}

// speak carries commands out until ctx ends. A board that does not read costs
// nothing but its commands.
func (l *line) speak(ctx context.Context, tell telling) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.commanded:
		}
		l.mu.Lock()
		commands := l.commands
		l.commands = map[string]time.Duration{}
		l.mu.Unlock()
		for board, rate := range commands {
			l.say(ctx, tell, board, rate)
		}
	}
}

func (l *line) say(ctx context.Context, tell telling, board string, rate time.Duration) {
	limited, done := context.WithTimeout(ctx, commandTimeout)
	defer done()
	err := tell(limited, board, rate)
	never := errors.Is(err, errors.ErrUnsupported)
	switch {
	case err == nil:
		l.log.Info("board is told its rate", "board", board, "rate", rate)
	case ctx.Err() == nil && !(never && l.mute):
		l.mute = never
		l.log.Warn("board could not be told its rate", "board", board, "rate", rate, "error", err)
	}
}

// write tells the board on a line its rate, until ctx's deadline.
func write(ctx context.Context, conn net.Conn, rate time.Duration) error {
	deadline, _ := ctx.Deadline()
	err := conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = conn.Write(frame.RateCommand(frame.LineCommand, rate))
	}
	return err
}

// hears sets whether the line takes commands.
func (l *line) hears(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = nil
	if yes {
		l.commands = map[string]time.Duration{}
	}
}
