package iot

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

func newSDK(url string) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: &url, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", ""),
	})
}

func check[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestSDK makes everything a device needs with the AWS SDK for Go, closes the
// store, and takes it all down again.
func TestSDK(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	srv, reg, _ := newServer(t, dir)
	c := newSDK(srv.URL)
	name, doc := aws.String("pi:1"), aws.String(strings.ReplaceAll(allowAll, `\`, ""))

	thing := check[*sdk.CreateThingOutput](t)(c.CreateThing(ctx, &sdk.CreateThingInput{ThingName: name, AttributePayload: &types.AttributePayload{Attributes: map[string]string{"room": "attic"}}}))
	keys := check[*sdk.CreateKeysAndCertificateOutput](t)(c.CreateKeysAndCertificate(ctx, &sdk.CreateKeysAndCertificateInput{SetAsActive: true}))
	if _, err := tls.X509KeyPair([]byte(*keys.CertificatePem), []byte(*keys.KeyPair.PrivateKey)); err != nil {
		t.Error(err)
	}
	policy := check[*sdk.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("gateway+1"), PolicyDocument: doc, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))
	check[*sdk.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: policy.PolicyName, Target: keys.CertificateArn}))
	check[*sdk.AttachThingPrincipalOutput](t)(c.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{ThingName: name, Principal: keys.CertificateArn}))

	described := check[*sdk.DescribeThingOutput](t)(c.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: name}))
	if *described.ThingId != *thing.ThingId || *described.DefaultClientId != "pi:1" || described.Version != 1 || described.Attributes["room"] != "attic" {
		t.Errorf("%+v", described)
	}
	cert := check[*sdk.DescribeCertificateOutput](t)(c.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: keys.CertificateId})).CertificateDescription
	if cert.Status != types.CertificateStatusActive || *cert.CertificatePem != *keys.CertificatePem || cert.Validity.NotAfter.Year() != 2049 || cert.CreationDate.IsZero() {
		t.Errorf("%+v", cert)
	}
	got := check[*sdk.GetPolicyOutput](t)(c.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyName: policy.PolicyName}))
	if *got.PolicyDocument != *doc || *got.DefaultVersionId != "1" || got.CreationDate.IsZero() {
		t.Errorf("%+v", got)
	}
	attached := check[*sdk.ListAttachedPoliciesOutput](t)(c.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: keys.CertificateArn}))
	if len(attached.Policies) != 1 || *attached.Policies[0].PolicyArn != *policy.PolicyArn {
		t.Errorf("%+v", attached)
	}
	effective := check[*sdk.GetEffectivePoliciesOutput](t)(c.GetEffectivePolicies(ctx, &sdk.GetEffectivePoliciesInput{Principal: keys.CertificateArn, ThingName: name}))
	if len(effective.EffectivePolicies) != 1 || *effective.EffectivePolicies[0].PolicyDocument != *doc {
		t.Errorf("%+v", effective)
	}
	tags := check[*sdk.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: policy.PolicyArn}))
	if len(tags.Tags) != 1 || *tags.Tags[0].Value != "b" {
		t.Errorf("%+v", tags)
	}
	version := check[*sdk.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyName: policy.PolicyName, PolicyDocument: doc, SetAsDefault: true}))
	if *version.PolicyVersionId != "2" || !version.IsDefaultVersion {
		t.Errorf("%+v", version)
	}
	versions := check[*sdk.ListPolicyVersionsOutput](t)(c.ListPolicyVersions(ctx, &sdk.ListPolicyVersionsInput{PolicyName: policy.PolicyName}))
	if len(versions.PolicyVersions) != 2 || *versions.PolicyVersions[0].VersionId != "2" || versions.PolicyVersions[0].CreateDate.IsZero() {
		t.Errorf("%+v", versions)
	}
	_, err := c.CreateThing(ctx, &sdk.CreateThingInput{ThingName: name})
	var exists *types.ResourceAlreadyExistsException
	if !errors.As(err, &exists) || *exists.ResourceArn != *thing.ThingArn {
		t.Errorf("got %v", err)
	}
	testSDKRules(t, c)
	if _, err := reg.Certificate(*keys.CertificateId); err != nil {
		t.Error(err)
	}

	id := keys.CertificateId
	check[*sdk.DetachThingPrincipalOutput](t)(c.DetachThingPrincipal(ctx, &sdk.DetachThingPrincipalInput{ThingName: name, Principal: keys.CertificateArn}))
	check[*sdk.UpdateCertificateOutput](t)(c.UpdateCertificate(ctx, &sdk.UpdateCertificateInput{CertificateId: id, NewStatus: types.CertificateStatusInactive}))
	_, err = c.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateId: id})
	var conflict *types.DeleteConflictException
	if !errors.As(err, &conflict) {
		t.Errorf("got %v", err)
	}
	check[*sdk.DeleteCertificateOutput](t)(c.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateId: id, ForceDelete: true}))
	check[*sdk.DeletePolicyVersionOutput](t)(c.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyName: policy.PolicyName, PolicyVersionId: aws.String("1")}))
	check[*sdk.DeletePolicyOutput](t)(c.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyName: policy.PolicyName}))
	check[*sdk.DeleteThingOutput](t)(c.DeleteThing(ctx, &sdk.DeleteThingInput{ThingName: name, ExpectedVersion: aws.Int64(1)}))
	things := check[*sdk.ListThingsOutput](t)(c.ListThings(ctx, &sdk.ListThingsInput{}))
	if len(things.Things) != 0 {
		t.Errorf("%+v", things)
	}
}

func testSDKRules(t *testing.T, c *sdk.Client) {
	ctx, name := context.Background(), aws.String("store_air")
	in := &types.TopicRulePayload{
		Sql: aws.String("SELECT * FROM 'sensors/+/air'"), Description: aws.String("air"), AwsIotSqlVersion: aws.String("2016-03-23"),
		Actions: []types.Action{
			{DynamoDBv2: &types.DynamoDBv2Action{RoleArn: aws.String("arn:aws:iam::1:role/x"), PutItem: &types.PutItemInput{TableName: aws.String("air")}}},
			{S3: &types.S3Action{BucketName: aws.String("b"), Key: aws.String("${topic()}"), RoleArn: aws.String("arn:aws:iam::1:role/x")}},
		},
		ErrorAction: &types.Action{Republish: &types.RepublishAction{Topic: aws.String("errors"), RoleArn: aws.String("arn:aws:iam::1:role/x"), Qos: aws.Int32(1)}},
	}
	check[*sdk.CreateTopicRuleOutput](t)(c.CreateTopicRule(ctx, &sdk.CreateTopicRuleInput{RuleName: name, TopicRulePayload: in, Tags: aws.String("a=b")}))
	out := check[*sdk.GetTopicRuleOutput](t)(c.GetTopicRule(ctx, &sdk.GetTopicRuleInput{RuleName: name})).Rule
	want, _ := json.Marshal([]any{in.Sql, in.Description, in.AwsIotSqlVersion, in.Actions, in.ErrorAction})
	got, _ := json.Marshal([]any{out.Sql, out.Description, out.AwsIotSqlVersion, out.Actions, out.ErrorAction})
	if string(got) != string(want) || out.CreatedAt.UnixMilli() != 1700000000123 {
		t.Errorf("got  %s %s\nwant %s", got, out.CreatedAt, want)
	}
	check[*sdk.DisableTopicRuleOutput](t)(c.DisableTopicRule(ctx, &sdk.DisableTopicRuleInput{RuleName: name}))
	list := check[*sdk.ListTopicRulesOutput](t)(c.ListTopicRules(ctx, &sdk.ListTopicRulesInput{RuleDisabled: aws.Bool(true), MaxResults: aws.Int32(10000)}))
	if len(list.Rules) != 1 || *list.Rules[0].TopicPattern != "sensors/+/air" || !*list.Rules[0].RuleDisabled {
		t.Errorf("%+v", list)
	}
	_, err := c.GetTopicRule(ctx, &sdk.GetTopicRuleInput{RuleName: aws.String("none")})
	var denied *types.UnauthorizedException
	if !errors.As(err, &denied) || *denied.Message != "Access to topic rule 'none' was denied" {
		t.Errorf("got %v", err)
	}
	check[*sdk.DeleteTopicRuleOutput](t)(c.DeleteTopicRule(ctx, &sdk.DeleteTopicRuleInput{RuleName: name}))
	endpoint := check[*sdk.DescribeEndpointOutput](t)(c.DescribeEndpoint(ctx, &sdk.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")}))
	if *endpoint.EndpointAddress != "mote.example" {
		t.Errorf("%+v", endpoint)
	}
}

// TestAnsweredMeansStored reads what the API made from a second registry over
// the same files.
func TestAnsweredMeansStored(t *testing.T) {
	dir := t.TempDir()
	srv, _, _ := newServer(t, dir)
	if status, _, body := do(t, srv, "POST", "/things/kept", `{"attributePayload":{"attributes":{"a":"b"}}}`); status != 200 {
		t.Fatal(body)
	}
	// What a killed process leaves behind: its files as they are now.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again, _, _ := newServer(t, copied)
	if status, _, body := do(t, again, "GET", "/things/kept", ""); status != 200 || !strings.Contains(body, `{"a":"b"}`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestOperationsHaveRoutes calls every operation with labels filled in: each
// must be found under its own path.
func TestOperationsHaveRoutes(t *testing.T) {
	srv, _, _ := newServer(t, t.TempDir())
	for _, op := range operations {
		path := op.path
		for strings.Contains(path, "{") {
			before, rest, _ := strings.Cut(path, "{")
			_, after, _ := strings.Cut(rest, "}")
			path = before + "x" + after
		}
		req, err := http.NewRequest(op.method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 500 {
			t.Errorf("%s %s: %d %s", op.method, path, resp.StatusCode, body)
		}
	}
}

// TestSDKGroups reads with the AWS SDK for Go what has dates, lists and pages.
func TestSDKGroups(t *testing.T) {
	ctx := context.Background()
	srv, _, _ := newServer(t, t.TempDir())
	c := newSDK(srv.URL)
	name := aws.String("board")
	check[*sdk.CreateThingTypeOutput](t)(c.CreateThingType(ctx, &sdk.CreateThingTypeInput{ThingTypeName: name, ThingTypeProperties: &types.ThingTypeProperties{
		SearchableAttributes: []string{"room"}, Mqtt5Configuration: &types.Mqtt5Configuration{PropagatingAttributes: []types.PropagatingAttribute{{UserPropertyKey: aws.String("k"), ConnectionAttribute: aws.String("iot:ClientId")}}}}}))
	check[*sdk.DeprecateThingTypeOutput](t)(c.DeprecateThingType(ctx, &sdk.DeprecateThingTypeInput{ThingTypeName: name}))
	kind := check[*sdk.DescribeThingTypeOutput](t)(c.DescribeThingType(ctx, &sdk.DescribeThingTypeInput{ThingTypeName: name}))
	if !kind.ThingTypeMetadata.Deprecated || kind.ThingTypeMetadata.DeprecationDate.IsZero() || *kind.ThingTypeProperties.Mqtt5Configuration.PropagatingAttributes[0].ConnectionAttribute != "iot:ClientId" {
		t.Errorf("%+v", kind)
	}
	for _, g := range []string{"a", "b", "c"} {
		check[*sdk.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: &g}))
	}
	var groups []string
	for p := sdk.NewListThingGroupsPaginator(c, &sdk.ListThingGroupsInput{MaxResults: aws.Int32(2)}); p.HasMorePages(); {
		for _, g := range check[*sdk.ListThingGroupsOutput](t)(p.NextPage(ctx)).ThingGroups {
			groups = append(groups, *g.GroupName)
		}
	}
	if strings.Join(groups, "") != "abc" {
		t.Errorf("groups %v", groups)
	}
	updated := check[*sdk.UpdateThingGroupOutput](t)(c.UpdateThingGroup(ctx, &sdk.UpdateThingGroupInput{ThingGroupName: aws.String("a"), ThingGroupProperties: &types.ThingGroupProperties{ThingGroupDescription: aws.String("d")}}))
	group := check[*sdk.DescribeThingGroupOutput](t)(c.DescribeThingGroup(ctx, &sdk.DescribeThingGroupInput{ThingGroupName: aws.String("a")}))
	if updated.Version != 2 || group.Version != 2 || *group.ThingGroupProperties.ThingGroupDescription != "d" || group.ThingGroupMetadata.CreationDate.IsZero() {
		t.Errorf("%+v", group)
	}
	check[*sdk.CreateBillingGroupOutput](t)(c.CreateBillingGroup(ctx, &sdk.CreateBillingGroupInput{BillingGroupName: name}))
	if got := check[*sdk.DescribeBillingGroupOutput](t)(c.DescribeBillingGroup(ctx, &sdk.DescribeBillingGroupInput{BillingGroupName: name})); got.BillingGroupMetadata.CreationDate.IsZero() || got.Version != 1 {
		t.Errorf("%+v", got)
	}
	_, err := c.DescribeThingGroup(ctx, &sdk.DescribeThingGroupInput{ThingGroupName: aws.String("none")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
}
