package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/reading"
)

type subCmd struct {
	mqttFlags
	Filters []string `arg:"" help:"Topic filters, for example 'sensors/+/air' or '#'."`
	Count   int      `help:"End after this many messages; 0: go on until Ctrl-C." short:"n" default:"0"`
	QoS     byte     `name:"qos" help:"Most that is asked for." enum:"0,1" default:"1"`
	Output  string   `help:"text: topic and payload, json: one object per message, payload: the bytes alone." enum:"text,json,payload" default:"text" short:"o"`
}

// Run prints messages until Ctrl-C, the connection's end, or --count.
func (c subCmd) Run(s *session) error {
	for _, f := range c.Filters {
		if err := mqtt.ValidFilter(f); err != nil {
			return usagef("filter %q: %w", f, err)
		}
	}
	printed := make(chan error, 1) // the end: nil after --count messages
	left := c.Count
	conn, err := c.dial(s, func(p *mqtt.Publish) {
		err := c.print(s.stdout, p)
		if left--; err != nil || left == 0 {
			select {
			case printed <- err:
			default: // it has ended before
			}
		}
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := c.subscribe(s, conn); err != nil {
		return err
	}
	select {
	case err := <-printed:
		return err
	case <-s.ctx.Done():
		return nil
	case <-conn.Done():
		if err := conn.Err(); err != nil {
			return fmt.Errorf("connection ended: %w", err)
		}
		return errors.New("connection ended by the server")
	}
}

// print writes one message.
func (c subCmd) print(w io.Writer, p *mqtt.Publish) error {
	switch c.Output {
	case "payload":
		_, err := w.Write(append(p.Payload[:len(p.Payload):len(p.Payload)], '\n'))
		return err
	case "json":
		m := map[string]any{"time": reading.TimeText(time.Now()), "topic": p.Topic, "qos": p.QoS, "retain": p.Retain}
		switch {
		case json.Valid(p.Payload):
			m["payload"] = json.RawMessage(p.Payload)
		case utf8.Valid(p.Payload):
			m["payload"] = string(p.Payload)
		default:
			m["payload_base64"] = base64.StdEncoding.EncodeToString(p.Payload)
		}
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		_, err = w.Write(append(data, '\n'))
		return err
	}
	_, err := fmt.Fprintf(w, "%s %s\n", printable(p.Topic), printable(string(p.Payload)))
	return err
}

func (c subCmd) subscribe(s *session, conn *client.Conn) error {
	subs := make([]mqtt.Subscription, len(c.Filters))
	for i, f := range c.Filters {
		subs[i] = mqtt.Subscription{Filter: f, QoS: c.QoS}
	}
	codes, err := conn.Subscribe(s.ctx, subs...)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for i, code := range codes {
		if code >= 0x80 {
			return fmt.Errorf("the server refuses the subscription to %q: %v; its log and console say why", c.Filters[i], code)
		}
	}
	return nil
}
