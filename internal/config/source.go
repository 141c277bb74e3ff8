package config

import (
	"net"
	"strings"
	"time"
)

// Frames of a source.
const (
	FormatPattern = "pattern"
	FormatJSON    = "jsonl"
	FormatCSV     = "csv"
	FormatValue   = "value"
)

// DefaultHeartbeat is how often a reading is sent although nothing changed.
const DefaultHeartbeat = 10 * time.Minute

// sourceFormat checks how frames are written. The pattern itself, the columns
// and the names in them are checked by who compiles them.
func (c *checker) sourceFormat(at string, s *Source) {
	if s.Format == "" {
		if s.Format = FormatPattern; s.MQTT != "" && s.Pattern == "" {
			s.Format = FormatJSON
		}
	}
	c.oneOf(at+".format", s.Format, FormatPattern, FormatJSON, FormatCSV, FormatValue)
	c.sourceValue(at, s)
	if s.Pattern != "" && s.Format != FormatPattern {
		c.fail(at+".pattern", "pattern and format %q: want one of them", s.Format)
	}
	if s.Format != FormatCSV {
		for key, set := range map[string]bool{"columns": len(s.Columns) > 0, "delimiter": s.Delimiter != "", "comment": s.Comment != ""} {
			if set {
				c.fail(at+"."+key, "%s belongs to format \"csv\"", key)
			}
		}
	}
	if s.Format == FormatCSV && len(s.Columns) == 0 {
		c.fail(at+".format", "format \"csv\" needs the names of the columns: columns = [\"id\", \"dust\", \"temp\"]")
	}
	switch {
	case s.ID == "" || s.Addressed || s.Format == FormatJSON:
	case s.Format == FormatValue:
		c.fail(at+".id", "id %.40q is no level of the topic: want id = \"{topic:2}\"", s.ID)
	default:
		c.fail(at+".id", "id belongs to format \"jsonl\"; a pattern and columns name the field id themselves")
	}
	if s.ID != "" && s.Board != "" {
		c.fail(at+".board", "board names the one board of this line, id says where each frame has its board: want one of them")
	}
	if s.Format == FormatPattern && s.Pattern == "" {
		s.Pattern = DefaultPattern
	}
	if s.MaxFrame == 0 {
		if s.MaxFrame = 256; s.Format == FormatJSON {
			s.MaxFrame = 2048
		}
	}
	if s.MaxFrame < 8 || s.MaxFrame > 32768 {
		c.fail(at+".max_frame", "max_frame %d: want 8 to 32768 bytes", s.MaxFrame)
	}
}

// OfTopic says whether a name is made of levels of the topic, {topic:N}.
func OfTopic(name string) bool { return strings.Contains(name, "{topic:") }

// sourceValue checks the keys of bare values. What they hold is checked by who
// reads topics.
func (c *checker) sourceValue(at string, s *Source) {
	switch {
	case s.Format != FormatValue && s.Value != "":
		c.fail(at+".value", "value belongs to format \"value\"")
	case s.Format != FormatValue:
	case s.MQTT == "":
		c.fail(at+".format", "format \"value\" belongs to an mqtt source; elsewhere, format = \"csv\" with one column does the same")
	case s.Value == "":
		c.fail(at+".format", "format \"value\" needs the name of the field: a level of the topic, value = \"{topic:3}\", or value = \"temp\"")
	case s.ID == "" && s.Board == "":
		c.fail(at+".format", "format \"value\" needs to know the board: a level of the topic, id = \"{topic:2}\", or board = \"roof\"")
	}
}

// mostCommand bounds the payload of commands, bytes.
const mostCommand = 1024

// sourceCommand checks how boards behind a broker are told their rate. The topic
// is checked by who publishes.
func (c *checker) sourceCommand(at string, s *Source) {
	switch {
	case s.Command == "" && (s.Payload != "" || s.Retain):
		c.fail(at, "command_payload and command_retain need command, the topic on which a board is told its rate, such as \"boards/{id}/set\"")
	case s.Command == "":
	case s.Board == "" && !strings.Contains(s.Command, "{id}"):
		c.fail(at+".command", "command %.80q does not say which board is meant: write {id} in the place of the board's id, such as \"boards/{id}/set\"", s.Command)
	case s.Payload != "" && !strings.Contains(s.Payload, "{rate}") || len(s.Payload) > mostCommand:
		c.fail(at+".command_payload", "command_payload %.40q: want at most %d bytes with {rate} in the place of the seconds", s.Payload, mostCommand)
	}
}

// sourceMQTT checks the keys of an MQTT source, which no other kind has.
func (c *checker) sourceMQTT(at string, s *Source) {
	if s.MQTT == "" {
		for key, set := range map[string]bool{
			"command": s.Command != "", "command_payload": s.Payload != "", "command_retain": s.Retain,
			"topic": s.Topic != "", "client_id": s.ClientID != "", "mqtt_version": s.MQTTVersion != "", "user": s.User != "", "password_file": s.PasswordFile != "",
			"tls": s.TLS, "ca": s.CA != "", "cert": s.Cert != "", "key": s.Key != "",
		} {
			if set {
				c.fail(at+"."+key, "%s belongs to an mqtt source", key)
			}
		}
		return
	}
	c.hostPort(at+".mqtt", s.MQTT)
	if s.Topic == "" {
		c.fail(at, "an mqtt source needs topic: what to subscribe to, such as \"sensors/+/air\"")
	}
	if s.MQTTVersion == "" {
		s.MQTTVersion = "5"
	}
	c.oneOf(at+".mqtt_version", s.MQTTVersion, "5", "3.1.1")
	s.Addressed = OfTopic(s.ID)
	c.sourceCommand(at, s)
	s.TLS = s.TLS || s.CA != "" || s.Cert != ""
	if host, _, err := net.SplitHostPort(s.MQTT); err == nil && s.PasswordFile != "" && !s.TLS && !isLoopback(host) {
		c.fail(at+".password_file", "the password would go to %s in the clear: set tls = true, or use a broker on this machine", host)
	}
	if (s.Cert == "") != (s.Key == "") {
		c.fail(at, "cert and key belong together")
	}
	for _, f := range []struct {
		key, what string
		path      *string
	}{{"password_file", "the password of the MQTT user", &s.PasswordFile}, {"ca", "the root certificate of the broker", &s.CA}, {"cert", "the client certificate", &s.Cert}, {"key", "the private key of the certificate", &s.Key}} {
		if *f.path != "" {
			*f.path = c.file(at+"."+f.key, *f.path, f.what)
		}
	}
}

// sourceValues checks what becomes of values.
func (c *checker) sourceValues(at string, s *Source) {
	if s.Implausible == "" {
		s.Implausible = "drop-field"
	}
	c.oneOf(at+".implausible", s.Implausible, "drop-field", "drop-frame")
	s.EveryTime = c.duration(at+".every", s.Every)
	s.HeartbeatAfter = c.duration(at+".heartbeat", s.Heartbeat)
	banded := false
	for i, f := range s.Fields {
		if f.Name == "" {
			c.fail(at, "[[source.field]] number %d has no name: the field that it describes", i+1)
		}
		if f.Round != nil && (*f.Round < 0 || *f.Round > 30) {
			c.fail(at, "field %q: round = %d: want 0 to 30 places after the point", f.Name, *f.Round)
		}
		banded = banded || f.Deadband != nil
	}
	switch {
	case s.Heartbeat != "" && !banded:
		c.fail(at+".heartbeat", "heartbeat belongs to a dead-band: give a [[source.field]] a deadband")
	case s.Heartbeat == "" && banded:
		s.HeartbeatAfter = DefaultHeartbeat
	}
}

// duration reads a duration of a second or more; "" is 0.
func (c *checker) duration(path, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		c.fail(path, "%s %q: want a duration of a second or more, such as \"90s\" or \"5m\"", keyOf(path), text)
	}
	return d
}
