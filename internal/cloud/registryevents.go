package cloud

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

const eventsPrefix = "$aws/events/"

// maxEvents is how many events of the registry wait to be published; more are
// dropped, and said so in the log.
const maxEvents = 10_000

// registryEvents publishes what the registry tells, in order, beside the changes:
// they are on disk before, and wait for nobody. What waits when the process
// dies is lost, as AWS does not promise each event either.
type registryEvents struct {
	publish func(context.Context, *message.Message) error
	log     *slog.Logger

	mu      sync.Mutex
	waiting []registry.Event // guarded by mu
	dropped int              // since the last line about it; guarded by mu

	wake chan struct{} // holds a token when something waits
}

func newRegistryEvents(log *slog.Logger) *registryEvents {
	return &registryEvents{log: log, wake: make(chan struct{}, 1)}
}

// take is for [registry.Registry.OnEvents].
func (e *registryEvents) take(events []registry.Event) {
	e.mu.Lock()
	room := max(0, min(len(events), maxEvents-len(e.waiting)))
	e.waiting = append(e.waiting, events[:room]...)
	e.dropped += len(events) - room
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends.
func (e *registryEvents) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		e.mu.Lock()
		events, dropped := e.waiting, e.dropped
		e.waiting, e.dropped = nil, 0
		e.mu.Unlock()
		if dropped > 0 {
			e.log.Warn("events of the registry were dropped, since too many wait to be published", "events", dropped)
		}
		for _, x := range events {
			err := e.publish(ctx, &message.Message{Topic: x.Topic, Payload: x.Payload, QoS: 1, Time: time.Now()})
			if err != nil && ctx.Err() == nil {
				e.log.Error("an event of the registry could not be published", "topic", x.Topic, "err", err)
			}
		}
	}
}

// Serves implements part.
func (e *registryEvents) Serves(topic string) bool {
	return slices.ContainsFunc(registry.EventTopics, func(shape string) bool { return mqtt.Match(shape, topic) })
}

// CheckTopic implements broker.Reserved.
func (e *registryEvents) CheckTopic(topic string, _ bool) error {
	return fmt.Errorf("only the registry publishes on %.300q", topic)
}

// CheckFilter implements broker.Reserved. A filter that reaches beyond events,
// such as $aws/#, would take in what devices send other services.
func (e *registryEvents) CheckFilter(filter string) error {
	if strings.HasPrefix(filter, eventsPrefix) && slices.ContainsFunc(registry.EventTopics, func(shape string) bool { return mqtt.Overlap(filter, shape) }) {
		return nil
	}
	return fmt.Errorf("the registry publishes nothing on %.300q: subscribe to $aws/events/thing/#", filter)
}

// Hold implements broker.Reserved.
func (e *registryEvents) Hold(*store.Batch, string, bool) bool { return true }

// Apply implements broker.Reserved: nobody asks anything on these topics.
func (e *registryEvents) Apply(*store.Batch, *message.Message) ([]*message.Message, error) {
	return nil, nil
}
