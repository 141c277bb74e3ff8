package client

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"mote/internal/mqtt"
)

var (
	// ErrClosed is how a connection ended that this side closed.
	ErrClosed = errors.New("the connection was closed by this side")
	// ErrKeepAlive is how a connection ended whose server went silent.
	ErrKeepAlive = errors.New("the server did not answer a ping in time")
	// ErrNoAnswer is wrapped when the server closes instead of answering
	// CONNECT. AWS IoT Core does that for a client id that the policy does not
	// allow, in version 3.1.1.
	ErrNoAnswer = errors.New("the server closed the connection instead of answering CONNECT: " +
		"check that the certificate is active, and that its policy allows iot:Connect for this client id")
	// ErrServerClosed is wrapped when the server closed an established
	// connection without giving a reason. AWS IoT Core does that for a denied
	// publish, in version 3.1.1.
	ErrServerClosed = errors.New("the server closed the connection without giving a reason")
)

// RefusedError is a CONNACK that refuses the connection.
type RefusedError struct {
	Addr      string
	Code      mqtt.ReasonCode
	Reason    string // the server's reason string, version 5 only; may be ""
	Reference string // the server to use instead; may be ""
	clientID  string
}

func refused(p *mqtt.Connack, o *Options) error {
	e := &RefusedError{Addr: o.Addr, Code: p.Code, clientID: o.ClientID}
	if p.Props != nil {
		e.Reason, e.Reference = p.Props.ReasonString.Value, p.Props.ServerReference.Value
	}
	return e
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%s refused the connection: %s", e.Addr, e.Code)
	if e.Reason != "" {
		text += fmt.Sprintf(": %q", e.Reason)
	}
	return text + ": " + e.Advice()
}

// Advice is one plain sentence on what to do.
func (e *RefusedError) Advice() string {
	switch e.Code {
	case mqtt.NotAuthorized, mqtt.Banned:
		return fmt.Sprintf("check that the certificate is active and that its policy allows iot:Connect for client id %q", e.clientID)
	case mqtt.BadUserNameOrPassword, mqtt.BadAuthenticationMethod:
		return "check the user name and the password"
	case mqtt.ClientIdentifierNotValid:
		return fmt.Sprintf("use another client id than %q: 1 to 128 bytes, not beginning with $", e.clientID)
	case mqtt.UnsupportedProtocolVersion:
		return "set the other MQTT version, 3.1.1 or 5"
	case mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.QuotaExceeded, mqtt.ConnectionRateExceeded:
		return "try again later"
	case mqtt.UseAnotherServer, mqtt.ServerMoved:
		return fmt.Sprintf("connect to %q instead", e.Reference)
	case mqtt.PacketTooLarge, mqtt.TopicNameInvalid, mqtt.PayloadFormatInvalid, mqtt.RetainNotSupported, mqtt.QoSNotSupported:
		return "change the will message"
	}
	return "see the server's log"
}

// PubackError is a PUBACK that refuses one message. The connection goes on.
type PubackError struct {
	Code   mqtt.ReasonCode
	Reason string // the server's reason string; may be ""
}

func (e *PubackError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the server refused the message: %s", e.Code)
	}
	return fmt.Sprintf("the server refused the message: %s: %q", e.Code, e.Reason)
}

// DisconnectedError is a DISCONNECT from the server, version 5 only.
type DisconnectedError struct {
	Code   mqtt.ReasonCode
	Reason string // the server's reason string; may be ""
}

func (e *DisconnectedError) Error() string {
	text := fmt.Sprintf("the server ended the connection: %s", e.Code)
	if e.Reason != "" {
		text += fmt.Sprintf(": %q", e.Reason)
	}
	if e.Code == mqtt.SessionTakenOver {
		text += ": another client connected with the same client id; each needs its own"
	}
	return text
}

// isTLSAlert says whether err is an alert that the server sent. The type of
// such errors is not exported by crypto/tls; their operation is.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tlsError adds to a failed TLS handshake what to do about it.
func tlsError(addr string, err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	advice := "check that the port is the one for MQTT over TLS"
	switch {
	case errors.As(err, &authority):
		advice = "the server's certificate is not signed by the given CA: check the ca file"
	case errors.As(err, &host):
		advice = "the server's certificate is for another name: check the endpoint"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		advice = "the server's certificate is not valid now: check this machine's clock, it says " + time.Now().UTC().Format(time.RFC3339)
		if invalid.Cert != nil {
			advice += fmt.Sprintf(", the certificate is for %s to %s", invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		}
	case isTLSAlert(err) && strings.Contains(err.Error(), "no application protocol"):
		advice = "the server does not speak MQTT on this port: check the endpoint"
	case isTLSAlert(err):
		advice = "the server did not accept this client's certificate: check that it is registered, active and not expired"
	}
	return fmt.Errorf("TLS with %s failed: %w: %s", addr, err, advice)
}
