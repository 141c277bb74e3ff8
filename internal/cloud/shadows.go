package cloud

import (
	"context"
	"encoding/json"
	"fmt"

	"mote/internal/cloud/broker"
	"mote/internal/cloud/console"
	"mote/internal/cloud/message"
	"mote/internal/cloud/shadow"
	"mote/internal/cloud/store"
)

// shadows lets HTTP clients work on shadows: what they change is told to MQTT
// subscribers and rules in the same commit.
type shadows struct {
	engine *shadow.Engine
	broker *broker.Broker
}

// GetShadow implements iotdata.Shadows. Nobody but the caller is told.
func (s shadows) GetShadow(_ context.Context, n shadow.Name) ([]byte, error) {
	a := s.engine.Get(nil, n, nil)
	if a.Refused != nil {
		return nil, a.Refused
	}
	return a.Body, s.engine.Settle()
}

// UpdateShadow implements iotdata.Shadows.
func (s shadows) UpdateShadow(ctx context.Context, n shadow.Name, payload []byte) ([]byte, error) {
	return s.transact(ctx, func(b *store.Batch) shadow.Answer { return s.engine.Update(b, n, payload) })
}

// DeleteShadow implements iotdata.Shadows.
func (s shadows) DeleteShadow(ctx context.Context, n shadow.Name) ([]byte, error) {
	return s.transact(ctx, func(b *store.Batch) shadow.Answer { return s.engine.Delete(b, n, nil) })
}

// NamedShadows implements iotdata.Shadows.
func (s shadows) NamedShadows(thing, after string, limit int) ([]string, bool, error) {
	return s.engine.List(thing, after, limit)
}

func (s shadows) transact(ctx context.Context, do func(*store.Batch) shadow.Answer) ([]byte, error) {
	var a shadow.Answer
	err := s.broker.Transact(ctx, func(b *store.Batch) []*message.Message {
		a = do(b)
		return a.Messages
	})
	if err == nil && a.Refused != nil {
		return nil, a.Refused
	}
	return a.Body, err
}

// steering lets the console set the rates of boards.
type steering struct{ shadows }

// Rate implements console.Shadows.
func (s steering) Rate(board string) (console.Rate, error) {
	doc, found := s.engine.Document(board, "")
	if !found {
		return console.Rate{}, nil
	}
	var shadow struct {
		State struct{ Desired, Reported map[string]json.RawMessage }
	}
	if err := json.Unmarshal(doc, &shadow); err != nil {
		return console.Rate{}, err
	}
	return console.Rate{Desired: seconds(shadow.State.Desired["rate"]), Reported: seconds(shadow.State.Reported["rate"])}, nil
}

// seconds is a number in a shadow; 0 for anything else.
func seconds(value json.RawMessage) (n float64) {
	if json.Unmarshal(value, &n) != nil {
		return 0
	}
	return n
}

// SetRate implements console.Shadows.
func (s steering) SetRate(ctx context.Context, board string, rate float64) error {
	_, err := s.UpdateShadow(ctx, shadow.Name{Thing: board}, fmt.Appendf(nil, `{"state":{"desired":{"rate":%v}}}`, rate))
	return err
}
