package control

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// board is what is known of one board and its shadow.
type board struct {
	id, thing string
	none      bool          // has no shadow: its id is no name of a thing
	rate      time.Duration // as the board reports it; 0 while unknown

	wish     time.Duration // what the shadow wants and does not have; 0 for nothing
	version  int64         // of the shadow, when it said so
	refused  string        // why what the shadow wants cannot be
	patience time.Duration // until the shadow is asked again about an unfulfilled wish
	asked    time.Time     // when it was asked last
	deaf     bool          // that the board does not obey was logged

	// of the present connection
	followed bool          // its topics are subscribed to
	barred   bool          // the server does not let the gateway subscribe to them
	ask      bool          // get is to be published
	reported time.Duration // the last report that was sent
	reportAt time.Time     // when that was
}

// forget drops what was true of a connection that ended.
func (b *board) forget() {
	b.followed, b.barred, b.ask, b.reported, b.reportAt = false, false, false, 0, time.Time{}
	b.wish, b.version = 0, 0 // the shadow is asked when it is followed again
}

// saw takes note of a frame and says whether that gives something to do.
func (b *board) saw(rate time.Duration, now time.Time) bool {
	if rate > 0 {
		b.rate = rate
	}
	switch {
	case b.none || b.rate == 0:
		return false
	case b.wish > 0 && b.wish == b.rate:
		b.wish, b.patience, b.deaf = 0, 0, false
	case b.wish > 0 && now.Sub(b.asked) >= b.patience:
		b.ask = b.followed
	}
	return b.ask || b.reported != b.rate
}

// wishes takes over what the shadow wants, and says no when something newer is
// known.
func (b *board) wishes(w wish) bool {
	if w.version < b.version {
		return false
	}
	b.version = w.version
	if w.rate != b.wish {
		b.patience = 0
	}
	b.wish = w.rate
	b.asked = time.Now()
	b.patience = min(max(2*b.patience, leastPatience), mostPatience)
	return true
}

// wish is what a message of the shadow service asks for.
type wish struct {
	rate    time.Duration // 0 for nothing
	version int64
	refused string // why something that it asks for cannot be
}

// The topics that are followed, below a thing's prefix (AWS IoT developer guide,
// "Device Shadow MQTT topics").
const (
	topicPrefix = "$aws/things/"
	shadowPart  = "/shadow/"
	deltaTopic  = "update/delta"
	gotTopic    = "get/accepted"
	getTopic    = "get"
	updateTopic = "update"
)

func topic(thing, what string) string { return topicPrefix + thing + shadowPart + what }

func parseTopic(topic string) (thing, what string, ok bool) {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return "", "", false
	}
	thing, what, ok = strings.Cut(rest, shadowPart)
	return thing, what, ok && (what == deltaTopic || what == gotTopic)
}

// readWish reads update/delta, whose state is the difference, or get/accepted,
// which has the difference beside the whole.
func readWish(what string, payload []byte) (w wish, err error) {
	var m struct {
		Version int64           `json:"version"`
		State   json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return w, err
	}
	state := m.State
	if what == gotTopic {
		var whole struct {
			Delta json.RawMessage `json:"delta"`
		}
		if err := json.Unmarshal(m.State, &whole); err != nil {
			return w, err
		}
		state = whole.Delta
	}
	w.version = m.Version
	if len(state) == 0 {
		return w, nil
	}
	var delta map[string]json.RawMessage
	if err := json.Unmarshal(state, &delta); err != nil {
		return w, err
	}
	for name := range delta {
		if name != "rate" {
			w.refused = fmt.Sprintf("%.64q is no setting of a board: it has rate", name)
		}
	}
	if value, ok := delta["rate"]; ok {
		w.rate, err = readRate(value)
		if err != nil {
			w.refused = err.Error()
		}
	}
	return w, nil
}

// leastRate and mostRate bound what a board is told, and what it is believed.
const leastRate, mostRate = time.Millisecond, 7 * 24 * time.Hour

func readRate(value json.RawMessage) (time.Duration, error) {
	var seconds float64
	if err := json.Unmarshal(value, &seconds); err != nil {
		return 0, fmt.Errorf("rate %.64s is no number of seconds", value)
	}
	if !(seconds >= leastRate.Seconds() && seconds <= mostRate.Seconds()) {
		return 0, fmt.Errorf("rate %.64s is out of range: want %v to %.0f seconds", value, leastRate.Seconds(), mostRate.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// report is the payload that tells the shadow the board's rate.
func report(rate time.Duration) []byte {
	return fmt.Appendf(nil, `{"state":{"reported":{"rate":%v}}}`, rate.Seconds())
}
