package edge

import (
	"context"
	"net"
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

// speak writes commands to conn until ctx ends. A board that does not read
// costs nothing but its commands.
func (l *line) speak(ctx context.Context, conn net.Conn) {
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
			l.say(ctx, conn, board, rate)
		}
	}
}

func (l *line) say(ctx context.Context, conn net.Conn, board string, rate time.Duration) {
	err := conn.SetWriteDeadline(time.Now().Add(commandTimeout))
	if err == nil {
		_, err = conn.Write(frame.RateCommand(rate))
	}
	switch {
	case err == nil:
		l.log.Info("board is told its rate", "board", board, "rate", rate)
	case ctx.Err() == nil:
		l.log.Warn("board could not be told its rate", "board", board, "rate", rate, "error", err)
	}
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
