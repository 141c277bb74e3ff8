package monitor

import (
	"strconv"
	"strings"
	"time"

	"mote/internal/edge"
)

// metrics writes the Prometheus text format, version 0.0.4: for each family its
// help, its type and its samples, one a line.
type metrics struct{ strings.Builder }

// label is a pair of a sample's name and value.
type label struct{ name, value string }

var (
	labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// family begins a family of samples, of the type counter or gauge.
func (m *metrics) family(name, kind, help string) {
	m.WriteString("# HELP " + name + " " + helpEscapes.Replace(help) + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes one line of the family name.
func (m *metrics) sample(name string, value float64, labels ...label) {
	m.WriteString(name)
	for i, l := range labels {
		m.WriteByte("{,"[min(i, 1)])
		m.WriteString(l.name + `="` + labelEscapes.Replace(strings.ToValidUTF8(l.value, "\uFFFD")) + `"`)
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	m.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// column is a family with a sample for each of some things.
type column[T any] struct {
	name, kind, help string
	value            func(T) float64
}

// table writes the families of columns for things, whose labels are given.
func table[T any](m *metrics, things []T, labels func(T) []label, columns []column[T]) {
	for _, c := range columns {
		if len(things) == 0 {
			return
		}
		m.family(c.name, c.kind, c.help)
		for _, t := range things {
			m.sample(c.name, c.value(t), labels(t)...)
		}
	}
}

// Metrics are all metrics now.
func (w *Watch) Metrics() string { return w.metrics(w.now(), time.Now()) }

func (w *Watch) metrics(s Snapshot, at time.Time) string {
	m, h := &metrics{}, w.health(s, at)
	m.family("mote_info", "gauge", "The gateway and the program that runs it; always 1.")
	m.sample("mote_info", 1, label{"gateway", s.Name}, label{"version", s.Version})
	m.family("mote_healthy", "gauge", "1 when /healthz says that all is well.")
	m.sample("mote_healthy", bit(h.OK))
	m.family("mote_start_time_seconds", "gauge", "When the gateway started, in seconds since 1970.")
	m.sample("mote_start_time_seconds", unix(s.Started))
	m.family("mote_clock_set", "gauge", "1 when the machine's clock is believed.")
	m.sample("mote_clock_set", bit(s.ClockSet))
	m.family("mote_untimed_readings", "gauge", "Readings that wait for the clock to be set.")
	m.sample("mote_untimed_readings", float64(s.Untimed))
	table(m, s.Sources, func(s edge.SourceStatus) []label { return []label{{"source", s.Name}} }, sourceColumns)
	table(m, s.Boards, func(b edge.BoardStatus) []label { return []label{{"board", b.ID}, {"source", b.Source}} }, boardColumns)
	table(m, h.Uplinks, func(u UplinkHealth) []label { return []label{{"uplink", u.Name}} }, uplinkColumns)
	m.drains(h)
	table(m, []Snapshot{s}, func(Snapshot) []label { return nil }, spoolColumns)
	m.family("mote_spool_written_bytes_24h", "gauge", "Bytes that the card took in the last 24 hours, or since the start when that is later.")
	m.sample("mote_spool_written_bytes_24h", float64(h.Spool.WrittenDay))
	return m.String()
}

// drains leaves out what is not known.
func (m *metrics) drains(h Health) {
	const name = "mote_uplink_drain_seconds"
	begun := false
	for _, u := range h.Uplinks {
		if u.Drain == nil {
			continue
		}
		if !begun {
			m.family(name, "gauge", "How long the backlog takes at the pace of the last minute; absent when it does not shrink.")
			begun = true
		}
		m.sample(name, *u.Drain, label{"uplink", u.Name})
	}
}

var sourceColumns = []column[edge.SourceStatus]{
	{"mote_source_up", "gauge", "1 while the line is open.", func(s edge.SourceStatus) float64 { return bit(s.State == edge.Connected) }},
	{"mote_source_waits_for_spool", "gauge", "1 while the spool takes nothing and the line is not read.", func(s edge.SourceStatus) float64 { return bit(s.Waiting) }},
	{"mote_source_dials_total", "counter", "Attempts to open the line.", func(s edge.SourceStatus) float64 { return float64(s.Dials) }},
	{"mote_source_bytes_total", "counter", "Bytes read.", func(s edge.SourceStatus) float64 { return float64(s.Bytes) }},
	{"mote_source_readings_total", "counter", "Readings that are in the spool.", func(s edge.SourceStatus) float64 { return float64(s.Frames) }},
	{"mote_source_rejected_frames_total", "counter", "Frames that were refused.", func(s edge.SourceStatus) float64 { return float64(s.Rejects) }},
	{"mote_source_thinned_frames_total", "counter", "Frames that made no reading: too soon, or without a change.", func(s edge.SourceStatus) float64 { return float64(s.Thinned) }},
	{"mote_source_implausible_values_total", "counter", "Values that were left out as implausible.", func(s edge.SourceStatus) float64 { return float64(s.Odd) }},
	{"mote_source_skipped_bytes_total", "counter", "Bytes between frames.", func(s edge.SourceStatus) float64 { return float64(s.Skipped) }},
	{"mote_source_lost_readings_total", "counter", "Readings that the spool did not take.", func(s edge.SourceStatus) float64 { return float64(s.Lost) }},
}

var boardColumns = []column[edge.BoardStatus]{
	{"mote_board_alive", "gauge", "1 when a frame came within three times the board's rate.", func(b edge.BoardStatus) float64 { return bit(b.Alive) }},
	{"mote_board_last_reading_timestamp_seconds", "gauge", "When the last frame was complete, in seconds since 1970.", func(b edge.BoardStatus) float64 { return unix(b.Seen) }},
	{"mote_board_rate_seconds", "gauge", "Seconds between two frames, as the board says; 0 when it does not.", func(b edge.BoardStatus) float64 { return b.Rate.Seconds() }},
	{"mote_board_readings_total", "counter", "Readings that are in the spool.", func(b edge.BoardStatus) float64 { return float64(b.Frames) }},
}

var uplinkColumns = []column[UplinkHealth]{
	{"mote_uplink_connected", "gauge", "1 while the server is reached.", func(u UplinkHealth) float64 { return bit(u.Connected) }},
	{"mote_uplink_delivered_total", "counter", "Readings that the server acknowledged.", func(u UplinkHealth) float64 { return float64(u.Delivered) }},
	{"mote_uplink_refused_total", "counter", "Readings that the server will never take; they are in the file of refused ones.", func(u UplinkHealth) float64 { return float64(u.Refused) }},
	{"mote_uplink_retries_total", "counter", "Connections and requests that failed and were tried again.", func(u UplinkHealth) float64 { return float64(u.Retries) }},
	{"mote_uplink_waiting_readings", "gauge", "Readings in the spool that are not acknowledged.", func(u UplinkHealth) float64 { return float64(u.Waiting) }},
	{"mote_uplink_dropped_readings_total", "counter", "Readings that the full spool gave up before they were acknowledged.", func(u UplinkHealth) float64 { return float64(u.Dropped) }},
}

var spoolColumns = []column[Snapshot]{
	{"mote_spool_bytes", "gauge", "Bytes of the spool's files.", func(s Snapshot) float64 { return float64(s.Spool.Bytes) }},
	{"mote_spool_max_bytes", "gauge", "The most that they may take.", func(s Snapshot) float64 { return float64(s.Spool.MaxBytes) }},
	{"mote_spool_appended_total", "counter", "Readings that became durable.", func(s Snapshot) float64 { return float64(s.Spool.Appended) }},
	{"mote_spool_written_bytes_total", "counter", "Bytes written to the card, in whole blocks.", func(s Snapshot) float64 { return float64(s.Spool.DeviceBytes) }},
	{"mote_spool_write_errors_total", "counter", "Writes that failed.", func(s Snapshot) float64 { return float64(s.Spool.WriteErrors) }},
	{"mote_spool_read_errors_total", "counter", "Reads that failed.", func(s Snapshot) float64 { return float64(s.Spool.ReadErrors) }},
	{"mote_spool_damaged_records_total", "counter", "Records that were skipped because they are damaged.", func(s Snapshot) float64 { return float64(s.Spool.Lost) }},
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix is 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
