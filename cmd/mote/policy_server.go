//go:build !gateway

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"

	"mote/internal/cloud/policy"
)

// policyServer asks AWS IoT, or a mote cloud, by its APIs alone.
type policyServer struct {
	iot       *iot.Client
	principal string // ARN of the certificate
}

// online collects what the server knows of the device.
func (c policyTestCmd) online(ctx context.Context) (*policyServer, subjectOf, error) {
	cfg, err := c.config(ctx)
	if err != nil {
		return nil, subjectOf{}, err
	}
	s := &policyServer{iot: iot.NewFromConfig(cfg)}
	who, err := s.subject(ctx, c)
	return s, who, plain(err)
}

// plain leaves of an error of the SDK what the service said.
func plain(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err
}

func (s *policyServer) subject(ctx context.Context, c policyTestCmd) (who subjectOf, err error) {
	id := c.Certificate
	if id == "" {
		if id, err = s.onlyCertificate(ctx, c.Thing); err != nil {
			return who, err
		}
	}
	if _, after, ok := strings.Cut(id, ":cert/"); ok {
		id = after
	}
	got, err := s.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		return who, err
	}
	s.principal = aws.ToString(got.CertificateDescription.CertificateArn)
	who.arn, _, _ = strings.Cut(s.principal, "cert/")
	who.CertificateID, who.ClientID = id, c.ClientID
	if who.Certificate, err = parseCertificate([]byte(aws.ToString(got.CertificateDescription.CertificatePem))); err != nil {
		return who, err
	}
	things, err := s.things(ctx, &who, c.Thing)
	if err != nil {
		return who, err
	}
	who.docs, err = s.documents(ctx, things)
	who.versions = func(name string) (string, error) {
		p, err := s.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &name})
		if err != nil {
			return "", plain(err)
		}
		return aws.ToString(p.DefaultVersionId), nil
	}
	return who, err
}

func (s *policyServer) onlyCertificate(ctx context.Context, thing string) (string, error) {
	got, err := s.iot.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: &thing})
	switch {
	case err != nil:
		return "", err
	case len(got.Principals) == 0:
		return "", fmt.Errorf("thing %s has no certificate: attach one, or name one with --certificate", thing)
	case len(got.Principals) > 1:
		return "", fmt.Errorf("thing %s has %d certificates: choose with --certificate, one of\n  %s", thing, len(got.Principals), strings.Join(got.Principals, "\n  "))
	}
	return got.Principals[0], nil
}

// things returns the names of the things of the certificate, and finds the
// client id, when none was given, and the thing of the connection.
func (s *policyServer) things(ctx context.Context, who *subjectOf, named string) (names []string, err error) {
	got, err := s.iot.ListPrincipalThingsV2(ctx, &iot.ListPrincipalThingsV2Input{Principal: &s.principal})
	if err != nil {
		return nil, err
	}
	for _, t := range got.PrincipalThingObjects {
		names = append(names, aws.ToString(t.ThingName))
	}
	if who.ClientID == "" {
		if who.ClientID = named; named == "" && len(names) == 1 {
			who.ClientID = names[0]
		}
	}
	for _, t := range got.PrincipalThingObjects {
		name := aws.ToString(t.ThingName)
		if name != who.ClientID && t.ThingPrincipalType != types.ThingPrincipalTypeExclusiveThing {
			continue
		}
		d, err := s.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
		if err != nil {
			return nil, err
		}
		who.Thing = &policy.Thing{Name: name, TypeName: aws.ToString(d.ThingTypeName), Attributes: d.Attributes}
	}
	return names, nil
}

// documents returns the policies that count for the certificate and for the
// groups of its things.
func (s *policyServer) documents(ctx context.Context, things []string) (docs []*policy.Document, err error) {
	asks := []*iot.GetEffectivePoliciesInput{{Principal: &s.principal}}
	for _, t := range things {
		asks = append(asks, &iot.GetEffectivePoliciesInput{Principal: &s.principal, ThingName: aws.String(t)})
	}
	seen := map[string]bool{}
	for _, in := range asks {
		got, err := s.iot.GetEffectivePolicies(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, p := range got.EffectivePolicies {
			name := aws.ToString(p.PolicyName)
			if seen[name] {
				continue
			}
			seen[name] = true
			d, err := policy.Compile(name, aws.ToString(p.PolicyDocument))
			if err != nil {
				return nil, fmt.Errorf("policy %s: %w", name, err)
			}
			docs = append(docs, d)
		}
	}
	return docs, nil
}

// testable are the actions that TestAuthorization can be asked for.
var testable = map[string]types.ActionType{
	"iot:Connect": types.ActionTypeConnect, "iot:Publish": types.ActionTypePublish,
	"iot:Subscribe": types.ActionTypeSubscribe, "iot:Receive": types.ActionTypeReceive,
}

// confirm asks the server for its own decision, which counts, where it can be
// asked: TestAuthorization knows four actions and no further circumstances.
func (s *policyServer) confirm(ctx context.Context, c policyTestCmd, who *subjectOf, t *policy.Trace, resource string, stderr io.Writer) error {
	kind, ok := testable[c.Action]
	if !ok || c.SourceIP != "" || c.Domain != "" || c.Persistent || c.LastWill != "" {
		return nil
	}
	in := &iot.TestAuthorizationInput{Principal: &s.principal, AuthInfos: []types.AuthInfo{{ActionType: kind, Resources: []string{resource}}}}
	if id := who.ClientID; id != "" {
		in.ClientId = &id
	}
	got, err := s.iot.TestAuthorization(ctx, in)
	if err != nil {
		return plain(err)
	}
	if len(got.AuthResults) != 1 {
		return fmt.Errorf("TestAuthorization answered %d results to one question", len(got.AuthResults))
	}
	allowed := got.AuthResults[0].AuthDecision == types.AuthDecisionAllowed
	if allowed != t.Allowed {
		fmt.Fprintf(stderr, "mote: the server decides otherwise, %s; its answer counts, the statement below is what mote finds\n", got.AuthResults[0].AuthDecision)
		t.Allowed = allowed
	}
	return nil
}
