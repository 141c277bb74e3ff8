package cloud

import "time"

// found tells fleet queries what the registry does not know of things.
type found struct{ cloud *Cloud }

// Shadow implements iot.Fleet.
func (d found) Shadow(thing, name string) ([]byte, bool) {
	return d.cloud.shadows.Document(thing, name)
}

// Connection implements iot.Fleet.
func (d found) Connection(clientID string) (bool, time.Time) {
	return d.cloud.broker.Connection(clientID)
}
