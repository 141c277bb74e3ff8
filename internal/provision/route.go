package provision

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigateway"
	"github.com/aws/aws-sdk-go-v2/service/apigateway/types"

	"mote/internal/config"
)

// apiName names the REST API, its API key and its usage plan.
const apiName = "mote"

// routes makes one REST API with all routes, deploys it to every stage that
// they name, and binds one API key to those stages.
func (a *applier) routes(ctx context.Context, routes []config.Route) error {
	if len(routes) == 0 {
		return nil
	}
	apiID, err := a.restAPI(ctx)
	if err != nil {
		return err
	}
	changed := map[string]bool{} // stage → a route of it was made or changed
	keyed := []string{}
	for _, r := range routes {
		stage, path, _ := strings.Cut(strings.Trim(r.Path, "/"), "/")
		new, err := a.route(ctx, apiID, r, path)
		if err != nil {
			return fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
		}
		changed[stage] = changed[stage] || new
		if strings.Contains(r.Auth, "api-key") && !slices.Contains(keyed, stage) {
			keyed = append(keyed, stage)
		}
	}
	for stage, new := range changed {
		if err := a.deploy(ctx, apiID, stage, new); err != nil {
			return fmt.Errorf("stage %s: %w", stage, err)
		}
	}
	if len(keyed) == 0 {
		return nil
	}
	return a.apiKey(ctx, apiID, keyed)
}

func (a *applier) restAPI(ctx context.Context) (id string, err error) {
	for in := (&apigateway.GetRestApisInput{}); ; {
		page, err := a.api.GetRestApis(ctx, in)
		if err != nil {
			return "", err
		}
		for _, api := range page.Items {
			if aws.ToString(api.Name) == apiName {
				return aws.ToString(api.Id), nil
			}
		}
		if in.Position = page.Position; in.Position == nil {
			break
		}
	}
	made, err := a.api.CreateRestApi(ctx, &apigateway.CreateRestApiInput{Name: aws.String(apiName)})
	if err != nil {
		return "", err
	}
	a.made("rest api", aws.ToString(made.Id))
	return aws.ToString(made.Id), nil
}

// route makes the method of one route as described. It says whether anything
// was changed, and so has to be deployed.
func (a *applier) route(ctx context.Context, apiID string, r config.Route, path string) (changed bool, err error) {
	resourceID, err := a.resource(ctx, apiID, path)
	if err != nil {
		return false, err
	}
	authType := "NONE"
	if strings.Contains(r.Auth, "iam") {
		authType = "AWS_IAM"
	}
	keyed := strings.Contains(r.Auth, "api-key")
	uri, templates := a.integration(r)
	got, err := a.api.GetMethod(ctx, &apigateway.GetMethodInput{RestApiId: &apiID, ResourceId: &resourceID, HttpMethod: &r.Method})
	switch {
	case err == nil && aws.ToString(got.AuthorizationType) == authType && aws.ToBool(got.ApiKeyRequired) == keyed &&
		got.MethodIntegration != nil && aws.ToString(got.MethodIntegration.Uri) == uri && maps.Equal(got.MethodIntegration.RequestTemplates, templates):
		return false, nil
	case err == nil: // there, but otherwise: PutMethod does not replace
		if _, err := a.api.DeleteMethod(ctx, &apigateway.DeleteMethodInput{RestApiId: &apiID, ResourceId: &resourceID, HttpMethod: &r.Method}); err != nil {
			return false, err
		}
	case !hasCode(err, "NotFoundException"):
		return false, err
	}
	if _, err := a.api.PutMethod(ctx, &apigateway.PutMethodInput{
		RestApiId: &apiID, ResourceId: &resourceID, HttpMethod: &r.Method, AuthorizationType: &authType, ApiKeyRequired: keyed,
	}); err != nil {
		return false, err
	}
	_, err = a.api.PutIntegration(ctx, &apigateway.PutIntegrationInput{
		RestApiId: &apiID, ResourceId: &resourceID, HttpMethod: &r.Method, Type: types.IntegrationTypeAws,
		IntegrationHttpMethod: aws.String("POST"), Uri: &uri, Credentials: aws.String(roleARN), RequestTemplates: templates,
	})
	if err == nil {
		a.made("route", r.Method+" "+r.Path)
	}
	return true, err
}

// integration is what the route does with the body: publish it into the rules,
// or put it into a table. The template of the latter is understood by mote's
// cloud; AWS wants one that names every attribute with its type.
func (a *applier) integration(r config.Route) (uri string, templates map[string]string) {
	if r.Table != "" {
		return fmt.Sprintf("arn:aws:apigateway:%s:dynamodb:action/PutItem", a.AWS.Region),
			map[string]string{"application/json": fmt.Sprintf(`{"TableName":%q,"Item":"$input.body"}`, r.Table)}
	}
	return fmt.Sprintf("arn:aws:apigateway:%s:iotdata:path/topics/rest/%s", a.AWS.Region, strings.Trim(r.Path, "/")), nil
}

// resource returns the id of the resource at path, and makes it and its
// parents where they are missing.
func (a *applier) resource(ctx context.Context, apiID, path string) (id string, err error) {
	have := map[string]string{} // path → id
	for in := (&apigateway.GetResourcesInput{RestApiId: &apiID}); ; {
		page, err := a.api.GetResources(ctx, in)
		if err != nil {
			return "", err
		}
		for _, r := range page.Items {
			have[aws.ToString(r.Path)] = aws.ToString(r.Id)
		}
		if in.Position = page.Position; in.Position == nil {
			break
		}
	}
	id = have["/"]
	at := ""
	for part := range strings.SplitSeq(path, "/") {
		at += "/" + part
		if have[at] == "" {
			made, err := a.api.CreateResource(ctx, &apigateway.CreateResourceInput{RestApiId: &apiID, ParentId: aws.String(id), PathPart: aws.String(part)})
			if err != nil {
				return "", err
			}
			have[at] = aws.ToString(made.Id)
		}
		id = have[at]
	}
	return id, nil
}

// deploy makes the routes live in a stage when they changed or the stage is not there.
func (a *applier) deploy(ctx context.Context, apiID, stage string, changed bool) error {
	_, err := a.api.GetStage(ctx, &apigateway.GetStageInput{RestApiId: &apiID, StageName: &stage})
	if err == nil && !changed {
		return nil
	}
	if err != nil && !hasCode(err, "NotFoundException") {
		return err
	}
	_, err = a.api.CreateDeployment(ctx, &apigateway.CreateDeploymentInput{RestApiId: &apiID, StageName: &stage})
	return err
}

// apiKey makes the API key and the usage plan that lets it into the stages,
// and keeps the key in the file APIKeys.
func (a *applier) apiKey(ctx context.Context, apiID string, stages []string) error {
	keyID, value, err := a.namedKey(ctx)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(a.APIKeys); err != nil || strings.TrimSpace(string(have)) != value {
		if err := writeFile(a.APIKeys, []byte(value+"\n")); err != nil {
			return err
		}
	}
	plans, err := a.api.GetUsagePlans(ctx, &apigateway.GetUsagePlansInput{KeyId: &keyID})
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(stages), func(stage string) bool { return planCovers(plans.Items, apiID, stage) })
	if len(missing) == 0 {
		return nil
	}
	in := &apigateway.CreateUsagePlanInput{Name: aws.String(apiName)}
	for _, stage := range missing {
		in.ApiStages = append(in.ApiStages, types.ApiStage{ApiId: &apiID, Stage: aws.String(stage)})
	}
	plan, err := a.api.CreateUsagePlan(ctx, in)
	if err != nil {
		return err
	}
	_, err = a.api.CreateUsagePlanKey(ctx, &apigateway.CreateUsagePlanKeyInput{UsagePlanId: plan.Id, KeyId: &keyID, KeyType: aws.String("API_KEY")})
	if err == nil {
		a.made("usage plan", strings.Join(missing, ", "))
	}
	return err
}

func planCovers(plans []types.UsagePlan, apiID, stage string) bool {
	return slices.ContainsFunc(plans, func(p types.UsagePlan) bool {
		return slices.ContainsFunc(p.ApiStages, func(s types.ApiStage) bool {
			return aws.ToString(s.ApiId) == apiID && aws.ToString(s.Stage) == stage
		})
	})
}

// namedKey returns the enabled API key of ours, and makes it when there is none.
func (a *applier) namedKey(ctx context.Context) (id, value string, err error) {
	got, err := a.api.GetApiKeys(ctx, &apigateway.GetApiKeysInput{NameQuery: aws.String(apiName), IncludeValues: aws.Bool(true)})
	if err != nil {
		return "", "", err
	}
	for _, k := range got.Items {
		if aws.ToString(k.Name) == apiName && k.Enabled {
			return aws.ToString(k.Id), aws.ToString(k.Value), nil
		}
	}
	made, err := a.api.CreateApiKey(ctx, &apigateway.CreateApiKeyInput{Name: aws.String(apiName), Enabled: true})
	if err != nil {
		return "", "", err
	}
	a.made("api key", a.APIKeys)
	return aws.ToString(made.Id), aws.ToString(made.Value), nil
}
