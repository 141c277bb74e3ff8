package iotcore

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"
)

// Files are the PEM files of mutual TLS.
type Files struct {
	Cert string // this device's certificate, with its chain when it has one
	Key  string // the certificate's private key
	CA   string // the CAs that the server's certificate may come from; "" for those of the system
}

// maxPEM bounds what is read of each file.
const maxPEM = 1 << 20

// load reads the files and makes the TLS settings of a connection to addr.
// Errors name the file and what to do. Dates are not looked at: see [expiry].
func (f Files) load(addr string) (*tls.Config, error) {
	certPEM, err := readPEM("certificate", f.Cert)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readPEM("key", f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, f.explain(certPEM, keyPEM, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		caPEM, err := readPEM("CA", f.CA)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(caPEM) {
			return nil, fmt.Errorf("CA file %s holds no certificate in PEM form: give the root that signed the server's certificate, for AWS AmazonRootCA1.pem", f.CA)
		}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cfg.ServerName = host
	if port == "443" { // AWS IoT developer guide, "Device communication protocols"
		cfg.NextProtos = []string{"x-amzn-mqtt-ca"}
	}
	return cfg, nil
}

func readPEM(what, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (info.IsDir() || info.Size() > maxPEM) {
		return nil, fmt.Errorf("%s file %s is not a PEM file", what, path)
	}
	data, err := os.ReadFile(path)
	switch {
	case path == "":
		return nil, fmt.Errorf("no %s file is given", what)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s file %s does not exist", what, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s file %s cannot be read: give this user the right to read it: %w", what, path, err)
	case err != nil:
		return nil, fmt.Errorf("%s file %s: %w", what, path, err)
	}
	if block, _ := pem.Decode(data); block == nil {
		return nil, fmt.Errorf("%s file %s holds no PEM block (-----BEGIN …): give the file as it was downloaded", what, path)
	}
	return data, nil
}

// explain says what is wrong with a certificate and a key that do not make a
// pair.
func (f Files) explain(certPEM, keyPEM []byte, err error) error {
	switch {
	case !holds(certPEM, "CERTIFICATE") && holds(certPEM, "PRIVATE KEY"):
		return fmt.Errorf("certificate file %s holds a private key: are cert and key swapped?", f.Cert)
	case !holds(keyPEM, "PRIVATE KEY") && holds(keyPEM, "CERTIFICATE"):
		return fmt.Errorf("key file %s holds a certificate: are cert and key swapped?", f.Key)
	case holds(keyPEM, "ENCRYPTED PRIVATE KEY") || strings.Contains(string(keyPEM), "Proc-Type: 4,ENCRYPTED"):
		return fmt.Errorf("key file %s is protected by a password: remove it, for example with openssl pkey, and keep the file readable to this user only", f.Key)
	case strings.Contains(err.Error(), "does not match"):
		return fmt.Errorf("key file %s does not belong to certificate file %s: give the two that were made together", f.Key, f.Cert)
	}
	return fmt.Errorf("certificate file %s with key file %s: %w", f.Cert, f.Key, err)
}

// holds says whether data has a PEM block whose type ends in kind.
func holds(data []byte, kind string) bool {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
}

// expiry says whether the certificate is valid at now.
func (f Files) expiry(cfg *tls.Config, now time.Time) error {
	leaf := cfg.Certificates[0].Leaf
	const day = "2006-01-02 15:04 UTC"
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate file %s expired on %s: replace it and its key (this machine's clock says %s)",
			f.Cert, leaf.NotAfter.UTC().Format(day), now.UTC().Format(day))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate file %s is valid only from %s: check this machine's clock, it says %s",
			f.Cert, leaf.NotBefore.UTC().Format(day), now.UTC().Format(day))
	}
	return nil
}
