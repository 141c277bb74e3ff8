package apigateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/apigateway"
	"github.com/aws/aws-sdk-go-v2/service/apigateway/types"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/rest"
	"mote/internal/cloud/store/storetest"
	"mote/internal/sigv4"
)

const (
	accessKey = "AKIDTEST"
	secret    = "a secret of the test"
)

// topics records what was published.
type topics struct {
	mu  sync.Mutex
	got []string // guarded by mu
}

func (p *topics) Publish(_ context.Context, m *message.Message) (message.Outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, m.Topic+" "+string(m.Payload))
	return message.Outcome{}, nil
}

// origin is the front with the control plane and the routes behind it.
func origin(t testing.TB) (*httptest.Server, *topics) {
	t.Helper()
	st := storetest.Open(t, t.TempDir())
	keys := func(id string) (string, bool) { return secret, id == accessKey }
	p := &topics{}
	e, err := rest.Open(st, rest.Options{Region: "eu-west-1", Publisher: p, Keys: keys, Refusals: refusal.New(nil)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(awsapi.NewFront(awsapi.Config{APIGateway: New(e, nil), Rest: e, Keys: keys, Account: "000000000001", Region: "eu-west-1"}))
	t.Cleanup(s.Close)
	return s, p
}

func client(url string) *sdk.Client {
	return sdk.New(sdk.Options{BaseEndpoint: aws.String(url), Region: "eu-west-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secret, "")})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func post(t testing.TB, url, body string, header ...string) (int, string) {
	t.Helper()
	req := must[*http.Request](t)(http.NewRequest("POST", url, strings.NewReader(body)))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp := must[*http.Response](t)(http.DefaultTransport.RoundTrip(req))
	defer resp.Body.Close()
	return resp.StatusCode, string(must[[]byte](t)(io.ReadAll(resp.Body)))
}

// TestRouteEndToEnd makes, looks at, uses and takes away a route with the
// AWS SDK.
func TestRouteEndToEnd(t *testing.T) {
	s, p := origin(t)
	c, ctx := client(s.URL), t.Context()

	api := must[*sdk.CreateRestApiOutput](t)(c.CreateRestApi(ctx, &sdk.CreateRestApiInput{Name: aws.String("dust"), Description: aws.String("d"), Tags: map[string]string{"a": "b"},
		EndpointConfiguration: &types.EndpointConfiguration{Types: []types.EndpointType{types.EndpointTypeRegional}}}))
	if *api.Name != "dust" || len(*api.Id) != 10 || time.Since(*api.CreatedDate) > time.Minute || api.ApiKeySource != types.ApiKeySourceTypeHeader || api.Tags["a"] != "b" {
		t.Errorf("made %+v", api)
	}
	res := must[*sdk.CreateResourceOutput](t)(c.CreateResource(ctx, &sdk.CreateResourceInput{RestApiId: api.Id, ParentId: api.RootResourceId, PathPart: aws.String("dust")}))
	if *res.Path != "/dust" {
		t.Errorf("made %+v", res)
	}
	post1 := aws.String("POST")
	m := must[*sdk.PutMethodOutput](t)(c.PutMethod(ctx, &sdk.PutMethodInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: post1, AuthorizationType: aws.String("NONE"), ApiKeyRequired: true}))
	if !*m.ApiKeyRequired || *m.HttpMethod != "POST" {
		t.Errorf("made %+v", m)
	}
	uri := "arn:aws:apigateway:eu-west-1:iotdata:path/topics/rest/prod/dust"
	in := must[*sdk.PutIntegrationOutput](t)(c.PutIntegration(ctx, &sdk.PutIntegrationInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: post1, Type: types.IntegrationTypeAws,
		IntegrationHttpMethod: post1, Uri: &uri, Credentials: aws.String("arn:aws:iam::000000000001:role/r")}))
	if *in.Uri != uri || in.TimeoutInMillis != 29000 {
		t.Errorf("made %+v", in)
	}
	must[*sdk.PutMethodResponseOutput](t)(c.PutMethodResponse(ctx, &sdk.PutMethodResponseInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: post1, StatusCode: aws.String("200")}))
	must[*sdk.PutIntegrationResponseOutput](t)(c.PutIntegrationResponse(ctx, &sdk.PutIntegrationResponseInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: post1, StatusCode: aws.String("200"),
		ResponseTemplates: map[string]string{"application/json": `{"stored":true}`}}))
	d := must[*sdk.CreateDeploymentOutput](t)(c.CreateDeployment(ctx, &sdk.CreateDeploymentInput{RestApiId: api.Id, StageName: aws.String("prod")}))
	stage := must[*sdk.GetStageOutput](t)(c.GetStage(ctx, &sdk.GetStageInput{RestApiId: api.Id, StageName: aws.String("prod")}))
	if *stage.DeploymentId != *d.Id {
		t.Errorf("stage %+v", stage)
	}
	key := must[*sdk.CreateApiKeyOutput](t)(c.CreateApiKey(ctx, &sdk.CreateApiKeyInput{Name: aws.String("pi"), Enabled: true}))
	plan := must[*sdk.CreateUsagePlanOutput](t)(c.CreateUsagePlan(ctx, &sdk.CreateUsagePlanInput{Name: aws.String("boards"), ApiStages: []types.ApiStage{{ApiId: api.Id, Stage: aws.String("prod")}}}))
	must[*sdk.CreateUsagePlanKeyOutput](t)(c.CreateUsagePlanKey(ctx, &sdk.CreateUsagePlanKeyInput{UsagePlanId: plan.Id, KeyId: key.Id, KeyType: aws.String("API_KEY")}))

	if status, body := post(t, s.URL+"/prod/dust", `{"id":"1"}`, "x-api-key", *key.Value); status != 200 || body != `{"stored":true}` || p.got[0] != `rest/prod/dust {"id":"1"}` {
		t.Errorf("posted: %d %s, published %v", status, body, p.got)
	}
	if status, body := post(t, s.URL+"/prod/dust", `{}`); status != 403 || body != `{"message":"Forbidden"}` {
		t.Errorf("without the key: %d %s", status, body)
	}
	look(t, c, api, res, key, plan)
	takeAway(t, c, api, res, key, plan)
	if status, _ := post(t, s.URL+"/prod/dust", `{}`, "x-api-key", *key.Value); status != 403 {
		t.Errorf("after all: %d", status)
	}
}

func look(t *testing.T, c *sdk.Client, api *sdk.CreateRestApiOutput, res *sdk.CreateResourceOutput, key *sdk.CreateApiKeyOutput, plan *sdk.CreateUsagePlanOutput) {
	ctx := t.Context()
	if out := must[*sdk.GetRestApisOutput](t)(c.GetRestApis(ctx, &sdk.GetRestApisInput{})); len(out.Items) != 1 || *out.Items[0].Id != *api.Id {
		t.Errorf("APIs %+v", out.Items)
	}
	if out := must[*sdk.GetRestApiOutput](t)(c.GetRestApi(ctx, &sdk.GetRestApiInput{RestApiId: api.Id})); *out.RootResourceId != *api.RootResourceId {
		t.Errorf("API %+v", out)
	}
	out := must[*sdk.GetResourcesOutput](t)(c.GetResources(ctx, &sdk.GetResourcesInput{RestApiId: api.Id, Embed: []string{"methods"}}))
	if len(out.Items) != 2 || *out.Items[1].ResourceMethods["POST"].MethodIntegration.IntegrationResponses["200"].StatusCode != "200" {
		t.Errorf("resources %+v", out.Items)
	}
	plain := must[*sdk.GetResourcesOutput](t)(c.GetResources(ctx, &sdk.GetResourcesInput{RestApiId: api.Id, Limit: aws.Int32(1)}))
	if len(plain.Items) != 1 || plain.Position == nil {
		t.Errorf("a page %+v", plain)
	}
	rest := must[*sdk.GetResourcesOutput](t)(c.GetResources(ctx, &sdk.GetResourcesInput{RestApiId: api.Id, Position: plain.Position}))
	if len(rest.Items) != 1 || *rest.Items[0].Id != *res.Id || rest.Items[0].ResourceMethods["POST"].MethodIntegration != nil {
		t.Errorf("the rest %+v", rest.Items)
	}
	if m := must[*sdk.GetMethodOutput](t)(c.GetMethod(ctx, &sdk.GetMethodInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: aws.String("POST")})); m.MethodIntegration == nil || m.MethodResponses["200"].StatusCode == nil {
		t.Errorf("method %+v", m)
	}
	must[*sdk.GetIntegrationOutput](t)(c.GetIntegration(ctx, &sdk.GetIntegrationInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: aws.String("POST")}))
	if out := must[*sdk.GetDeploymentsOutput](t)(c.GetDeployments(ctx, &sdk.GetDeploymentsInput{RestApiId: api.Id})); len(out.Items) != 1 {
		t.Errorf("deployments %+v", out.Items)
	}
	if out := must[*sdk.GetStagesOutput](t)(c.GetStages(ctx, &sdk.GetStagesInput{RestApiId: api.Id})); len(out.Item) != 1 {
		t.Errorf("stages %+v", out.Item)
	}
	for _, include := range []bool{false, true} {
		all := must[*sdk.GetApiKeysOutput](t)(c.GetApiKeys(ctx, &sdk.GetApiKeysInput{IncludeValues: &include}))
		one := must[*sdk.GetApiKeyOutput](t)(c.GetApiKey(ctx, &sdk.GetApiKeyInput{ApiKey: key.Id, IncludeValue: &include}))
		if len(all.Items) != 1 || (all.Items[0].Value != nil) != include || (one.Value != nil) != include || !one.Enabled {
			t.Errorf("keys %+v %+v", all.Items, one)
		}
	}
	if out := must[*sdk.GetUsagePlansOutput](t)(c.GetUsagePlans(ctx, &sdk.GetUsagePlansInput{KeyId: key.Id})); len(out.Items) != 1 || *out.Items[0].ApiStages[0].Stage != "prod" {
		t.Errorf("plans %+v", out.Items)
	}
	if out := must[*sdk.GetUsagePlanKeysOutput](t)(c.GetUsagePlanKeys(ctx, &sdk.GetUsagePlanKeysInput{UsagePlanId: plan.Id})); len(out.Items) != 1 || *out.Items[0].Id != *key.Id {
		t.Errorf("keys of the plan %+v", out.Items)
	}
	off := must[*sdk.UpdateApiKeyOutput](t)(c.UpdateApiKey(ctx, &sdk.UpdateApiKeyInput{ApiKey: key.Id, PatchOperations: []types.PatchOperation{{Op: types.OpReplace, Path: aws.String("/enabled"), Value: aws.String("false")}}}))
	if off.Enabled {
		t.Error("the key is still enabled")
	}
}

func takeAway(t *testing.T, c *sdk.Client, api *sdk.CreateRestApiOutput, res *sdk.CreateResourceOutput, key *sdk.CreateApiKeyOutput, plan *sdk.CreateUsagePlanOutput) {
	ctx := t.Context()
	must[*sdk.DeleteUsagePlanKeyOutput](t)(c.DeleteUsagePlanKey(ctx, &sdk.DeleteUsagePlanKeyInput{UsagePlanId: plan.Id, KeyId: key.Id}))
	must[*sdk.UpdateUsagePlanOutput](t)(c.UpdateUsagePlan(ctx, &sdk.UpdateUsagePlanInput{UsagePlanId: plan.Id,
		PatchOperations: []types.PatchOperation{{Op: types.OpRemove, Path: aws.String("/apiStages"), Value: aws.String(*api.Id + ":prod")}}}))
	must[*sdk.DeleteUsagePlanOutput](t)(c.DeleteUsagePlan(ctx, &sdk.DeleteUsagePlanInput{UsagePlanId: plan.Id}))
	must[*sdk.DeleteApiKeyOutput](t)(c.DeleteApiKey(ctx, &sdk.DeleteApiKeyInput{ApiKey: key.Id}))
	must[*sdk.DeleteStageOutput](t)(c.DeleteStage(ctx, &sdk.DeleteStageInput{RestApiId: api.Id, StageName: aws.String("prod")}))
	must[*sdk.DeleteMethodOutput](t)(c.DeleteMethod(ctx, &sdk.DeleteMethodInput{RestApiId: api.Id, ResourceId: res.Id, HttpMethod: aws.String("POST")}))
	must[*sdk.DeleteResourceOutput](t)(c.DeleteResource(ctx, &sdk.DeleteResourceInput{RestApiId: api.Id, ResourceId: res.Id}))
	must[*sdk.DeleteRestApiOutput](t)(c.DeleteRestApi(ctx, &sdk.DeleteRestApiInput{RestApiId: api.Id}))
}

// TestErrorsAreTyped: the SDK sees API Gateway's exceptions.
func TestErrorsAreTyped(t *testing.T) {
	s, _ := origin(t)
	c, ctx := client(s.URL), t.Context()
	_, err := c.GetRestApi(ctx, &sdk.GetRestApiInput{RestApiId: aws.String("nothere")})
	if e, ok := errors.AsType[*types.NotFoundException](err); !ok || *e.Message != "Invalid API identifier specified nothere" {
		t.Errorf("got %v", err)
	}
	_, err = c.CreateApiKey(ctx, &sdk.CreateApiKeyInput{Value: aws.String("short")})
	if _, ok := errors.AsType[*types.BadRequestException](err); !ok {
		t.Errorf("got %v", err)
	}
	value := aws.String(strings.Repeat("v", 20))
	must[*sdk.CreateApiKeyOutput](t)(c.CreateApiKey(ctx, &sdk.CreateApiKeyInput{Value: value}))
	_, err = c.CreateApiKey(ctx, &sdk.CreateApiKeyInput{Value: value})
	if _, ok := errors.AsType[*types.ConflictException](err); !ok {
		t.Errorf("got %v", err)
	}
	_, err = c.CreateUsagePlan(ctx, &sdk.CreateUsagePlanInput{Name: aws.String("p"), Quota: &types.QuotaSettings{Limit: 1, Period: types.QuotaPeriodTypeDay}})
	if e, ok := errors.AsType[*types.BadRequestException](err); !ok || !strings.Contains(*e.Message, "quota is not offered") {
		t.Errorf("got %v", err)
	}
	_, err = c.GetAccount(ctx, &sdk.GetAccountInput{})
	if err == nil || !strings.Contains(err.Error(), "not offered here") || !strings.Contains(err.Error(), "501") {
		t.Errorf("got %v", err)
	}
	api := must[*sdk.CreateRestApiOutput](t)(c.CreateRestApi(ctx, &sdk.CreateRestApiInput{Name: aws.String("a")}))
	_, err = c.CreateDeployment(ctx, &sdk.CreateDeploymentInput{RestApiId: api.Id, StageName: aws.String("things")})
	if err == nil || !strings.Contains(err.Error(), "also the path of an AWS API") {
		t.Errorf("got %v", err)
	}
}

func TestRefuse(t *testing.T) {
	s, _ := origin(t)
	wrong := sdk.New(sdk.Options{BaseEndpoint: aws.String(s.URL), Region: "eu-west-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(accessKey, "wrong", "")})
	if _, err := wrong.GetRestApis(t.Context(), &sdk.GetRestApisInput{}); err == nil || !strings.Contains(err.Error(), sigv4.CodeInvalid) || !strings.Contains(err.Error(), "403") {
		t.Errorf("got %v", err)
	}
}

// FuzzBodies: no body makes the service panic or fail inside.
func FuzzBodies(f *testing.F) {
	st := storetest.Open(f, f.TempDir())
	e, err := rest.Open(st, rest.Options{})
	if err != nil {
		f.Fatal(err)
	}
	s := New(e, nil)
	f.Add("PATCH", "/usageplans/x", `{"patchOperations":[{"op":"add","path":"/apiStages","value":"a:b"}]}`)
	f.Add("PUT", "/restapis/a/resources/b/methods/GET/integration", `{"type":"AWS","uri":"arn:aws:apigateway:r:iotdata:path/topics/{a}","httpMethod":"POST"}`)
	f.Add("GET", "/apikeys?limit=-1&position=99999999999999999999", "[")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://h/"+strings.TrimPrefix(path, "/"), nil)
		if err != nil {
			return
		}
		awsapi.SetBody(r, []byte(body))
		rec := httptest.NewRecorder()
		if s.ServeHTTP(rec, r); rec.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %s", method, path, body, rec.Body)
		}
	})
}

// TestCommandLine makes a route with the AWS command line.
func TestCommandLine(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no AWS command line is installed")
	}
	s, p := origin(t)
	run := func(args string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, append([]string{"apigateway", "--endpoint-url", s.URL, "--region", "eu-west-1", "--output", "text"}, strings.Fields(args)...)...)
		cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	made := strings.Fields(run("create-rest-api --name dust --query [id,rootResourceId]"))
	api, root := made[0], made[1]
	run(fmt.Sprintf("put-method --rest-api-id %s --resource-id %s --http-method POST --authorization-type NONE", api, root))
	run(fmt.Sprintf("put-integration --rest-api-id %s --resource-id %s --http-method POST --type AWS --integration-http-method POST --uri arn:aws:apigateway:eu-west-1:iotdata:path/topics/a/b", api, root))
	run(fmt.Sprintf("create-deployment --rest-api-id %s --stage-name dev", api))
	if status, body := post(t, s.URL+"/dev", "hello"); status != 200 || len(p.got) != 1 || p.got[0] != "a/b hello" {
		t.Errorf("%d %s %v", status, body, p.got)
	}
}
