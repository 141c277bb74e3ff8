package cloud

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/broker"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/websocket"
)

// The protocols that ALPN can choose on the HTTPS port (AWS IoT developer
// guide, "Device communication protocols").
const (
	alpnMQTT       = "x-amzn-mqtt-ca" // MQTT with a client certificate
	alpnHTTP       = "x-amzn-http-ca" // HTTPS with a client certificate
	alpnAuthorizer = "mqtt"           // MQTT with a custom authorizer: refused
	alpnWeb        = "http/1.1"
)

// httpsConfig serves three kinds of clients on one port. Whoever asks for one
// of AWS's two protocols must have a certificate that is welcome. Programs like
// curl are asked for one, and may do without: who has a certificate need not
// sign. Nobody else is asked.
func (c *Cloud) httpsConfig() *tls.Config {
	mqtt, device := c.broker.TLSConfig(), c.broker.TLSConfig()
	mqtt.NextProtos, device.NextProtos = []string{alpnMQTT}, []string{alpnHTTP}
	web := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: mqtt.GetCertificate, NextProtos: []string{alpnWeb}}
	asked := web.Clone()
	asked.ClientAuth = tls.RequestClientCert // the certificate is judged with each request
	all := web.Clone()
	all.NextProtos = []string{alpnMQTT, alpnHTTP, alpnWeb} // net/http serves by what is listed here
	all.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		offers := func(protocol string) bool { return slices.Contains(hello.SupportedProtos, protocol) }
		switch {
		case offers(alpnMQTT):
			return mqtt, nil
		case offers(alpnHTTP):
			return device, nil
		case offers(alpnAuthorizer) && !offers(alpnWeb):
			c.refuseAuthorizer(hello)
			return web, nil // which ends in the alert no_application_protocol
		case slices.Contains(hello.Extensions, encryptThenMAC):
			return asked, nil
		}
		return web, nil
	}
	return all
}

// encryptThenMAC is the number of a TLS extension (RFC 7366). OpenSSL, GnuTLS
// and Mbed TLS offer it, and so curl and Python do. It tells them from clients
// that must not be asked for a certificate: browsers, which would show a dialog,
// and s2n, where older AWS device SDKs for WebSocket end the handshake. Others
// with a certificate ask for x-amzn-http-ca.
const encryptThenMAC = 22

// refuseAuthorizer records a client that wants to log in with a custom
// authorizer.
func (c *Cloud) refuseAuthorizer(hello *tls.ClientHelloInfo) {
	ip, _, _ := net.SplitHostPort(hello.Conn.RemoteAddr().String()) // TCP addresses have a port
	c.refusals.Add(refusal.Refusal{Where: "tls", Action: "iot:Connect", SourceIP: ip,
		Reason: "the client offers the ALPN protocol mqtt, that is, it wants a custom authorizer, which is not offered here: let it connect with a client certificate and x-amzn-mqtt-ca, or over WebSocket with an access key"})
}

// device finds out which device sent a request, by its certificate. It is
// judged for each request, since connections outlive changes of certificates.
func (c *Cloud) device(r *http.Request) (awsapi.Identity, error) {
	cert := r.TLS.PeerCertificates[0]
	id, err := c.registry.VerifyCertificate(cert)
	if err != nil {
		return awsapi.Identity{}, err
	}
	subject := policy.Subject{CertificateID: id, Certificate: cert, SourceIP: awsapi.SourceIP(r), DomainName: r.TLS.ServerName}
	judge := c.registry.Judge(&subject)
	may := func(action, resource string) error {
		arn := c.registry.ARN(resource)
		d := judge.Decide(action, arn)
		if d.Allowed {
			return nil
		}
		c.refusals.Add(refusal.Refusal{Where: "api", Action: action, Resource: arn, Principal: id, SourceIP: subject.SourceIP, Reason: d.Reason})
		return errors.New(d.Reason)
	}
	return awsapi.Identity{CertificateID: id, May: may}, nil
}

// webSocketLife is how long a connection over WebSocket lasts at most (AWS IoT
// Core quotas, "WebSocket connection duration").
const webSocketLife = 24 * time.Hour

// webSocket serves MQTT over WebSocket to who signed. The Origin of browser
// pages is not looked at: unlike a cookie, a signature is nothing that a page
// of another origin could have a browser add.
func (c *Cloud) webSocket(streams context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := awsapi.Caller(r.Context())
		conn, err := websocket.Upgrade(w, r, "mqtt", "mqttv3.1")
		if refused, ok := errors.AsType[*websocket.HandshakeError](err); ok {
			c.refusals.Add(refusal.Refusal{Where: "mqtt", Action: "WebSocket handshake", Principal: caller.AccessKeyID, SourceIP: caller.SourceIP, Reason: refused.Reason})
			refused.Answer(w)
			return
		}
		if err != nil {
			c.log.Debug("a WebSocket was lost in its handshake", "source_ip", caller.SourceIP, "err", err)
			return
		}
		name := ""
		if r.TLS != nil {
			name = r.TLS.ServerName
		}
		c.broker.ServePeer(streams, conn, broker.Peer{
			AccessKeyID: caller.AccessKeyID, SourceIP: caller.SourceIP, DomainName: name, Life: webSocketLife,
			Check: func() error {
				if _, ok := c.registry.AccessKey(caller.AccessKeyID); !ok {
					return errors.New("the access key was deleted: connect with another one")
				}
				return nil
			},
		})
	})
}
