package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// toolsThing is the thing whose certificate the command line tools use, made
// by mote up.
const toolsThing = "tools"

// mqttFlags choose where pub and sub connect to and as whom: the cloud of this
// machine by default, any MQTT server with mutual TLS by --endpoint.
type mqttFlags struct {
	dataFlag
	Thing    string `help:"Connect as this thing of the cloud on this machine." default:"tools"`
	Endpoint string `help:"Connect to this server instead, for example AWS IoT Core." placeholder:"HOST:PORT"`
	Cert     string `help:"Certificate file (with --endpoint)." type:"path" placeholder:"FILE"`
	Key      string `help:"Key file of the certificate (with --endpoint)." type:"path" placeholder:"FILE"`
	CA       string `name:"ca" help:"Root certificate of the server (with --endpoint); default: the system's." type:"path" placeholder:"FILE"`
	ClientID string `help:"MQTT client id; default: a new one for the tools, the thing's name otherwise." placeholder:"ID"`
	MQTT     string `name:"mqtt" help:"Protocol version: 5 or 3.1.1." enum:"5,3.1.1" default:"5"`
}

// dial connects.
func (f mqttFlags) dial(s *session, onMessage func(*mqtt.Publish)) (*client.Conn, error) {
	addr, cert, key, ca, err := f.resolve()
	if err != nil {
		return nil, err
	}
	config, err := tlsConfig(addr, cert, key, ca)
	if err != nil {
		return nil, err
	}
	opts := client.Options{Addr: addr, TLS: config, ClientID: f.clientID(), Version: 5, CleanStart: true, KeepAlive: time.Minute, OnMessage: onMessage}
	if f.MQTT == "3.1.1" {
		opts.Version = 4
	}
	conn, err := client.Dial(s.ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

func (f mqttFlags) resolve() (addr, cert, key, ca string, err error) {
	if f.Endpoint != "" {
		if f.Cert == "" || f.Key == "" {
			return "", "", "", "", usagef("--endpoint needs --cert and --key: who the client is")
		}
		addr = f.Endpoint
		if _, _, err := net.SplitHostPort(addr); err != nil {
			addr = net.JoinHostPort(addr, "8883")
		}
		return addr, f.Cert, f.Key, f.CA, nil
	}
	e, err := f.endpoints()
	if err != nil {
		return "", "", "", "", err
	}
	if e.MQTT == "" {
		return "", "", "", "", errors.New("the cloud runs without its mqtt listener: start it with --mqtt")
	}
	dir := filepath.Join(f.Data, "things", f.Thing)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", "", "", "", fmt.Errorf("there is no certificate of a thing %q in %s: name one with --thing, or use --endpoint, --cert and --key", f.Thing, filepath.Dir(dir))
	}
	return e.MQTT, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), e.CA, nil
}

func (f mqttFlags) clientID() string {
	switch {
	case f.ClientID != "":
		return f.ClientID
	case f.Endpoint == "" && f.Thing != toolsThing:
		return f.Thing
	}
	var b [4]byte
	rand.Read(b[:])
	return "mote-" + hex.EncodeToString(b[:])
}

// tlsConfig reads the files of a device; each error names the file.
func tlsConfig(addr, cert, key, ca string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Certificates: []tls.Certificate{pair}}
	if strings.HasSuffix(addr, ":443") {
		c.NextProtos = []string{"x-amzn-mqtt-ca"}
	}
	if ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no PEM certificate in it", ca)
	}
	return c, nil
}
