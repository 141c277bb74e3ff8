package control

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// attendance is the work of one connection. One goroutine does it; answers come
// by the connection's own.
type attendance struct {
	*Control
	conn *client.Conn
	all  bool // one subscription stands for all boards

	unanswered atomic.Int64 // requests that the server has not answered
	refused    atomic.Bool  // it refused one
}

// request is a message to be published about a board.
type request struct {
	topic   string
	payload []byte
}

// idle is how long an attendance sleeps when nothing is to be done.
const idle = time.Hour

// work does all there is to do now and returns after how long to look again.
func (a *attendance) work(ctx context.Context) time.Duration {
	if wait := a.leftAlone(); wait > 0 || a.refused.Load() {
		return max(wait, reportPause)
	}
	switch refused, err := a.follow(ctx); {
	case refused:
		a.refused.Store(true)
		a.deny(err)
		return deniedPause
	case err != nil:
		return idle // the connection is over
	}
	requests, wait := a.requests()
	for _, r := range requests {
		if a.publish(ctx, r) != nil {
			return idle // the connection is over
		}
	}
	return wait
}

// leftAlone is how long the shadows must still be left alone.
func (a *attendance) leftAlone() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Until(a.denied)
}

// follow subscribes to the topics of boards that are new. It says whether the
// server refuses all of them; any other error is the connection's.
func (a *attendance) follow(ctx context.Context) (refused bool, err error) {
	for {
		boards, things := a.unfollowed()
		if len(boards) == 0 {
			return false, nil
		}
		codes, err := a.subscribe(ctx, things)
		switch {
		case err != nil && len(codes) == 0:
			return false, err
		case err != nil && (things[0] == "+" || !slices.ContainsFunc(codes, granted)):
			return true, err
		}
		a.followed(boards, codes)
		if err != nil {
			a.say(err)
		}
	}
}

func granted(code mqtt.ReasonCode) bool { return !code.Failed() }

// subscribe returns two codes for each thing.
func (a *attendance) subscribe(ctx context.Context, things []string) ([]mqtt.ReasonCode, error) {
	if len(things) == 0 {
		return nil, nil
	}
	var subs []mqtt.Subscription
	for _, thing := range things {
		subs = append(subs, mqtt.Subscription{Filter: topic(thing, deltaTopic), QoS: 1}, mqtt.Subscription{Filter: topic(thing, gotTopic), QoS: 1})
	}
	a.unanswered.Add(1)
	codes, err := a.conn.Subscribe(ctx, subs...)
	if err == nil || len(codes) > 0 {
		a.unanswered.Add(-1)
	}
	return codes, err
}

// unfollowed returns the next boards to follow, and the things to subscribe for:
// + when there are many, none when that was done.
func (a *attendance) unfollowed() (boards []*board, things []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	many := len(a.things) > manyBoards
	for _, b := range a.things {
		if b.followed || b.barred || !many && len(boards) == maxFilters/2 {
			continue
		}
		boards = append(boards, b)
		if !many {
			things = append(things, b.thing)
		}
	}
	if many && !a.all && len(boards) > 0 {
		a.all = true
		return boards, []string{"+"}
	}
	return boards, things
}

// followed notes that the topics of boards are subscribed to, but for those that
// their two codes refuse: now their shadows can be asked.
func (a *attendance) followed(boards []*board, codes []mqtt.ReasonCode) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, b := range boards {
		b.barred = len(codes) == 2*len(boards) && (codes[2*i].Failed() || codes[2*i+1].Failed())
		b.followed, b.ask = !b.barred, !b.barred
	}
}

// requests returns what is to be published, and after how long to look again.
func (a *attendance) requests() (out []request, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	wait = idle
	for _, b := range a.things {
		if !b.followed {
			continue
		}
		if b.ask {
			b.ask, b.asked = false, now
			out = append(out, request{topic(b.thing, getTopic), nil})
		}
		if b.rate == 0 || b.rate == b.reported {
			continue
		}
		if pause := reportPause - now.Sub(b.reportAt); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		b.reported, b.reportAt = b.rate, now
		out = append(out, request{topic(b.thing, updateTopic), report(b.rate)})
	}
	return out, wait
}

// publish sends one request with QoS 1. A refusal ends the attendance; that the
// connection breaks is seen by whoever made it.
func (a *attendance) publish(ctx context.Context, r request) error {
	a.unanswered.Add(1)
	err := a.conn.Publish(ctx, &mqtt.Publish{Topic: r.topic, Payload: r.payload, QoS: 1}, func(err error) {
		var no *client.PubackError
		switch {
		case err == nil:
			a.unanswered.Add(-1)
			a.works()
		case errors.As(err, &no):
			a.unanswered.Add(-1)
			a.refused.Store(true)
			a.deny(err)
		}
	})
	if err != nil {
		a.unanswered.Add(-1)
	}
	return err
}

// works notes that the server lets the gateway follow shadows.
func (a *attendance) works() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told && !a.refused.Load() {
		a.told = false
		a.log.Info("the boards' shadows are followed again")
	}
}

// ended looks at how the connection ended: a server that closed it while a
// request was open may have meant the request.
func (a *attendance) ended(err error) {
	var gone *client.DisconnectedError
	closed := errors.Is(err, client.ErrServerClosed) || errors.As(err, &gone) && gone.Code == mqtt.NotAuthorized
	if closed && a.unanswered.Load() > 0 {
		a.deny(errUnanswered)
	}
}
