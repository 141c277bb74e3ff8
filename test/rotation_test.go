package test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// certificate makes one more certificate of the gateway's thing.
func (s *site) certificate(api *iot.Client) (arn, cert, key string) {
	s.t.Helper()
	ctx := context.Background()
	made, err := api.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("gateway"), Target: made.CertificateArn}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("gateway"), Principal: made.CertificateArn}); err != nil {
		s.t.Fatal(err)
	}
	return *made.CertificateId, *made.CertificatePem, *made.KeyPair.PrivateKey
}

// TestACertificateIsReplacedThroughKills gives a gateway one certificate after
// the other, kills it at random moments meanwhile, and takes each old certificate
// away.
func TestACertificateIsReplacedThroughKills(t *testing.T) {
	s := newSite(t, "")
	s.startCloud()
	b := startBoard(t, 5*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	api := iot.NewFromConfig(s.cloud.aws())
	certFile, keyFile := filepath.Join(s.data, "things/gateway/cert.pem"), filepath.Join(s.data, "things/gateway/key.pem")
	place := func(cert, key string) {
		t.Helper()
		for file, text := range map[string]string{certFile: cert, keyFile: key} {
			if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := ""
	for range 3 {
		id, cert, key := s.certificate(api)
		place(cert, key)
		for range 4 {
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
			s.gateway.kill()
			s.startGateway()
		}
		waitFor(t, "new certificate in use", 30*time.Second, func() error {
			inUse, err := os.ReadFile(certFile)
			if err == nil && !bytes.Equal(inUse, []byte(cert)) {
				err = fmt.Errorf("the old one is still in use: %s", s.gateway.out)
			}
			return err
		})
		if before != "" {
			if _, err := api.UpdateCertificate(context.Background(), &iot.UpdateCertificateInput{CertificateId: &before, NewStatus: iottypes.CertificateStatusInactive}); err != nil {
				t.Fatal(err)
			}
		}
		before = id
		from := len(s.cloud.numbers("t"))
		waitFor(t, "rows", 20*time.Second, func() error { return atLeast(len(s.cloud.numbers("t")), from+20) })
	}
	for _, file := range []string{certFile + ".new", keyFile + ".new"} {
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s is left over", file)
		}
	}
}

// TestTheGatewayOnTheHTTPSPort delivers on port 443, where MQTT is asked for by
// ALPN; in both versions of MQTT.
func TestTheGatewayOnTheHTTPSPort(t *testing.T) {
	const address = "127.0.4.43:443"
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no right to listen on port 443: %v", err)
	}
	l.Close()
	s := newSite(t, "")
	s.listeners = []string{"--mqtt", "off", "--https", address, "--http", s.web}
	s.startCloud()
	for i, version := range []string{"5", "3.1.1"} {
		b := startBoard(t, 5*time.Millisecond)
		b.says(fmt.Sprintf("{p%d:%%d:21.5:40:1}", i))
		s.configure(fmt.Sprintf("dir = %q", fmt.Sprint("spool", i)), b.listener.Addr().String(), s.iotUplink(address)+fmt.Sprintf("mqtt = %q\n", version))
		s.startGateway()
		waitFor(t, "rows by MQTT "+version, 20*time.Second, func() error {
			if err := atLeast(len(s.cloud.numbers(fmt.Sprint("p", i))), 20); err != nil {
				return fmt.Errorf("%w: %s", err, s.gateway.out)
			}
			return nil
		})
		s.gateway.interrupt()
	}
}
