package config

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func (c *checker) uplinkDynamoDB(u *UplinkDynamoDB) {
	const at = "uplink.dynamodb"
	c.name1(at+".table", u.Table, tableName, "3 to 255 letters, digits and _.-")
	if u.CA != "" {
		u.CA = c.file(at+".ca", u.CA, "the root certificate of the server")
	}
	if u.Endpoint == "" {
		return
	}
	parsed, err := url.Parse(u.Endpoint)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.User != nil || strings.Trim(parsed.Path, "/") != "":
		c.fail(at+".endpoint", "bad endpoint %q: want https://HOST, for example \"https://dynamodb.eu-west-1.amazonaws.com\"", u.Endpoint)
	case parsed.Scheme == "http" && !isLoopback(parsed.Hostname()):
		c.fail(at+".endpoint", "endpoint %q takes readings in the clear: use https, http is for this machine only", u.Endpoint)
	}
}

// credentials checks where those for Signature V4 come from, and fills in what
// the uplink iot says too.
func (c *checker) credentials(at string, cr *Credentials, f *File) {
	if cr.RoleAlias == "" {
		if cr.Endpoint+cr.Thing+cr.Cert+cr.Key+cr.CA != "" {
			c.fail(at, "endpoint, thing, cert, key and ca belong to a role_alias: set it, or leave them out")
		}
		return
	}
	if cr.Profile != "" {
		c.fail(at, "credentials come from a profile or through a role_alias, not both")
	}
	c.name1(at+".role_alias", cr.RoleAlias, roleAlias, "letters, digits and _=,@-, at most 128")
	if cr.Endpoint == "" || strings.ContainsAny(cr.Endpoint, "/ ") {
		c.fail(at+".endpoint", "bad endpoint %q: want the host that aws iot describe-endpoint --endpoint-type iot:CredentialProvider prints", cr.Endpoint)
	}
	if g := f.Gateway; cr.Thing == "" && g != nil {
		cr.Thing = g.Name
	}
	if iot := f.Uplink.IoT; iot != nil && cr.Cert == "" && cr.Key == "" { // resolved already
		cr.Cert, cr.Key = iot.Cert, iot.Key
		if cr.CA == "" {
			cr.CA = iot.CA
		}
	}
	cr.Cert = c.file(at+".cert", cr.Cert, "the device certificate")
	cr.Key = c.file(at+".key", cr.Key, "the private key of the certificate")
	if cr.CA != "" {
		cr.CA = c.file(at+".ca", cr.CA, "the root certificate of the server")
	}
}

// templateName is the form of a provisioning template's name (AWS IoT API
// reference, CreateProvisioningTemplate).
var templateName = nameForm{regexp.MustCompile(`^[0-9A-Za-z_-]+$`), 1, 36}

// How long before its end a certificate is renewed.
const (
	defaultRenew = 30 * 24 * time.Hour
	leastRenew   = time.Hour
	mostRenew    = 365 * 24 * time.Hour
)

func (c *checker) renew(at string, r *Renew, g *Gateway) {
	if r.Template == "" {
		if r.Before != "" || len(r.Parameters) > 0 {
			c.fail(at, "renew needs a template, the name of the provisioning template that makes the new certificate active")
		}
		return
	}
	c.name1(at+".template", r.Template, templateName, "letters, digits, _ and -, at most 36")
	if r.BeforeEnd = defaultRenew; r.Before != "" {
		var err error
		if r.BeforeEnd, err = parseDays(r.Before); err != nil || r.BeforeEnd < leastRenew || r.BeforeEnd > mostRenew {
			c.fail(at+".before", "before %q: want from \"1h\" to \"365d\"", r.Before)
		}
	}
	if r.Parameters == nil && g != nil {
		r.Parameters = map[string]string{"ThingName": g.Name}
	}
}

// parseDays is time.ParseDuration, and takes a number of days such as "30d" too.
func parseDays(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	return time.Duration(n) * 24 * time.Hour, err
}

// The longest and the shortest time before another uplink takes over.
const (
	defaultFailover = 30 * time.Second
	leastFailover   = time.Second
	mostFailover    = 24 * time.Hour
)

func (c *checker) failover(u *Uplinks) {
	const at = "uplink.failover"
	if u.After != "" && len(u.Failover) == 0 {
		c.fail(at+"_after", "failover_after belongs to failover: name the uplinks, for example failover = [\"iot\", \"rest\"]")
	}
	u.FailoverAfter = defaultFailover
	if u.After != "" {
		d, err := time.ParseDuration(u.After)
		if err != nil || d < leastFailover || d > mostFailover {
			c.fail(at+"_after", "failover_after %q: want a duration from %q to %q", u.After, "1s", "24h")
		}
		u.FailoverAfter = d
	}
	set := map[string]bool{"iot": u.IoT != nil, "rest": u.REST != nil, "dynamodb": u.DynamoDB != nil}
	named := map[string]bool{}
	for _, name := range u.Failover {
		there, known := set[name]
		switch {
		case !known:
			c.fail(at, "failover names %q: want some of iot, rest and dynamodb", name)
		case !there:
			c.fail(at, "failover names %q, and there is no [uplink.%s]", name, name)
		case named[name]:
			c.fail(at, "failover names %q twice", name)
		}
		named[name] = true
	}
	if len(u.Failover) == 1 {
		c.fail(at, "failover needs two uplinks or more, in the order in which they are preferred")
	}
}
