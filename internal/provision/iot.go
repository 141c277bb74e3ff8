package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mote/internal/config"
)

func (a *applier) policy(ctx context.Context, p config.Policy) error {
	got, err := a.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &p.Name})
	switch {
	case hasCode(err, "ResourceNotFoundException"):
		_, err = a.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &p.Name, PolicyDocument: &p.Document})
		if err == nil {
			a.made("policy", p.Name)
		}
		return err
	case err != nil:
		return err
	case sameJSON(aws.ToString(got.PolicyDocument), p.Document):
		return nil
	}
	if err := a.dropOldestVersion(ctx, p.Name); err != nil {
		return err
	}
	_, err = a.iot.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: &p.Name, PolicyDocument: &p.Document, SetAsDefault: true})
	if err == nil {
		a.Log.Info("changed", "kind", "policy", "name", p.Name)
	}
	return err
}

// dropOldestVersion makes room for one more: a policy has at most five versions.
func (a *applier) dropOldestVersion(ctx context.Context, name string) error {
	list, err := a.iot.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: &name})
	if err != nil || len(list.PolicyVersions) < 5 {
		return err
	}
	var oldest *types.PolicyVersion
	for i, v := range list.PolicyVersions {
		if !v.IsDefaultVersion && (oldest == nil || v.CreateDate.Before(*oldest.CreateDate)) {
			oldest = &list.PolicyVersions[i]
		}
	}
	_, err = a.iot.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: &name, PolicyVersionId: oldest.VersionId})
	return err
}

func (a *applier) roleAlias(ctx context.Context, r config.RoleAlias) error {
	seconds := aws.Int32(int32(r.Life / time.Second))
	got, err := a.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &r.Name})
	switch {
	case hasCode(err, "ResourceNotFoundException"):
		_, err = a.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &r.Name, RoleArn: &r.Role, CredentialDurationSeconds: seconds})
		if err == nil {
			a.made("role alias", r.Name)
		}
		return err
	case err != nil:
		return err
	case aws.ToString(got.RoleAliasDescription.RoleArn) == r.Role && aws.ToInt32(got.RoleAliasDescription.CredentialDurationSeconds) == *seconds:
		return nil
	}
	_, err = a.iot.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: &r.Name, RoleArn: &r.Role, CredentialDurationSeconds: seconds})
	if err == nil {
		a.Log.Info("changed", "kind", "role alias", "name", r.Name)
	}
	return err
}

func (a *applier) thing(ctx context.Context, t config.Thing) error {
	if _, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &t.Name}); hasCode(err, "ResourceNotFoundException") {
		if _, err := a.iot.CreateThing(ctx, &iot.CreateThingInput{
			ThingName: &t.Name, AttributePayload: &types.AttributePayload{Attributes: t.Attributes},
		}); err != nil {
			return err
		}
		a.made("thing", t.Name)
	} else if err != nil {
		return err
	}
	arn, err := a.certificate(ctx, t.Name)
	if err != nil {
		return err
	}
	// Attaching again what is attached succeeds and changes nothing.
	if _, err := a.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &t.Name, Principal: &arn}); err != nil {
		return err
	}
	if t.Policy == "" {
		return nil
	}
	_, err = a.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &t.Policy, Target: &arn})
	return err
}

// certificate returns the ARN of the certificate whose files lie in the
// thing's folder. When there are none, or the account does not know that
// certificate, it makes a new one.
func (a *applier) certificate(ctx context.Context, thing string) (arn string, err error) {
	dir := filepath.Join(a.ThingsDir, thing)
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	id, err := certificateID(certPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if id != "" {
		if _, err := os.Stat(keyPath); err != nil {
			return "", fmt.Errorf("there is a certificate but no key beside it: %w", err)
		}
		got, err := a.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		if err == nil {
			return aws.ToString(got.CertificateDescription.CertificateArn), nil
		}
		return "", fmt.Errorf("%s is not known here (move %s away to get a new certificate): %w", certPath, dir, err)
	}
	made, err := a.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// The key first: a certificate file without its key would be refused at the next run.
	if err := writeFile(keyPath, []byte(aws.ToString(made.KeyPair.PrivateKey))); err != nil {
		return "", err
	}
	if err := writeFile(certPath, []byte(aws.ToString(made.CertificatePem))); err != nil {
		return "", err
	}
	a.made("certificate", certPath)
	return aws.ToString(made.CertificateArn), nil
}

// certificateID is AWS's id of the certificate in a PEM file: the SHA-256 of
// its DER form in hex.
func certificateID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("%s: not a PEM certificate", path)
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

func (a *applier) rule(ctx context.Context, r config.Rule) error {
	want, err := ruleInput(r)
	if err != nil {
		return err
	}
	got, err := a.iot.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: &r.Name})
	switch {
	// AWS answers UnauthorizedException for a rule that does not exist.
	case hasCode(err, "UnauthorizedException", "ResourceNotFoundException"):
		_, err = a.iot.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: &r.Name, TopicRulePayload: want})
		if err == nil {
			a.made("rule", r.Name)
		}
		return err
	case err != nil:
		return err
	case sameRule(got.Rule, want):
		return nil
	}
	// Whether it is switched on is the operator's business, not the file's.
	want.RuleDisabled = got.Rule.RuleDisabled
	_, err = a.iot.ReplaceTopicRule(ctx, &iot.ReplaceTopicRuleInput{RuleName: &r.Name, TopicRulePayload: want})
	if err == nil {
		a.Log.Info("changed", "kind", "rule", "name", r.Name)
	}
	return err
}

// roleARN stands in every action. AWS wants a role that may write to the
// target; mote's own cloud keeps the text and asks for none.
const roleARN = "arn:aws:iam::000000000001:role/mote-rules"

func ruleInput(r config.Rule) (*types.TopicRulePayload, error) {
	p := &types.TopicRulePayload{Sql: &r.SQL, AwsIotSqlVersion: &r.SQLVersion, Description: aws.String(r.Description), Actions: []types.Action{}}
	switch {
	case r.Table != "":
		p.Actions = append(p.Actions, types.Action{DynamoDBv2: &types.DynamoDBv2Action{RoleArn: aws.String(roleARN), PutItem: &types.PutItemInput{TableName: &r.Table}}})
	case r.Republish != "":
		p.Actions = append(p.Actions, types.Action{Republish: &types.RepublishAction{RoleArn: aws.String(roleARN), Topic: &r.Republish, Qos: aws.Int32(1)}})
	default:
		// The API's members differ from the SDK's only in the case of the first letter.
		if err := strictJSON(r.Actions, &p.Actions); err != nil {
			return nil, fmt.Errorf("actions: %w", err)
		}
	}
	if r.ErrorAction != "" {
		p.ErrorAction = &types.Action{}
		if err := strictJSON(r.ErrorAction, p.ErrorAction); err != nil {
			return nil, fmt.Errorf("error_action: %w", err)
		}
	}
	return p, nil
}

// strictJSON decodes text into v and refuses members that v does not have.
func strictJSON(text string, v any) error {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func sameRule(got *types.TopicRule, want *types.TopicRulePayload) bool {
	return aws.ToString(got.Sql) == aws.ToString(want.Sql) &&
		aws.ToString(got.AwsIotSqlVersion) == aws.ToString(want.AwsIotSqlVersion) &&
		aws.ToString(got.Description) == aws.ToString(want.Description) &&
		reflect.DeepEqual(got.Actions, want.Actions) && reflect.DeepEqual(got.ErrorAction, want.ErrorAction)
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
