package iotdata

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/awsapi"
)

// Connections ends connections of MQTT clients.
type Connections interface {
	// Disconnect ends the connection of a client, and returns when it has
	// ended. With clean its session ends, too, also that of a client which is
	// away; with dropWill its will is not published. found is false when there
	// is nothing to end; the error is ctx's.
	Disconnect(ctx context.Context, clientID string, clean, dropWill bool) (found bool, err error)
}

// disconnectWithin is how long a connection may take to end.
const disconnectWithin = 10 * time.Second

// maxClientID is the longest client id, bytes ("AWS IoT Core endpoints and
// quotas").
const maxClientID = 128

// handleConnections registers DeleteConnection, and refuses the newer
// operations on connections by their names (AWS IoT API reference, actions of
// the data plane).
func (s *Service) handleConnections() {
	if s.c.Connections != nil {
		s.mux.Handle(http.MethodDelete, "/connections/{clientId}", s.handler(s.deleteConnection))
	}
	for _, o := range []struct{ method, path, name string }{
		{http.MethodGet, "/connections/{clientId}", "GetConnection"},
		{http.MethodGet, "/connections/{clientId}/subscriptions", "ListSubscriptions"},
		{http.MethodPost, "/connections/{clientId}/messages", "SendDirectMessage"},
	} {
		s.mux.Handle(o.method, o.path, s.handler(func(*http.Request, string) (any, error) {
			return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException", "%s is not offered here; of connections, only DeleteConnection is", o.name)
		}))
	}
}

// deleteConnection is for who signed: no policy action of devices allows it
// (AWS IoT developer guide, "Policy actions").
func (s *Service) deleteConnection(r *http.Request, _ string) (any, error) {
	if err := may(r, "iot:DeleteConnection", "client/"+r.PathValue("clientId")); err != nil {
		return nil, err
	}
	clientID := r.PathValue("clientId")
	if len(clientID) > maxClientID || strings.HasPrefix(clientID, "$") {
		return nil, invalid("a client id has at most %d bytes and does not begin with $", maxClientID)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is malformed: %v", err)
	}
	clean, err := flag(query, "cleanSession")
	if err != nil {
		return nil, err
	}
	dropWill, err := flag(query, "preventWillMessage")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), disconnectWithin)
	defer cancel()
	found, err := s.c.Connections.Disconnect(ctx, clientID, clean, dropWill)
	switch {
	case err != nil:
		return nil, awsapi.Errorf(http.StatusServiceUnavailable, "ServiceUnavailableException", "the connection of client %q is about to end, but has not yet: %v", clientID, err)
	case !found:
		return nil, awsapi.Errorf(http.StatusNotFound, "ResourceNotFoundException", "no client with the id %q is connected", clientID)
	}
	return nil, nil
}

// flag reads a parameter that is true or false; without it, it is false.
func flag(query url.Values, name string) (bool, error) {
	v := query.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, invalid("%s must be true or false, not %.32q", name, v)
	}
	return b, nil
}
