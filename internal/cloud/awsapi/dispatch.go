package awsapi

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"mote/internal/sigv4"
)

// target is which part of the cloud a request is for.
type target int

const (
	toUnknown target = iota
	toIoT
	toIoTData
	toJobsData
	toCredentials
	toDynamoDB
	toAPIGateway
	toSTS
	toRest
	toMQTT
	toConsole
	toHealth
)

// roots are the first path segments of the AWS APIs that have paths (botocore
// service models of iot, iot-data, iot-jobs-data and apigateway). A REST stage
// cannot have one of these names, so a path says which of both is meant.
var roots = map[target][]string{
	toIoT: {"accept-certificate-transfer", "active-violations", "attached-policies", "audit", "authorizer", "authorizers", "behavior-model-training", "billing-groups",
		"cacertificate", "cacertificates", "cancel-certificate-transfer", "certificate", "certificate-providers", "certificates", "certificates-by-ca", "certificates-out-going",
		"command-executions", "commands", "confirmdestination", "custom-metric", "custom-metrics", "default-authorizer", "destinations", "detect", "dimensions", "domainConfigurations",
		"dynamic-thing-groups", "effective-policies", "encryption-configuration", "endpoint", "event-configurations", "fleet-metric", "fleet-metrics", "indexing", "indices",
		"job-templates", "jobs", "keys-and-certificate", "loggingOptions", "managed-job-templates", "metric-values", "mitigationactions", "otaUpdates", "package-configuration",
		"packages", "policies", "policy-principals", "policy-targets", "principal-policies", "principals", "provisioning-templates", "registrationcode", "reject-certificate-transfer",
		"role-aliases", "rules", "security-profile-behaviors", "security-profiles", "security-profiles-for-target", "streams", "tags", "target-policies", "test-authorization",
		"thing-groups", "thing-registration-tasks", "thing-types", "things", "transfer-certificate", "untag", "v2LoggingLevel", "v2LoggingOptions", "violation-events", "violations"},
	toIoTData: {"topics", "retainedMessage", "connections"},
	toAPIGateway: {"account", "apikeys", "clientcertificates", "domainnameaccessassociations", "domainnames", "rejectdomainnameaccessassociations", "restapis", "sdktypes",
		"usageplans", "vpclinks"},
	toConsole: {"console"},
}

// Reserved says whether a path segment begins paths of this origin's own, so
// that no REST stage can have it as its name.
func Reserved(segment string) bool {
	if segment == "" || segment == "mqtt" || segment == "api" || segment == "favicon.ico" {
		return true
	}
	for _, list := range roots {
		if slices.Contains(list, segment) {
			return true
		}
	}
	return false
}

// scopes maps the service names of credential scopes. Old clients sign for other
// names than new ones.
var scopes = map[string]target{
	"iot": toIoT, "iotdata": toIoTData, "iotdevicegateway": toIoTData, "iot-jobs-data": toJobsData,
	"dynamodb": toDynamoDB, "apigateway": toAPIGateway, "sts": toSTS,
}

// The targets of DynamoDB and of its streams.
const (
	dynamoTarget  = "DynamoDB_20120810."
	streamsTarget = "DynamoDBStreams_20120810."
)

// dispatch finds the target of r by header, scope, host and path, and
// the service name in its credential scope.
//
// A path below a deployed stage is a REST route whatever the scope says: stage
// names are never the first segment of an API's path (see [Reserved]), and
// senders whose route ignores Authorization may have signed for any service.
// Old clients sign calls of the IoT control plane as execute-api.
func dispatch(r *http.Request, hasStage func(string) bool) (t target, scope string) {
	root := segments(r.URL.EscapedPath())[0]
	_, scope = sigv4.Claimed(r)
	if target := r.Header.Get("X-Amz-Target"); strings.HasPrefix(target, dynamoTarget) || strings.HasPrefix(target, streamsTarget) {
		return toDynamoDB, scope
	}
	if r.URL.EscapedPath() == "/mqtt" {
		return toMQTT, scope
	}
	if root != "" && hasStage(root) {
		return toRest, scope
	}
	if t, ok := scopes[scope]; ok {
		return t, scope
	}
	if scope == "execute-api" {
		if slices.Contains(roots[toIoT], root) { // also things/NAME/jobs: other scopes are of the jobs data plane
			return toIoT, scope
		}
		return toRest, scope
	}
	if scope != "" {
		return toUnknown, scope
	}
	if t := byHost(r.Host); t != toUnknown {
		return t, scope
	}
	return byPath(r, root), scope
}

// byHost recognises the host names of AWS's services, which a client sends
// when its name resolution points here.
func byHost(host string) target {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") {
		return toUnknown
	}
	labels := strings.Split(host, ".")
	switch {
	case labels[1] == "execute-api":
		return toRest
	case labels[1] == "jobs":
		return toJobsData
	case labels[1] == "credentials":
		return toCredentials
	case labels[0] == "data-ats" || labels[0] == "data" || labels[1] == "iot":
		return toIoTData
	}
	return scopes[labels[0]]
}

// byPath is for requests that name no service: unsigned ones.
func byPath(r *http.Request, root string) target {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case root == "" && get && strings.Contains(r.Header.Get("Accept"), "text/html"):
		return toConsole
	case root == "" && get:
		return toHealth
	case root == "" && r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return toSTS
	case root == "favicon.ico" && get:
		return toConsole
	case isDataPath(r.URL.EscapedPath()):
		return toIoTData
	case isJobsPath(r.URL.EscapedPath()):
		return toJobsData
	case isCredentialsPath(r.URL.EscapedPath()):
		return toCredentials
	}
	for t, list := range roots {
		if slices.Contains(list, root) {
			return t
		}
	}
	if root == "" {
		return toUnknown
	}
	return toRest // an unknown stage: answered as API Gateway does
}

// isJobsPath recognises the jobs data plane's paths below roots it shares: those
// of devices with a certificate.
func isJobsPath(path string) bool {
	p := segments(path)
	return len(p) >= 3 && p[0] == "things" && p[2] == "jobs"
}

// isCredentialsPath recognises the credentials provider's path below a root that
// it shares with the control plane.
func isCredentialsPath(path string) bool {
	p := segments(path)
	return len(p) == 3 && p[0] == "role-aliases" && p[2] == "credentials"
}

// isDataPath recognises the data plane's paths below roots it shares.
func isDataPath(path string) bool {
	p := segments(path)
	return len(p) >= 3 && p[0] == "things" && p[2] == "shadow" || len(p) >= 2 && p[0] == "api" && p[1] == "things"
}
