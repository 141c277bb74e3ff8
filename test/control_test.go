package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// shadow reads a thing's shadow with the AWS CLI; nil when there is none.
func (h *host) shadow(thing string) map[string]any {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "shadow.json")
	if _, err := h.run("aws", "iot-data", "get-thing-shadow", "--thing-name", thing, file); err != nil {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		h.t.Fatalf("%s: %v", data, err)
	}
	return doc["state"].(map[string]any)
}

// desire sets the rate that a board's shadow wants.
func (h *host) desire(thing string, rate string) {
	h.t.Helper()
	payload := filepath.Join(h.t.TempDir(), "desired.json")
	if err := os.WriteFile(payload, []byte(`{"state":{"desired":{"rate":`+rate+`}}}`), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.mustRun("aws", "iot-data", "update-thing-shadow", "--thing-name", thing, "--payload", "fileb://"+payload, filepath.Join(h.t.TempDir(), "out.json"))
}

// reports waits until the shadow reports a rate and wants no other.
func (h *host) reports(thing string, rate float64) {
	h.t.Helper()
	waitFor(h.t, fmt.Sprintf("shadow of %s with rate %v", thing, rate), 30*time.Second, func() error {
		state := h.shadow(thing)
		reported, _ := state["reported"].(map[string]any)
		if reported["rate"] != rate || state["delta"] != nil {
			return fmt.Errorf("state %v", state)
		}
		return nil
	})
}

// TestAShadowSteersABoard: what the cloud wants reaches the board through the
// gateway, and the shadow learns what the board's frames confirm; also what was
// wished while the gateway was away.
func TestAShadowSteersABoard(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	h := startHost(t, data, "up")
	h.reports("1", 2)
	h.reports("2", 2)
	h.desire("1", "0.5")
	h.reports("1", 0.5)
	if rate := h.shadow("2")["reported"].(map[string]any)["rate"]; rate != 2.0 {
		t.Errorf("board 2 has rate %v, only board 1 was told", rate)
	}
	before := len(h.query("1"))
	waitFor(t, "readings at the new rate", 20*time.Second, func() error {
		if n := len(h.query("1")); n < before+5 {
			return fmt.Errorf("%d new rows", n-before)
		}
		return nil
	})
	h.desire("2", "1")
	h.reports("2", 1)
	h.interrupt()

	h = startHost(t, data, "up") // the boards begin anew with a frame every two seconds
	h.reports("1", 0.5)
	h.reports("2", 1)
	h.interrupt()
}
