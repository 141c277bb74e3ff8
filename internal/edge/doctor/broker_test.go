package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mote/internal/config"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

// refusing is a broker that takes every login and no subscription.
func refusing(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			refuse(conn)
		}
	}()
	return l.Addr().String()
}

// refuse answers one client. A connection that only looks is closed.
func refuse(conn net.Conn) {
	defer conn.Close()
	r := mqtt.NewReader(conn, mqtt.Decoder{Version: mqtt.V5, From: mqtt.FromClient, Max: 1 << 16})
	for {
		f, ok, err := r.Next()
		if err == nil && !ok {
			if err = r.Fill(); err == nil {
				continue
			}
		}
		if err != nil {
			return
		}
		var answer []byte
		switch p, _ := r.Packet(f); p := p.(type) {
		case *mqtt.Connect:
			answer, _ = (&mqtt.Connack{}).Append(nil, mqtt.V5)
		case *mqtt.Subscribe:
			answer, _ = (&mqtt.Suback{PacketID: p.PacketID, Codes: []mqtt.ReasonCode{mqtt.NotAuthorized}}).Append(nil, mqtt.V5)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func TestTheBrokerOfBoards(t *testing.T) {
	m, password := mqtttest.StartSecured(t, nil)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, c := range map[string]struct {
		source config.Source
		check  string // behind the source's name
		level  Level
		text   string
		remedy string
	}{
		"well":           {config.Source{MQTT: m.Addr, Topic: "sensors/+/air", User: "gateway", PasswordFile: password}, " subscription", OK, "took the login and the subscription to sensors/+/air", ""},
		"version 3.1.1":  {config.Source{MQTT: m.Addr, Topic: "sensors/+/air", User: "gateway", PasswordFile: password, MQTTVersion: "3.1.1"}, " subscription", OK, "took the login", ""},
		"wrong password": {config.Source{MQTT: m.Addr, Topic: "sensors/+/air", User: "gateway", PasswordFile: wrong}, " subscription", Fail, `refuses the user "gateway"`, "password_file"},
		"no user":        {config.Source{MQTT: m.Addr, Topic: "sensors/+/air"}, " subscription", Fail, `refuses the user ""`, "password_file"},
		"other topic":    {config.Source{MQTT: refusing(t), Topic: "secret/#", User: "gateway", PasswordFile: password}, " subscription", Fail, "may not follow secret/# as user \"gateway\"", "subscribe to secret/#"},
		"no password":    {config.Source{MQTT: m.Addr, Topic: "a", User: "gateway", PasswordFile: wrong + "er"}, "", Fail, "no such file", "let the gateway's user read"},
		"nobody there":   {config.Source{MQTT: "127.0.0.1:1", Topic: "a"}, " network", Fail, "nothing listens", "start what should listen"},
		"no such name":   {config.Source{MQTT: "broker.invalid:1883", Topic: "a"}, " network", Fail, "broker.invalid", ""},
		"not MQTT":       {config.Source{MQTT: silent.Addr().String(), Topic: "a"}, " subscription", Fail, "did not answer CONNECT", "set tls = true"},
		"TLS to a plain": {config.Source{MQTT: m.Addr, Topic: "a", TLS: true}, " tls", Fail, "closes the connection instead", "check the port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := gatewayFile(t)
			f.Sources = []config.Source{c.source}
			timeout := watch.Patience
			if name == "not MQTT" || name == "no such name" { // nothing comes, or late
				timeout = 2 * time.Second
			}
			results := Examine(t.Context(), f, Options{Timeout: timeout})
			r := find(t, results, "source "+c.source.MQTT+c.check)
			want(t, r, c.level, c.text)
			if !strings.Contains(r.Remedy, c.remedy) {
				t.Errorf("the remedy is %q, want one with %q", r.Remedy, c.remedy)
			}
		})
	}
}

// TestTheSessionOfTheGatewayIsLeftAlone has messages wait for a gateway that is
// away: the doctor neither takes them nor ends the session.
func TestTheSessionOfTheGatewayIsLeftAlone(t *testing.T) {
	m := mqtttest.Start(t, nil)
	got := make(chan string, 10)
	session := client.Options{Addr: m.Addr, ClientID: "sensors", SessionExpiry: 3600, OnMessage: func(p *mqtt.Publish) { got <- string(p.Payload) }}
	conn, err := client.Dial(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Subscribe(t.Context(), mqtt.Subscription{Filter: "sensors/#", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	conn.Disconnect(t.Context())
	if out, err := exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", m.Addr[strings.LastIndexByte(m.Addr, ':')+1:], "-q", "1", "-t", "sensors/1", "-m", "kept").CombinedOutput(); err != nil {
		t.Skipf("mosquitto_pub: %v %s", err, out)
	}
	f := gatewayFile(t)
	f.Sources = []config.Source{{MQTT: m.Addr, Topic: "sensors/#", ClientID: "sensors"}}
	want(t, find(t, examine(t, f, time.Now()), "source "+m.Addr+" subscription"), OK, "took the login")
	if conn, err = client.Dial(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	select {
	case text := <-got:
		if text != "kept" {
			t.Errorf("got %q", text)
		}
	case <-time.After(watch.Patience):
		t.Error("the message that waited is gone")
	}
}

// TestMQTTOverTLS checks the uplink and a source against a broker that wants
// certificates.
func TestMQTTOverTLS(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	other := mqtttest.NewCerts(t)
	now := time.Now()
	_, port, _ := net.SplitHostPort(m.Addr)
	for name, c := range map[string]struct {
		addr, ca, cert, key string
		now                 time.Time
		source, uplink      string // the checks
		level               Level
		text                string
	}{
		"well":         {m.Addr, certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile, now, " tls", " tls", OK, "certificate of"},
		"another CA":   {m.Addr, other.CAFile, certs.ClientCertFile, certs.ClientKeyFile, now, " tls", " tls", Fail, "comes from no CA"},
		"another cert": {m.Addr, certs.CAFile, other.ClientCertFile, other.ClientKeyFile, now, " subscription", " policy", Fail, "did not accept this client's certificate"},
		"another key":  {m.Addr, certs.CAFile, certs.ClientCertFile, other.ClientKeyFile, now, " certificate", " certificate", Fail, "does not match"},
		"another name": {"127.0.0.2:" + port, certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile, now, " network", " network", Fail, "nothing listens"},
		"clock back":   {m.Addr, certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile, now.Add(-30 * 24 * time.Hour), " tls", " tls", Fail, "the clock is wrong"},
		"clock ahead":  {m.Addr, certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile, now.Add(30 * 24 * time.Hour), " tls", " tls", Fail, "ended on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := gatewayFile(t)
			f.Sources = []config.Source{{MQTT: c.addr, Topic: "a", TLS: true, CA: c.ca, Cert: c.cert, Key: c.key}}
			f.Uplink.IoT = &config.UplinkIoT{Endpoint: c.addr, ClientID: "roof", Topic: "sensors/{id}/air", CA: c.ca, Cert: c.cert, Key: c.key}
			results := examine(t, f, c.now)
			want(t, find(t, results, "source "+c.addr+c.source), c.level, c.text)
			want(t, find(t, results, "uplink.iot"+c.uplink), c.level, c.text)
		})
	}
}

func TestPublishIsAskedFor(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	f := gatewayFile(t)
	f.Uplink.IoT = &config.UplinkIoT{Endpoint: m.Addr, ClientID: "roof", Topic: "sensors/{id}/air", CA: certs.CAFile, Cert: certs.ClientCertFile, Key: certs.ClientKeyFile}
	want(t, find(t, examine(t, f, time.Now()), "uplink.iot publish"), Skip, "--publish")
	var answer error
	o := Options{Timeout: watch.Patience, Publish: map[string]func(context.Context) error{"iot": func(context.Context) error { return answer }}}
	want(t, find(t, Examine(t.Context(), f, o), "uplink.iot publish"), OK, "took a test reading")
	answer = fmt.Errorf("no")
	r := find(t, Examine(t.Context(), f, o), "uplink.iot publish")
	want(t, r, Fail, "no")
	if !strings.Contains(r.Remedy, "topic/sensors/*/air") {
		t.Errorf("remedy: %q", r.Remedy)
	}
}
