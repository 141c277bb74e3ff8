package monitor

import (
	"fmt"
	"html"
	"strings"
	"time"

	"mote/internal/edge"
)

// style is all that the page needs besides itself.
const style = `:root{color-scheme:light dark;font:16px/1.45 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:0 1rem 3rem}
h1{font-size:1.3rem;margin:1rem 0 .5rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
.state{padding:.6rem .8rem;border-left:.4rem solid #2a8f4d;background:#2a8f4d22}
.state.bad{border-color:#c0392b;background:#c0392b22}.state ul{margin:.3rem 0 0;padding-left:1.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .7rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top}
th{font-weight:600;white-space:nowrap}td.wide{white-space:normal;overflow-wrap:anywhere;min-width:12rem}
.off{color:#c0392b}footer{margin-top:2rem;font-size:.85rem;opacity:.75}
@media (prefers-color-scheme:dark){.off{color:#ff8a7a}}
`

// markup is the page while it is written. What is given to text and cells is
// escaped; only tags go in by raw.
type markup struct{ strings.Builder }

func (m *markup) raw(tags string) { m.WriteString(tags) }

func (m *markup) text(s string) { m.WriteString(html.EscapeString(strings.ToValidUTF8(s, "\uFFFD"))) }

// rows writes a table with a heading; none says what stands there without rows.
func (m *markup) rows(title, none string, head []string, rows [][]string) {
	m.raw("<h2>")
	m.text(title)
	m.raw("</h2>\n")
	if len(rows) == 0 {
		m.raw("<p>")
		m.text(none)
		m.raw("</p>\n")
		return
	}
	m.raw(`<div class="scroll"><table><thead><tr>`)
	for _, h := range head {
		m.raw(`<th scope="col">`)
		m.text(h)
		m.raw("</th>")
	}
	m.raw("</tr></thead><tbody>\n")
	for _, row := range rows {
		m.raw("<tr>")
		for i, cell := range row {
			m.raw([]string{"<td>", `<td class="wide">`}[bool2int(i == len(row)-1)])
			m.text(cell)
			m.raw("</td>")
		}
		m.raw("</tr>\n")
	}
	m.raw("</tbody></table></div>\n")
}

func bool2int(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Page is the page now.
func (w *Watch) Page() string { return w.page(w.now(), time.Now()) }

func (w *Watch) page(s Snapshot, at time.Time) string {
	m, h := &markup{}, w.health(s, at)
	m.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">" +
		"<meta http-equiv=\"refresh\" content=\"10\"><link rel=\"stylesheet\" href=\"/style.css\"><title>")
	m.text(s.Name + ", mote gateway")
	m.raw("</title></head><body>\n<h1>")
	m.text(s.Name)
	m.raw("</h1>\n")
	m.state(h)
	m.rows("Boards", "No board has sent a frame yet.", []string{"board", "last", "every", "readings", "last reading"}, boardRows(s.Boards, at))
	m.rows("Lines", "There is no source.", []string{"source", "state", "refused frames", "thinned out", "implausible values", "last trouble"}, sourceRows(s.Sources, at))
	m.rows("Uplinks", "There is no uplink.", []string{"uplink", "state", "waiting", "drained in", "delivered", "refused", "dropped", "last trouble"}, uplinkRows(h.Uplinks))
	written, span := w.written(s, at)
	m.rows("Spool", "", []string{"on the card", "of at most", "written", "last trouble"}, [][]string{{
		size(float64(s.Spool.Bytes)), size(float64(s.Spool.MaxBytes)), size(float64(written)) + " in " + about(span), s.Spool.LastError,
	}})
	m.clock(s)
	m.raw("<footer>")
	m.text(fmt.Sprintf("mote %s, started %s; seen %s UTC, again every 10 seconds. ", s.Version, ago(s.Started, at), at.UTC().Format("2006-01-02 15:04:05")))
	m.raw(`<a href="/healthz">healthz</a> <a href="/metrics">metrics</a></footer></body></html>` + "\n")
	return m.String()
}

func (m *markup) state(h Health) {
	if h.OK {
		m.raw("<div class=\"state\">All is well.</div>\n")
		return
	}
	m.raw("<div class=\"state bad\">Something needs a look.<ul>")
	for _, p := range h.Problems {
		m.raw("<li>")
		m.text(p)
		m.raw("</li>")
	}
	m.raw("</ul></div>\n")
}

// clock says what waits for the time to be known.
func (m *markup) clock(s Snapshot) {
	if s.ClockSet || s.Started.IsZero() {
		return
	}
	m.raw("<p class=\"off\">")
	m.text(fmt.Sprintf("This machine's clock is not set: %d readings wait until it is.", s.Untimed))
	m.raw("</p>\n")
}

func boardRows(boards []edge.BoardStatus, at time.Time) (rows [][]string) {
	for _, b := range boards {
		seen := ago(b.Seen, at)
		if !b.Alive {
			seen += ", silent"
		}
		every := "?"
		if b.Rate > 0 {
			every = b.Rate.String()
		}
		var fields []string
		for _, f := range b.Last.Fields {
			fields = append(fields, f.Name+" "+f.Text)
		}
		rows = append(rows, []string{b.ID, seen, every, fmt.Sprint(b.Frames), strings.Join(fields, ", ")})
	}
	return rows
}

func sourceRows(sources []edge.SourceStatus, at time.Time) (rows [][]string) {
	for _, s := range sources {
		state := string(s.State)
		if s.Waiting {
			state = "waits for the spool"
		}
		if !s.Since.IsZero() {
			state += " since " + about(at.Sub(s.Since))
		}
		var troubles []string
		if s.LastError != "" {
			troubles = append(troubles, s.LastError)
		}
		if r := s.LastReject; r != nil {
			troubles = append(troubles, fmt.Sprintf("refused %q: %s", r.Text, r.Reason))
		}
		if s.LastOdd != "" {
			troubles = append(troubles, "left out: "+s.LastOdd)
		}
		rows = append(rows, []string{s.Name, state, fmt.Sprint(s.Rejects), fmt.Sprint(s.Thinned), fmt.Sprint(s.Odd), strings.Join(troubles, "; ")})
	}
	return rows
}

func uplinkRows(uplinks []UplinkHealth) (rows [][]string) {
	for _, u := range uplinks {
		state, drain := "not connected", "?"
		if u.Connected {
			state = "connected"
		}
		if u.Drain != nil {
			drain = about(time.Duration(*u.Drain * float64(time.Second)))
		}
		rows = append(rows, []string{u.Name, state, fmt.Sprint(u.Waiting), drain, fmt.Sprint(u.Delivered), fmt.Sprint(u.Refused), fmt.Sprint(u.Dropped), u.Error})
	}
	return rows
}

// ago is how long before at t was.
func ago(t, at time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return about(at.Sub(t)) + " ago"
}

// about is a duration with one or two units.
func about(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// size is a number of bytes.
func size(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
