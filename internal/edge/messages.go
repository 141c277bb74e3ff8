package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"mote/internal/edge/frame"
)

// followMessages follows a connection of messages until it ends, falls silent
// for longer than configured, or ctx ends. It closes conn.
func (l *line) followMessages(ctx, appending context.Context, conn net.Conn, m Messenger) error {
	defer l.obey(ctx, conn, m.Tell)()
	for {
		messages, err := l.await(ctx, m)
		if err != nil {
			return err
		}
		l.silent = 0
		bytes := 0
		err = l.take(appending, func(take func(frame.Frame)) {
			for _, message := range messages {
				bytes += len(message.Data)
				l.Format.Message(message, take, l.refuse)
			}
		})
		l.count(bytes, 0)
		if err != nil {
			return err
		}
		l.calm(ctx)
	}
}

// await waits for messages. What was taken before is durable.
func (l *line) await(ctx context.Context, m Messenger) ([]frame.Message, error) {
	waiting := ctx
	if l.Silence > 0 { // otherwise the broker's keep-alive tells
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, l.Silence)
		defer cancel()
	}
	messages, err := m.Messages(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("no message came for %v; the line is opened again", l.Silence.Round(time.Second))
	}
	return messages, err
}
