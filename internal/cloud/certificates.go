package cloud

import (
	"context"

	"mote/internal/cloud/message"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
)

// registered serves a device that brought an unknown certificate of a
// registered CA along: rules and subscribers are told, or it is provisioned.
func (c *Cloud) registered(cert registry.Certificate, ca registry.CA) {
	c.devices.JustInTime(cert, ca, c.tell)
}

// tell publishes a message that is not from a client.
func (c *Cloud) tell(ctx context.Context, m *message.Message) error {
	return c.broker.Transact(ctx, func(*store.Batch) []*message.Message { return []*message.Message{m} })
}
