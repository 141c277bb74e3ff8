package cloud

import (
	"context"
	"testing"

	"mote/internal/endpoints"
)

// The second start is refused, and must not take the file away by which tools
// find the first one.
func TestARefusedStartLeavesTheCloudThatRunsToBeFound(t *testing.T) {
	o := Options{Data: t.TempDir(), MQTT: "127.0.0.1:0", HTTPS: Off, HTTP: Off}
	c, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Announce(); err != nil {
		t.Fatal(err)
	}
	if second, err := Start(o); err == nil {
		_ = second.Close(context.Background())
		t.Error("two clouds have one data directory")
	}
	if e, err := endpoints.Read(o.Data); err != nil || e.MQTT != c.Endpoints().MQTT {
		t.Errorf("the first cloud is at %+v, %v", e, err)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := endpoints.Read(o.Data); err == nil {
		t.Error("a cloud that has stopped can be found")
	}
}
