package main

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mote/internal/config"
	mqttsource "mote/internal/edge/source/mqtt"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
)

// TestABrokerWithTLSAndPassword has a board publish through a Mosquitto that asks
// for a certificate and a login, and one thing wrong at a time.
func TestABrokerWithTLSAndPassword(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m, password := mqtttest.StartSecured(t, certs)
	good := config.Source{
		MQTT: m.Addr, Topic: "sensors/+/air", TopicLevel: 2, User: "gateway", PasswordFile: password,
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
