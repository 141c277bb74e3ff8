package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"mote/internal/cloud/refusal"
)

// Shadows steer the boards: a board's shadow is that of the thing with its id.
type Shadows interface {
	// Rate returns what the shadow says of the seconds between two frames.
	Rate(board string) (Rate, error)
	// SetRate makes the shadow desire a rate. The error is for the person.
	SetRate(ctx context.Context, board string, seconds float64) error
}

// Rate is a board's setting, in seconds; 0 stands for what the shadow does not say.
type Rate struct {
	Desired  float64 `json:"desired"`
	Reported float64 `json:"reported"` // by the gateway, as the board's frames confirmed it
}

const maxSteer = 4 << 10 // bytes of a request

// The rates that boards take, in seconds.
const leastRate, mostRate = 0.001, 604800

func (k *Console) serveRate(w http.ResponseWriter, r *http.Request) {
	k.tellRate(w, r.URL.Query().Get("board"))
}

// steer sets the rate that a board's shadow desires.
func (k *Console) steer(w http.ResponseWriter, r *http.Request) {
	if err := fromThisPage(r); err != nil {
		k.c.Refusals.Add(refusal.Refusal{Where: "console", Action: "set a rate", Resource: clip(r.Host, maxText), SourceIP: remoteIP(r), Reason: err.Error()})
		writeError(w, http.StatusForbidden, err)
		return
	}
	var wish struct {
		Board string  `json:"board"`
		Rate  float64 `json:"rate"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSteer))
	if err == nil {
		err = json.Unmarshal(body, &wish)
	}
	switch {
	case err != nil:
		writeError(w, http.StatusBadRequest, errors.New(`want {"board":"1","rate":10} with the rate in seconds`))
	case !(wish.Rate >= leastRate && wish.Rate <= mostRate):
		writeError(w, http.StatusBadRequest, fmt.Errorf("a rate of %v seconds is not possible: want %v to %d", wish.Rate, leastRate, mostRate))
	default:
		k.wish(w, r, wish.Board, wish.Rate)
	}
}

func (k *Console) wish(w http.ResponseWriter, r *http.Request, board string, rate float64) {
	if err := k.c.Shadows.SetRate(r.Context(), board, rate); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	k.tellRate(w, board)
}

func (k *Console) tellRate(w http.ResponseWriter, board string) {
	rate, err := k.c.Shadows.Rate(board)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, rate)
}

// fromThisPage refuses requests that another site's page could make a browser
// send: those are without this type of content, or say where they come from
// (W3C Fetch Metadata).
func fromThisPage(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errors.New("a change is sent as application/json")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return errors.New("the console takes no changes from another site's page")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return errors.New("the console takes no changes from another origin's page")
		}
	}
	return nil
}
