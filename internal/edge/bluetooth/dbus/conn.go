package dbus

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Error is a bus's or a service's refusal of a call.
type Error struct {
	Name    string // such as org.freedesktop.DBus.Error.AccessDenied
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message + " (" + e.Name + ")"
}

// Conn is a connection with a bus. It is safe for concurrent use.
type Conn struct {
	// Name is the connection's own on the bus.
	Name string

	conn    net.Conn
	handler Handler
	done    chan struct{} // closed when reading has ended
	serving chan struct{} // holds one for each call that is being answered
	answers sync.WaitGroup

	mu      sync.Mutex
	serial  uint32                   // guarded by mu
	waiting map[uint32]chan *Message // guarded by mu: calls without an answer yet, by serial
	err     error                    // guarded by mu: why the connection ended
}

// Handler answers the calls that others make: with values of a type, or with an
// error, which travels under its name when it is an [*Error]. It also sees
// signals, whose answer is dropped. It runs in a goroutine of its own for each
// call, and may call over the same connection.
type Handler func(m *Message) (Signature, []any, error)

// maxServing bounds the calls of others that are answered at the same time;
// further ones are refused.
const maxServing = 16

// connectTimeout bounds the greeting; a bus answers at once.
const connectTimeout = 10 * time.Second

// Dial connects to the bus at an address such as
// unix:path=/run/dbus/system_bus_socket, as the user of this process.
func Dial(ctx context.Context, address string, handler Handler) (*Conn, error) {
	name, err := socketOf(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(raw)
	deadline, _ := ctx.Deadline()
	if err := errors.Join(raw.SetDeadline(deadline), authenticate(raw, in), raw.SetDeadline(time.Time{})); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	c := &Conn{conn: raw, handler: handler, done: make(chan struct{}), serving: make(chan struct{}, maxServing), waiting: map[uint32]chan *Message{}}
	go c.read(in)
	hello, err := c.Call(ctx, &Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "Hello"})
	if err == nil && len(hello) == 1 {
		c.Name, _ = hello[0].(string)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// socketOf finds the first address of a socket of this machine.
func socketOf(address string) (string, error) {
	for _, one := range strings.Split(address, ";") {
		kind, options, _ := strings.Cut(one, ":")
		for _, o := range strings.Split(options, ",") {
			key, value, _ := strings.Cut(o, "=")
			switch {
			case kind == "unix" && key == "path" && value != "":
				return value, nil
			case kind == "unix" && key == "abstract" && value != "":
				return "@" + value, nil
			}
		}
	}
	return "", fmt.Errorf("dbus: the address %q names no unix socket; it should read unix:path=/run/dbus/system_bus_socket", address)
}

// authenticate is the mechanism EXTERNAL: the bus asks the kernel who we are.
func authenticate(out net.Conn, in *bufio.Reader) error {
	if _, err := fmt.Fprintf(out, "\x00AUTH EXTERNAL %s\r\n", hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))); err != nil {
		return err
	}
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("dbus: the bus does not greet: %w", err)
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return fmt.Errorf("dbus: the bus refuses this user: %.80q", line)
	}
	_, err = out.Write([]byte("BEGIN\r\n"))
	return err
}

// read serves what comes until the connection ends.
func (c *Conn) read(in *bufio.Reader) {
	defer close(c.done)
	for {
		m, err := read(in)
		if err != nil {
			c.end(err)
			return
		}
		switch m.Kind {
		case Return, Failed:
			c.mu.Lock()
			answer := c.waiting[m.ReplyTo]
			delete(c.waiting, m.ReplyTo)
			c.mu.Unlock()
			if answer != nil {
				answer <- m
			}
		case Call, Signal:
			c.serve(m)
		}
	}
}

func (c *Conn) serve(m *Message) {
	select {
	case c.serving <- struct{}{}:
	default:
		c.reply(m, "", nil, &Error{Name: "org.freedesktop.DBus.Error.LimitsExceeded"})
		return
	}
	c.answers.Go(func() {
		kind, values, err := c.handler(m)
		c.reply(m, kind, values, err)
		<-c.serving
	})
}

func (c *Conn) reply(m *Message, kind Signature, values []any, err error) {
	if m.Kind != Call {
		return
	}
	reply := &Message{Kind: Return, ReplyTo: m.Serial, Destination: m.Sender, Type: kind, Body: values}
	if err != nil {
		name := "org.freedesktop.DBus.Error.Failed"
		var known *Error
		if errors.As(err, &known) {
			name = known.Name
		}
		reply.Kind, reply.ErrorName, reply.Type, reply.Body = Failed, name, "s", []any{err.Error()}
	}
	if _, err := c.send(reply, nil); err != nil {
		c.end(err)
	}
}

// end closes the connection and tells all who wait.
func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.conn.Close()
	for serial, answer := range c.waiting {
		delete(c.waiting, serial)
		close(answer)
	}
}

// Close ends the connection and waits until nothing of it runs any more.
func (c *Conn) Close() {
	c.end(net.ErrClosed)
	<-c.done
	c.answers.Wait()
}

// send gives the message a serial and sends it; answer gets what answers it.
func (c *Conn) send(m *Message, answer chan *Message) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, fmt.Errorf("dbus: the connection has ended: %w", c.err)
	}
	c.serial++
	m.Serial = c.serial
	p, err := m.marshal()
	if err != nil {
		return 0, err
	}
	if answer != nil {
		c.waiting[m.Serial] = answer
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return 0, err
	}
	_, err = c.conn.Write(p)
	return m.Serial, err
}

// Call calls a method and waits for its answer. A refusal is an [*Error].
func (c *Conn) Call(ctx context.Context, m *Message) ([]any, error) {
	m.Kind = Call
	answer := make(chan *Message, 1)
	serial, err := c.send(m, answer)
	if err != nil {
		return nil, err
	}
	select {
	case r, ok := <-answer:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, fmt.Errorf("dbus: the connection has ended: %w", c.err)
		}
		if r.Kind == Failed {
			e := &Error{Name: r.ErrorName}
			if len(r.Body) > 0 {
				e.Message, _ = r.Body[0].(string)
			}
			return nil, e
		}
		return r.Body, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, serial)
		c.mu.Unlock()
		return nil, ctx.Err()
	}
}
