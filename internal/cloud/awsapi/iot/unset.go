package iot

import (
	"net/http"
	"slices"

	"mote/internal/cloud/awsapi"
)

// unsetOperations read what this server has nothing of, and answer as AWS IoT
// does in an account where nobody ever set it: tools ask for it before and
// after what they change. Whoever wants to set it is refused by the operation's
// name.
var unsetOperations = []route{
	{"GET", "/loggingOptions", getLoggingOptions},
	{"GET", "/v2LoggingOptions", getV2LoggingOptions},
	{"GET", "/default-authorizer", describeDefaultAuthorizer},
	{"GET", "/domainConfigurations", listDomainConfigurations},
	{"GET", "/domainConfigurations/{domainConfigurationName}", describeDomainConfiguration},

	{"GET", "/v2LoggingLevel", empty("logTargetConfigurations")},
	{"GET", "/authorizers/", empty("authorizers")},
	{"GET", "/certificate-providers/", empty("certificateProviders")},
	{"GET", "/commands", empty("commands")},
	{"GET", "/custom-metrics", empty("metricNames")},
	{"GET", "/dimensions", empty("dimensionNames")},
	{"GET", "/fleet-metrics", empty("fleetMetrics")},
	{"GET", "/mitigationactions/actions", empty("actionIdentifiers")},
	{"GET", "/otaUpdates", empty("otaUpdates")},
	{"GET", "/packages", empty("packageSummaries")},
	{"GET", "/audit/scheduledaudits", empty("scheduledAudits")},
	{"GET", "/security-profiles", empty("securityProfileIdentifiers")},
	{"GET", "/streams", empty("streams")},
	{"GET", "/thing-registration-tasks", empty("taskIds")},
}

// empty answers a list that has nothing in it.
func empty(member string) operation {
	return func(*Handler, *call) (any, error) { return map[string]any{member: []any{}}, nil }
}

func getLoggingOptions(*Handler, *call) (any, error) {
	return map[string]any{"logLevel": "DISABLED"}, nil
}

func getV2LoggingOptions(*Handler, *call) (any, error) {
	return nil, awsapi.Errorf(http.StatusNotFound, "NotConfiguredException", "no logging is configured: this server writes its own log")
}

func describeDefaultAuthorizer(*Handler, *call) (any, error) {
	return nil, notFound("there is no default authorizer: %s", insteads["CreateAuthorizer"])
}

// domains are the domain configurations that every account has (AWS IoT
// developer guide, "AWS-managed domain"), with their service types. One host
// serves them all here.
var domains = []struct{ name, service string }{
	{"iot:CredentialProvider", "CREDENTIAL_PROVIDER"}, {"iot:Data-ATS", "DATA"}, {"iot:Jobs", "JOBS"},
}

func (h *Handler) domainARN(name string) string { return h.reg.ARN("domainconfiguration/" + name) }

func listDomainConfigurations(h *Handler, c *call) (any, error) {
	service := c.query.Get("serviceType")
	if !slices.Contains([]string{"", "CREDENTIAL_PROVIDER", "DATA", "JOBS"}, service) {
		return nil, badRequest("the serviceType %.40q is not valid: it must be DATA, CREDENTIAL_PROVIDER or JOBS", service)
	}
	out := []any{}
	for _, d := range domains {
		if service == "" || service == d.service {
			out = append(out, map[string]string{"domainConfigurationName": d.name, "domainConfigurationArn": h.domainARN(d.name), "serviceType": d.service})
		}
	}
	return map[string]any{"domainConfigurations": out}, nil
}

func describeDomainConfiguration(h *Handler, c *call) (any, error) {
	name := c.label("domainConfigurationName")
	for _, d := range domains {
		if d.name == name {
			return map[string]any{
				"domainConfigurationName": name, "domainConfigurationArn": h.domainARN(name), "domainName": h.endpoint, "serverCertificates": []any{},
				"domainConfigurationStatus": "ENABLED", "serviceType": d.service, "domainType": "AWS_MANAGED",
			}, nil
		}
	}
	return nil, notFound("Domain configuration %.128s does not exist", name)
}
