package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/config"
	"mote/internal/edge"
	mqttsource "mote/internal/edge/source/mqtt"
	"mote/internal/edge/spool"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

// TestABrokerWithTLSAndPassword has a board publish through a Mosquitto that asks
// for a certificate and a login, and one thing wrong at a time.
func TestABrokerWithTLSAndPassword(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m, password := mqtttest.StartSecured(t, certs)
	good := config.Source{
		MQTT: m.Addr, Topic: "sensors/+/air", ID: "{topic:2}", Addressed: true, User: "gateway", PasswordFile: password,
		TLS: true, CA: certs.CAFile, Cert: certs.ClientCertFile, Key: certs.ClientKeyFile,
	}
	for _, version := range []string{"5", "3.1.1"} {
		good.MQTTVersion, good.ClientID = version, "pi-"+version
		conn, err := dialBroker(t, good)
		if err != nil {
			t.Fatalf("version %s: %v", version, err)
		}
		publishAsBoard(t, certs, m.Addr)
		messages, err := conn.Messages(t.Context())
		if err != nil || len(messages) != 1 || messages[0].Board != "roof" || string(messages[0].Data) != `{"t":1}` {
			t.Errorf("version %s: %q, %v", version, messages, err)
		}
		conn.Close()
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*config.Source){
		"another password":   func(c *config.Source) { c.PasswordFile = wrong },
		"no login":           func(c *config.Source) { c.User, c.PasswordFile = "", "" },
		"no TLS":             func(c *config.Source) { c.TLS = false },
		"the system's roots": func(c *config.Source) { c.CA = "" },
		"no certificate":     func(c *config.Source) { c.Cert, c.Key = "", "" },
	} {
		bad := good
		change(&bad)
		if conn, err := dialBroker(t, bad); err == nil {
			conn.Close()
			t.Errorf("with %s it is taken", what)
		}
	}
	refused := good
	refused.PasswordFile = wrong
	var code *client.RefusedError
	if _, err := dialBroker(t, refused); !errors.As(err, &code) || code.Code != mqtt.NotAuthorized && code.Code != mqtt.BadUserNameOrPassword {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestBoardsOfBareValuesFromEndToEnd has a board publish each value on a topic of
// its own, through Mosquitto, be told its rate, and confirm it.
func TestBoardsOfBareValuesFromEndToEnd(t *testing.T) {
	m := mqtttest.Start(t, nil)
	file, err := config.Parse("mote.toml", t.TempDir(), fmt.Appendf(nil, `[gateway]
name = "pi"
[[source]]
mqtt = %q
topic = "+/+/+/state"
format = "value"
id = "{topic:1}"
value = "{topic:3}"
units = true
text = ["door"]
command = "{id}/number/rate/command"
command_payload = "{rate}"
[[source.field]]
name = "temperature"
unit = "°C"
scale = 0.1
`, m.Addr))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := newLines(&file.Sources[0], "pi")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := spool.Open(t.TempDir(), spool.Options{Readers: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	confirmed := make(chan string, 100)
	g, err := edge.New(edge.Options{Lines: lines, Spool: kept, Seen: func(board string, rate time.Duration) {
		if rate > 0 {
			confirmed <- board + " " + rate.String()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	defer func() { stop(); <-done }()
	watch.Until(t, "the line is open", func() bool { return g.Status().Sources[0].State == edge.Connected })
	var board *client.Conn
	publish := func(topic string, payload []byte) {
		if err := board.Publish(t.Context(), &mqtt.Publish{Topic: topic, Payload: payload, QoS: 1}, nil); err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
	board, err = client.Dial(t.Context(), client.Options{Addr: m.Addr, ClientID: "board", CleanStart: true, OnMessage: func(p *mqtt.Publish) {
		publish("kitchen/number/rate/state", p.Payload) // it obeys, and says so
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	if _, err := board.Subscribe(t.Context(), mqtt.Subscription{Filter: "kitchen/number/rate/command", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	for _, m := range [][2]string{{"sensor/temperature", "215"}, {"sensor/humidity", "nan"}, {"binary_sensor/door", "ON"}, {"number/rate", "60"}} {
		publish("kitchen/"+m[0]+"/state", []byte(m[1]))
	}
	await := func(want string) {
		t.Helper()
		select {
		case got := <-confirmed:
			if got != want {
				t.Errorf("seen %s, want %s", got, want)
			}
		case <-time.After(watch.Patience):
			t.Fatalf("no rate is seen; %+v", g.Status())
		}
	}
	await("kitchen 1m0s")
	if !g.Command("kitchen", 1500*time.Millisecond) {
		t.Error("the line takes no command")
	}
	await("kitchen 1.5s")
	records, err := kept.Reader("test").Poll(nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		_, values, _ := strings.Cut(string(r.Data), `"id"`)
		got = append(got, values)
	}
	if want := []string{`:"kitchen","temperature":21.5,"temperature_unit":"°C"}`, `:"kitchen","door":"ON"}`}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if s := g.Status().Sources[0]; s.Rejects != 1 || !strings.Contains(s.LastReject.Reason, `"nan", is not a number`) {
		t.Errorf("%+v", s)
	}
}

func dialBroker(t *testing.T, c config.Source) (*mqttsource.Conn, error) {
	t.Helper()
	source, err := newMQTTSource(&c, "pi")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := source.Dial(t.Context())
	if err != nil {
		return nil, err
	}
	return conn.(*mqttsource.Conn), nil
}

// publishAsBoard publishes a reading of the board roof.
func publishAsBoard(t *testing.T, certs *mqtttest.Certs, addr string) {
	t.Helper()
	conn, err := client.Dial(t.Context(), client.Options{
		Addr: addr, ClientID: "board", Username: "board", Password: []byte("other"), CleanStart: true,
		TLS: &tls.Config{RootCAs: certs.CA, Certificates: []tls.Certificate{certs.Client}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	acked := make(chan error, 1)
	err = conn.Publish(t.Context(), &mqtt.Publish{Topic: "sensors/roof/air", Payload: []byte(`{"t":1}`), QoS: 1}, func(err error) { acked <- err })
	if err == nil {
		err = <-acked
	}
	if err != nil {
		t.Fatal(err)
	}
}
