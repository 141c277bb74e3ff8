package config

import (
	"strings"
	"testing"
	"time"
)

const sourceHead = "[gateway]\nname = \"g\"\n[[source]]\nsim = 1\n"

func TestSourceFormats(t *testing.T) {
	f, err := Parse("mote.toml", "/", []byte(`[gateway]
name = "g"
[[source]]
tcp = "a:1"
format = "csv"
columns = ["id", "", "temp"]
every = "1m"
[[source.field]]
name = "temp"
unit = "°C"
scale = 0.1
min = -40
deadband = 0.5
[[source]]
tcp = "b:1"
format = "jsonl"
board = "roof"
units = true
[[source.field]]
name = "x"
round = 1
`))
	if err != nil {
		t.Fatal(err)
	}
	a, b := f.Sources[0], f.Sources[1]
	if a.EveryTime != time.Minute || a.HeartbeatAfter != DefaultHeartbeat || a.MaxFrame != 256 || a.Pattern != "" || a.Implausible != "drop-field" ||
		len(a.Fields) != 1 || *a.Fields[0].Scale != 0.1 || *a.Fields[0].Min != -40 || a.Fields[0].Max != nil {
		t.Errorf("%+v", a)
	}
	if b.MaxFrame != 2048 || b.Board != "roof" || b.HeartbeatAfter != 0 || *b.Fields[0].Round != 1 || b.Fields[0].Scale != nil {
		t.Errorf("%+v", b)
	}
}

func TestSourceFormatsRefuse(t *testing.T) {
	for text, want := range map[string]string{
		`format = "json"`:                          `5: format = "json": want one of pattern, jsonl, csv, value (did you mean "jsonl"?)`,
		`format = "csv"`:                           `5: format "csv" needs the names of the columns`,
		"format = \"value\"":                       `5: format "value" belongs to an mqtt source; elsewhere, format = "csv"`,
		`value = "temp"`:                           `5: value belongs to format "value"`,
		`command = "boards/{id}/set"`:              `5: command belongs to an mqtt source`,
		`command_retain = true`:                    `5: command_retain belongs to an mqtt source`,
		"format = \"jsonl\"\npattern = \"{id}\"":   `6: pattern and format "jsonl": want one of them`,
		`columns = ["id"]`:                         `5: columns belongs to format "csv"`,
		`delimiter = ";"`:                          `5: delimiter belongs to format "csv"`,
		`id = "device"`:                            `5: id belongs to format "jsonl"`,
		`every = "10"`:                             `5: every "10": want a duration`,
		`heartbeat = "1m"`:                         `5: heartbeat belongs to a dead-band`,
		`implausible = "drop"`:                     `5: implausible = "drop": want one of drop-field, drop-frame`,
		`max_frame = 40000`:                        `5: max_frame 40000`,
		"[[source.field]]\nunit = \"x\"":           `number 1 has no name`,
		"[[source.field]]\nname = \"a\"\nround=31": `round = 31`,
		"[[source.field]]\nnmae = \"a\"":           `6: unknown key "nmae" in [source.field]: did you mean "name"?`,
		"[[source.field]]\nscale = \"a\"":          `6: wrong type: this is a TOML string, want a number`,
	} {
		_, err := Parse("mote.toml", "/", []byte(sourceHead+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

func TestMQTTSources(t *testing.T) {
	head := "[gateway]\nname = \"g\"\n[[source]]\nmqtt = \"127.0.0.1:1883\"\n"
	f, err := Parse("mote.toml", "/", []byte(head+"topic = \"sensors/+/air\"\nid = \"{topic:2}\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Sources[0]; !s.Addressed || s.Format != FormatJSON || s.MQTTVersion != "5" || s.TLS {
		t.Errorf("%+v", s)
	}
	f, err = Parse("mote.toml", "/", []byte(head+`topic = "+/+/+/state"
format = "value"
id = "{topic:1}"
value = "{topic:3}"
command = "{id}/number/rate/command"
command_payload = "{rate}"
`))
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Sources[0]; s.Format != FormatValue || s.Value != "{topic:3}" || s.Command != "{id}/number/rate/command" || s.Payload != "{rate}" || s.Retain || s.MaxFrame != 256 {
		t.Errorf("%+v", s)
	}
	topic := head + "topic = \"a/+\"\n"
	for text, want := range map[string]string{
		topic + "format = \"value\"\n":                                                                  `6: format "value" needs the name of the field`,
		topic + "format = \"value\"\nvalue = \"t\"\n":                                                   `6: format "value" needs to know the board`,
		topic + "format = \"value\"\nvalue = \"t\"\nid = \"device\"\n":                                  `8: id "device" is no level of the topic`,
		topic + "format = \"value\"\npattern = \"{id}\"\nboard = \"b\"\n":                               `7: pattern and format "value"`,
		topic + "value = \"t\"\n":                                                                       `6: value belongs to format "value"`,
		topic + "command = \"boards/set\"\n":                                                            `6: command "boards/set" does not say which board is meant: write {id}`,
		topic + "command = \"boards/{id}\"\ncommand_payload = \"on\"\n":                                 `7: command_payload "on": want at most 1024 bytes with {rate}`,
		topic + "command_retain = true\n":                                                               `need command, the topic on which a board is told its rate`,
		topic + "command_payload = \"{rate}\"\n":                                                        `need command, the topic on which a board is told its rate`,
		topic + "command = \"b/{id}\"\ncommand_payload = \"{rate}" + strings.Repeat("x", 1024) + "\"\n": `want at most 1024 bytes`,
		head: "needs topic",
		head + "topic = \"a\"\nmqtt_version = \"4\"\n": `mqtt_version = "4": want one of 5, 3.1.1`,
		head + "topic = \"a\"\ncert = \"x\"\n":         "cert and key belong together",
		sourceHead + "topic = \"a\"\n":                 "topic belongs to an mqtt source",
		strings.Replace(head, "127.0.0.1", "broker", 1) + "topic = \"a\"\npassword_file = \"/dev/null\"\n": "in the clear",
	} {
		if _, err := Parse("mote.toml", "/", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}
