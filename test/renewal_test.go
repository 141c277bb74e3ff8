package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	rnd "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const (
	renewalPolicy = `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": [
			"arn:aws:iot:*:*:topic/$aws/certificates/create-from-csr/json*", "arn:aws:iot:*:*:topic/$aws/provisioning-templates/roofs/provision/json*"]},
		{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [
			"arn:aws:iot:*:*:topicfilter/$aws/certificates/create-from-csr/json/*", "arn:aws:iot:*:*:topicfilter/$aws/provisioning-templates/roofs/provision/json/*"]}]}`
	renewalTemplate = `{"Parameters": {"ThingName": {"Type": "String"}}, "Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "ThingName"}}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
		"gateway": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "gateway"}},
		"renewal": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "renewal"}}}}`
)

// TestACertificateIsRenewedThroughKills has a gateway renew its certificate, which
// ends in ten days, and kills it at random moments meanwhile.
func TestACertificateIsRenewedThroughKills(t *testing.T) {
	s := newSite(t, "")
	s.startCloud()
	api := iot.NewFromConfig(s.cloud.aws())
	old, before := s.endsSoon(api)
	_, err := api.CreateProvisioningTemplate(context.Background(), &iot.CreateProvisioningTemplateInput{
		TemplateName: aws.String("roofs"), Enabled: aws.Bool(true), ProvisioningRoleArn: aws.String("arn:aws:iam::000000000001:role/any"), TemplateBody: aws.String(renewalTemplate),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := startBoard(t, 5*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt)+"renew = { template = \"roofs\" }\n")
	certFile, keyFile := filepath.Join(s.data, "things/gateway/cert.pem"), filepath.Join(s.data, "things/gateway/key.pem")
	s.startGateway()
	for range 5 {
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
		s.gateway.kill()
		s.startGateway()
	}
	waitFor(t, "a renewed certificate in use", 60*time.Second, func() error {
		if cert, err := os.ReadFile(certFile); err != nil || bytes.Equal(cert, before["cert.pem"]) {
			return fmt.Errorf("the old one is still in use (%v): %s", err, s.gateway.out)
		}
		return nil
	})
	if key, err := os.ReadFile(keyFile); err != nil || bytes.Equal(key, before["key.pem"]) {
		t.Errorf("the key is the old one, or cannot be read: %v", err)
	}
	got, err := api.DescribeCertificate(context.Background(), &iot.DescribeCertificateInput{CertificateId: &old})
	if err != nil || got.CertificateDescription.Status != iottypes.CertificateStatusActive {
		t.Errorf("the old certificate: %+v, %v", got, err)
	}
	if _, err := api.UpdateCertificate(context.Background(), &iot.UpdateCertificateInput{CertificateId: &old, NewStatus: iottypes.CertificateStatusInactive}); err != nil {
		t.Fatal(err)
	}
	from := len(s.cloud.numbers("t"))
	waitFor(t, "rows with the new certificate", 30*time.Second, func() error { return atLeast(len(s.cloud.numbers("t")), from+20) })
	for _, suffix := range []string{".new", ".refused", ".renewal"} {
		if left, _ := filepath.Glob(filepath.Join(s.data, "things/gateway/*"+suffix)); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}

// endsSoon gives the gateway a certificate that ends in ten days, and returns its
// id and its files.
func (s *site) endsSoon(api *iot.Client) (id string, files map[string][]byte) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"},
		NotBefore: time.Now().Add(-300 * 24 * time.Hour), NotAfter: time.Now().Add(10 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	files = map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(s.data, "things/gateway", name), data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	ctx := context.Background()
	made, err := api.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: aws.String(string(cert)), Status: iottypes.CertificateStatusActive})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("renewal"), PolicyDocument: aws.String(renewalPolicy)}); err != nil {
		s.t.Fatal(err)
	}
	for _, policy := range []string{"gateway", "renewal"} {
		if _, err := api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: made.CertificateArn}); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("gateway"), Principal: made.CertificateArn}); err != nil {
		s.t.Fatal(err)
	}
	return *made.CertificateId, files
}
