package config

import (
	"net/url"
	"strings"
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
	case parsed.Scheme == "http" && !Loopback(parsed.Hostname()):
		c.fail(at+".endpoint", "endpoint %q takes readings in the clear: use https, http is for this machine only", u.Endpoint)
	}
}
