package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"

	"mote/internal/config"
	"mote/internal/edge/frame"
	mqttsource "mote/internal/edge/source/mqtt"
	"mote/internal/mqtt"
)

// newMQTTSource makes a source of what boards publish to a broker. Each topic of
// a gateway has a session of its own there.
func newMQTTSource(c *config.Source, gateway string) (*mqttsource.Source, error) {
	o := mqttsource.Options{
		Address: c.MQTT, Filter: c.Topic, ClientID: c.ClientID, Version: mqtt.V5, User: c.User,
		Value: c.Value, Command: c.Command, Payload: c.Payload, Retain: c.Retain,
	}
	if c.Addressed {
		o.Board = c.ID
	}
	if c.MQTTVersion == "3.1.1" {
		o.Version = mqtt.V311
	}
	if o.ClientID == "" {
		sum := fnv.New32a()
		sum.Write([]byte(c.Topic))
		o.ClientID = fmt.Sprintf("%s-source-%08x", gateway, sum.Sum32())
	}
	if c.PasswordFile != "" {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, err
		}
		o.Password = bytes.TrimRight(password, "\r\n")
	}
	if c.TLS {
		secure, err := brokerTLS(c)
		if err != nil {
			return nil, err
		}
		o.TLS = secure
	}
	return mqttsource.New(o)
}

func brokerTLS(c *config.Source) (*tls.Config, error) {
	o := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		if o.RootCAs = x509.NewCertPool(); !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca file %s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", c.Cert, c.Key, err)
		}
		o.Certificates = []tls.Certificate{pair}
	}
	return o, nil
}

// newFormat makes the format of a [[source]]'s frames.
func newFormat(c *config.Source) (*frame.Format, error) {
	o := frame.Options{
		Text: c.Text, Max: c.MaxFrame, Board: c.Board, Time: c.Time, ID: c.ID, Skip: c.Skip,
		DropFrame: c.Implausible == "drop-frame", Units: c.Units,
	}
	if c.Addressed {
		o.ID, o.Addressed = "", true
	}
	for i := range c.Fields {
		o.Values = append(o.Values, newValue(&c.Fields[i]))
	}
	switch c.Format {
	case config.FormatJSON:
		return frame.JSONLines(o)
	case config.FormatCSV:
		return frame.CSV(frame.Table{Columns: c.Columns, Delimiter: c.Delimiter, Comment: c.Comment}, o)
	case config.FormatValue:
		if config.OfTopic(c.Value) {
			return frame.Bare("", o)
		}
		return frame.Bare(c.Value, o)
	}
	return frame.Compile(c.Pattern, o)
}

func newValue(f *config.Field) frame.Value {
	v := frame.Value{
		Name: f.Name, Unit: f.Unit, Round: -1,
		Scale: decimal(f.Scale), Offset: decimal(f.Offset), Min: decimal(f.Min), Max: decimal(f.Max), Deadband: decimal(f.Deadband),
	}
	if f.Round != nil {
		v.Round = *f.Round
	}
	return v
}

// decimal is the number as it was written: the shortest text that reads as the
// same float.
func decimal(n *float64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatFloat(*n, 'g', -1, 64)
}
