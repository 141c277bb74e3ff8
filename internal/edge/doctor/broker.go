package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"

	"mote/internal/config"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// broker checks the broker to which boards publish. It connects beside the
// gateway, whose session it leaves alone, under a client id of its own.
func (e *exam) broker(ctx context.Context, s *config.Source) {
	check := "source " + s.MQTT
	o := client.Options{Addr: s.MQTT, ClientID: firstOf(s.ClientID, e.file.Gateway.Name) + "-doctor", Version: mqtt.V5, CleanStart: true, Username: s.User, DialTimeout: 2 * e.Timeout}
	if s.MQTTVersion == "3.1.1" {
		o.Version = mqtt.V311
	}
	if s.PasswordFile != "" {
		password, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			e.fail(check, "let the gateway's user read the file of the password", "%v", err)
			return
		}
		o.Password = bytes.TrimRight(password, "\r\n")
	}
	if s.TLS {
		var ok bool
		if o.TLS, ok = e.brokerTLS(check, s); !ok {
			return
		}
	}
	if e.reach(ctx, check, s.MQTT, o.TLS) {
		e.subscription(ctx, check+" subscription", s.Topic, o)
	}
}

func (e *exam) brokerTLS(check string, s *config.Source) (*tls.Config, bool) {
	pool, err := roots(s.CA)
	if err != nil {
		e.fail(check+" tls", "set ca to the root certificate of the broker", "%v", err)
		return nil, false
	}
	host, _, _ := net.SplitHostPort(s.MQTT)
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: pool, Time: e.Now}
	if s.Cert == "" {
		return cfg, true
	}
	pair, ok := e.certificate(check+" certificate", s.Cert, s.Key)
	cfg.Certificates = pair
	return cfg, ok
}

// subscription logs in and asks for the topic. What comes is not read.
func (e *exam) subscription(ctx context.Context, check, filter string, o client.Options) {
	conn, err := client.Dial(ctx, o)
	if err != nil {
		e.fail(check, loginRemedy(err), "the broker refuses the user %q: %v", o.Username, err)
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	if _, err := conn.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1, RetainHandling: 2}); err != nil {
		e.fail(check, "let the user subscribe to "+filter+" at the broker", "it may not follow %s as user %q: %v", filter, o.Username, err)
		return
	}
	// Mosquitto with an acl_file takes every subscription, and keeps back what the
	// user may not read.
	e.ok(check, "the broker took the login and the subscription to %s", filter)
	_ = conn.Disconnect(ctx)
}

// loginRemedy says what to do about a connection that was refused.
func loginRemedy(err error) string {
	var refused *client.RefusedError
	switch {
	case errors.As(err, &refused) && (refused.Code == mqtt.NotAuthorized || refused.Code == mqtt.BadUserNameOrPassword):
		return "correct user and password_file, or let the broker know them: with Mosquitto, mosquitto_passwd"
	case errors.As(err, &refused):
		return refused.Advice()
	case strings.Contains(err.Error(), "expect TLS"):
		return "set tls = true, or the port of the broker without TLS"
	}
	return "look at the broker's log"
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
