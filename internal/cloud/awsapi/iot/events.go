package iot

import (
	"net/http"
	"slices"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/registry"
)

// otherEvents are types of events that this server does not publish (AWS IoT
// API reference, "UpdateEventConfigurations"). The lifecycle events of clients
// have no type: they need no configuration, there as here.
var otherEvents = []registry.EventType{"JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"}

// enabling is a Configuration of the API; its member has a capital letter, as
// on AWS.
type enabling struct{ Enabled bool }

func describeEventConfigurations(h *Handler, _ *call) (any, error) {
	out, on := map[registry.EventType]enabling{}, h.reg.Events()
	for _, kind := range slices.Concat(registry.EventTypes, otherEvents) {
		out[kind] = enabling{slices.Contains(on, kind)}
	}
	return map[string]any{"eventConfigurations": out}, nil
}

func updateEventConfigurations(h *Handler, c *call) (any, error) {
	var in struct {
		Events map[registry.EventType]enabling `json:"eventConfigurations"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	on := map[registry.EventType]bool{}
	for kind, is := range in.Events {
		switch {
		case !slices.Contains(otherEvents, kind):
			on[kind] = is.Enabled
		case is.Enabled:
			return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException",
				"UpdateEventConfigurations cannot turn events of the type %s on: this server publishes those of things, thing types and thing groups", kind)
		}
	}
	return nil, h.reg.SetEvents(on)
}
