package rest

// The types below are what the control plane manages. Their JSON is both what
// the store keeps and what the API Gateway wire shows (botocore model
// apigateway 2015-07-09), so that nothing is lost in between.

// Authorization types of a method.
const (
	AuthNone = "NONE"
	AuthIAM  = "AWS_IAM"
)

// API is one REST API. Its resources are the working copy: requests are
// served by the deployments that its stages name.
type API struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Description      string            `json:"description,omitempty"`
	Version          string            `json:"version,omitempty"`
	CreatedDate      int64             `json:"createdDate"` // epoch seconds
	APIKeySource     string            `json:"apiKeySource,omitempty"`
	BinaryMediaTypes []string          `json:"binaryMediaTypes,omitempty"`
	Endpoint         *Endpoint         `json:"endpointConfiguration,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	RootResourceID   string            `json:"rootResourceId"`
}

// Endpoint is kept as the client gave it: here is one origin.
type Endpoint struct {
	Types         []string `json:"types,omitempty"`
	IPAddressType string   `json:"ipAddressType,omitempty"`
}

// Resource is one path of an API.
type Resource struct {
	ID       string             `json:"id"`
	ParentID string             `json:"parentId,omitempty"`
	PathPart string             `json:"pathPart,omitempty"`
	Path     string             `json:"path"`
	Methods  map[string]*Method `json:"resourceMethods,omitempty"` // by HTTP method, or ANY
}

// Method is what one HTTP method of a resource needs and does.
type Method struct {
	HTTPMethod        string                     `json:"httpMethod"`
	AuthorizationType string                     `json:"authorizationType"`
	APIKeyRequired    bool                       `json:"apiKeyRequired"`
	OperationName     string                     `json:"operationName,omitempty"`
	RequestParameters map[string]bool            `json:"requestParameters,omitempty"`
	Responses         map[string]*MethodResponse `json:"methodResponses,omitempty"`
	Integration       *Integration               `json:"methodIntegration,omitempty"`
}

// MethodResponse is kept for tools; nothing here depends on it.
type MethodResponse struct {
	StatusCode         string            `json:"statusCode"`
	ResponseParameters map[string]bool   `json:"responseParameters,omitempty"`
	ResponseModels     map[string]string `json:"responseModels,omitempty"`
}

// Integration is what a method does with a request.
type Integration struct {
	Type                string                          `json:"type"` // AWS or MOCK
	HTTPMethod          string                          `json:"httpMethod,omitempty"`
	URI                 string                          `json:"uri,omitempty"`
	Credentials         string                          `json:"credentials,omitempty"` // a role on AWS; not used here
	RequestParameters   map[string]string               `json:"requestParameters,omitempty"`
	RequestTemplates    map[string]string               `json:"requestTemplates,omitempty"`
	PassthroughBehavior string                          `json:"passthroughBehavior,omitempty"`
	TimeoutInMillis     int                             `json:"timeoutInMillis,omitempty"`
	CacheNamespace      string                          `json:"cacheNamespace,omitempty"`
	Responses           map[string]*IntegrationResponse `json:"integrationResponses,omitempty"` // by status code
}

// IntegrationResponse maps an integration's answer to the client's. The one
// without a selection pattern is for success.
type IntegrationResponse struct {
	StatusCode         string            `json:"statusCode"`
	SelectionPattern   string            `json:"selectionPattern,omitempty"`
	ResponseParameters map[string]string `json:"responseParameters,omitempty"`
	ResponseTemplates  map[string]string `json:"responseTemplates,omitempty"`
}

// Deployment is a frozen copy of an API's resources.
type Deployment struct {
	ID          string `json:"id"`
	Description string `json:"description,omitempty"`
	CreatedDate int64  `json:"createdDate"`
}

// Stage is a name under which a deployment is served: the first path segment.
type Stage struct {
	Name            string            `json:"stageName"`
	DeploymentID    string            `json:"deploymentId"`
	Description     string            `json:"description,omitempty"`
	Variables       map[string]string `json:"variables,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	CreatedDate     int64             `json:"createdDate"`
	LastUpdatedDate int64             `json:"lastUpdatedDate"`
}

// Key is one API key.
type Key struct {
	ID              string            `json:"id"`
	Value           string            `json:"value,omitempty"` // 20 to 128 characters
	Name            string            `json:"name,omitempty"`
	Description     string            `json:"description,omitempty"`
	CustomerID      string            `json:"customerId,omitempty"`
	Enabled         bool              `json:"enabled"`
	Tags            map[string]string `json:"tags,omitempty"`
	CreatedDate     int64             `json:"createdDate"`
	LastUpdatedDate int64             `json:"lastUpdatedDate"`
}

// Plan is a usage plan: which keys may call which stages, and how fast.
type Plan struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Stages      []PlanStage       `json:"apiStages,omitempty"`
	Throttle    *Throttle         `json:"throttle,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// PlanStage names one stage of one API.
type PlanStage struct {
	APIID string `json:"apiId"`
	Stage string `json:"stage"`
}

// Throttle is a token bucket, for each key of the plan one.
type Throttle struct {
	BurstLimit int     `json:"burstLimit"` // requests
	RateLimit  float64 `json:"rateLimit"`  // requests per second
}

// apiRecord is one API as the store keeps it.
type apiRecord struct {
	API         API                  `json:"api"`
	Resources   map[string]*Resource `json:"resources"`             // by id
	Deployments []*deploymentRecord  `json:"deployments,omitempty"` // the oldest first
	Stages      map[string]*Stage    `json:"stages,omitempty"`      // by name
}

// deploymentRecord is a deployment with its frozen resources.
type deploymentRecord struct {
	Deployment
	Resources []*Resource `json:"resources"`
}

// planRecord is a usage plan with its keys.
type planRecord struct {
	Plan
	KeyIDs []string `json:"keyIds,omitempty"`
}
