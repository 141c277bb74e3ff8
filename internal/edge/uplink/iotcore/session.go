package iotcore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// session is one connection's work.
type session struct {
	u      *Uplink
	w      *work
	conn   *client.Conn
	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc

	sent     atomic.Int64
	accepted atomic.Int64
	once     sync.Once     // for works
	working  chan struct{} // closed by works
	mended   atomic.Bool
	proving  *Files // the new certificate's; nil when it is the one in use
	adopted  bool   // the new one has replaced the old one; owned by watch, then by who waits for it
}

// works notes that the connection does what it is for.
func (s *session) works() {
	s.once.Do(func() {
		s.mended.Store(true)
		s.u.state.Well("endpoint", s.u.addr)
		close(s.working)
	})
}

// settle notes that the connection has lived for a while. With a new certificate
// that is enough only when nothing was published.
func (s *session) settle() {
	if s.proving != nil && s.sent.Load() > 0 && s.accepted.Load() == 0 {
		s.cancel(errUnproven)
		return
	}
	s.works()
}

// watch replaces the certificate in use by the new one when that has proven
// itself, and ends a session with the old one when there is a new one to prove.
func (s *session) watch() {
	tick := time.NewTicker(s.u.look)
	defer tick.Stop()
	working := s.working
	for {
		select {
		case <-working:
			working = nil
			if s.proving == nil {
				s.u.rotation.oldWorks()
				s.renew(time.Now())
				continue
			}
			s.adopted = s.u.rotation.adopt(*s.proving)
		case now := <-tick.C:
			if s.proving != nil && !s.adopted {
				continue
			}
			if working == nil {
				s.renew(now)
			}
			if _, ok := s.u.rotation.candidate(now); ok {
				s.cancel(errRotate)
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// renew looks at the certificate in use, and renews it when it is time to.
func (s *session) renew(now time.Time) {
	cfg, err := s.u.o.Files.load(s.u.addr)
	if err != nil {
		return
	}
	s.u.rotation.warn(cfg, now)
	if s.u.renewal != nil {
		s.u.renewal.look(s.ctx, s.conn, cfg.Certificates[0].Leaf, now)
	}
}

// run publishes until something ends it, and returns why.
func (s *session) run(ctx context.Context) error {
	s.w.begin()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-s.conn.Done()
		s.cancel(s.conn.Err())
	}()
	var attending sync.WaitGroup
	attending.Go(s.watch)
	if control := s.u.o.Control; control != nil {
		attending.Go(func() { control.Attend(s.ctx, s.conn) })
	}
	err := s.publishAll()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = s.conn.Disconnect(grace) // what is not acknowledged by then is sent again
	<-ended                      // which ends s.ctx
	attending.Wait()
	s.w.end(err, s.accepted.Load())
	if s.mended.Load() {
		s.u.backoff.Reset()
	}
	return s.explain(err)
}

// publishAll publishes record after record. Its error is why it stopped.
func (s *session) publishAll() error {
	for {
		e, err := s.w.next(s.ctx)
		if err != nil {
			if s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			return err
		}
		if s.u.pace.Wait(s.ctx, len(e.topic)+len(e.record)) != nil {
			return context.Cause(s.ctx)
		}
		if err := s.publish(e); err != nil {
			return err
		}
	}
}

// publish sends one record, or refuses it for good.
func (s *session) publish(e *entry) error {
	s.w.sending(e)
	err := s.conn.Publish(s.ctx, &mqtt.Publish{Topic: e.topic, Payload: e.record, QoS: 1}, func(err error) { s.acked(e, err) })
	var wire *mqtt.Error
	switch {
	case err == nil:
		s.sent.Add(1)
		return nil
	case errors.As(err, &wire) && forGood(wire.Code):
		s.w.refuse(e, err)
		return nil
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	return err
}

// forGood says whether a refusal with code is about this one message and would
// be the same next time.
func forGood(code mqtt.ReasonCode) bool {
	switch code {
	case mqtt.PacketTooLarge, mqtt.TopicNameInvalid, mqtt.PayloadFormatInvalid, mqtt.MalformedPacket:
		return true
	}
	return false
}

// acked handles the answer to one publish. It is called by the connection's own
// goroutine.
func (s *session) acked(e *entry, err error) {
	var refused *client.PubackError
	switch {
	case err == nil:
		s.accepted.Add(1)
		s.u.delivered.Add(1)
		s.works()
		s.w.accepted(e)
	case errors.As(err, &refused) && forGood(refused.Code):
		s.w.refuse(e, err)
	case errors.As(err, &refused):
		s.w.denied(e, deniedError(e.topic, refused))
	}
	// any other error is the connection's end, which the session sees itself
}

// deniedError says what a PUBACK that may change with time means.
func deniedError(topic string, e *client.PubackError) error {
	advice := "it is tried again"
	switch e.Code {
	case mqtt.NotAuthorized:
		advice = fmt.Sprintf("allow iot:Publish on topic/%s in the certificate's policy", topic)
	case mqtt.QuotaExceeded, mqtt.MessageRateTooHigh:
		advice = "the server's quota is used up; it is tried again later"
	}
	return fmt.Errorf("publish on %q: %w: %s", topic, e, advice)
}

// explain adds to a connection that the server closed without a reason what is
// known about it. AWS IoT Core answers a denied publish that way in 3.1.1.
func (s *session) explain(err error) error {
	if errors.Is(err, client.ErrServerClosed) && s.sent.Load() > 0 && s.accepted.Load() == 0 {
		return fmt.Errorf("%w, after publishes of which it acknowledged none: check that the certificate's policy allows iot:Publish on topic/%s",
			err, s.u.o.Topic)
	}
	return err
}

// closedByServer says whether the server ended the connection, with or without
// a reason.
func closedByServer(err error) bool {
	var gone *client.DisconnectedError
	return errors.Is(err, client.ErrServerClosed) || errors.As(err, &gone) && gone.Code != mqtt.SessionTakenOver && gone.Code != mqtt.ServerShuttingDown
}

// errSuspect is why a topic is held back that nobody denied in words.
var errSuspect = errors.New("the server closed the connection each time a reading of this topic was published first: " +
	"check that the certificate's policy allows iot:Publish on it")
