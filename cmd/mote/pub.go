package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// maxPayload is AWS IoT Core's limit of a message, bytes.
const maxPayload = 128 << 10

type pubCmd struct {
	mqttFlags
	Topic   string `arg:"" help:"Topic to publish to."`
	Payload string `arg:"" optional:"" help:"The message; without it standard input is read."`
	File    string `help:"Read the message from this file." type:"path" placeholder:"FILE" short:"f"`
	Lines   bool   `help:"Every line of standard input or the file is a message." short:"l"`
	QoS     byte   `name:"qos" help:"0: send it, 1: wait until the server has stored it." enum:"0,1" default:"1"`
	Retain  bool   `help:"Keep it for later subscribers." short:"r"`
}

// Run publishes one message, or one per line, and waits for every
// acknowledgement.
func (c pubCmd) Run(s *session) error {
	if err := mqtt.ValidTopic(c.Topic); err != nil {
		return usagef("topic %q: %w", c.Topic, err)
	}
	in, closeIn, err := c.input(s)
	if err != nil {
		return err
	}
	defer closeIn()
	conn, err := c.dial(s, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := &publisher{conn: conn, acks: make(chan error, 1024), template: mqtt.Publish{Topic: c.Topic, QoS: c.QoS, Retain: c.Retain}}
	if c.Lines {
		defer showProgress(s.stderr, func() string { return fmt.Sprintf("%d messages acknowledged", p.taken.Load()) })()
	}
	if err := p.sendAll(s.ctx, in, c.Lines); err != nil {
		return p.failed(err, c.Lines)
	}
	if err := p.wait(s.ctx); err != nil {
		return p.failed(err, c.Lines)
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	return conn.Disconnect(ctx)
}

func (c pubCmd) input(s *session) (in io.Reader, closeIn func() error, err error) {
	none := func() error { return nil }
	switch {
	case c.Payload != "" && c.File != "":
		return nil, none, usagef("give the message or --file, not both")
	case c.File != "":
		f, err := os.Open(c.File)
		if err != nil {
			return nil, none, err
		}
		return f, f.Close, nil
	case c.Payload != "":
		return strings.NewReader(c.Payload), none, nil
	}
	return s.stdin, none, nil
}

// publisher sends messages without waiting for each one's acknowledgement.
type publisher struct {
	conn     *client.Conn
	template mqtt.Publish
	sent     int
	acked    int // of them, taken or not
	taken    atomic.Int64
	acks     chan error // one per message sent
}

func (p *publisher) sendAll(ctx context.Context, in io.Reader, lines bool) error {
	if !lines {
		data, err := io.ReadAll(io.LimitReader(in, maxPayload+1))
		if err != nil {
			return err
		}
		return p.send(ctx, data)
	}
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 64<<10), maxPayload+1)
	for scan.Scan() {
		if err := p.send(ctx, append([]byte(nil), scan.Bytes()...)); err != nil {
			return err
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("after %d messages: %w", p.sent, err)
	}
	return nil
}

func (p *publisher) send(ctx context.Context, payload []byte) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("the message has over %d bytes, the most that AWS IoT takes", maxPayload)
	}
	for p.sent-p.acked >= cap(p.acks) { // so that an acknowledgement never waits for us
		if err := p.ack(ctx); err != nil {
			return err
		}
	}
	m := p.template
	m.Payload = payload
	err := p.conn.Publish(ctx, &m, func(err error) {
		if err == nil {
			p.taken.Add(1)
		}
		p.acks <- err
	})
	if err != nil {
		return err
	}
	p.sent++
	return nil
}

// failed ends the connection and adds to err how many messages the server has
// taken, so that the caller knows where to go on.
func (p *publisher) failed(err error, lines bool) error {
	_ = p.conn.Close() // every message that is under way gets its answer now
	for p.acked < p.sent {
		_ = p.ack(context.Background())
	}
	if !lines {
		return err
	}
	what := "acknowledged"
	if p.template.QoS == 0 {
		what = "sent"
	}
	return fmt.Errorf("%w; %d messages were %s", err, p.taken.Load(), what)
}

func (p *publisher) wait(ctx context.Context) error {
	for p.acked < p.sent {
		if err := p.ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) ack(ctx context.Context) error {
	select {
	case err := <-p.acks:
		p.acked++
		if err != nil {
			return fmt.Errorf("message %d was not taken: %w", p.acked, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
