package config

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// off is what a setting says that turns something off.
const off = "off"

// Name rules of AWS IoT and DynamoDB.
var (
	thingName  = nameForm{regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`), 1, 128}
	policyName = nameForm{regexp.MustCompile(`^[\w+=,.@-]+$`), 1, 128}
	ruleName   = nameForm{regexp.MustCompile(`^[a-zA-Z0-9_]+$`), 1, 128}
	tableName  = nameForm{regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`), 3, 255}
	roleAlias  = nameForm{regexp.MustCompile(`^[\w=,@-]+$`), 1, 128}

	functionName = nameForm{regexp.MustCompile(`^[a-zA-Z0-9_-]+$`), 1, 64}
	btAddress    = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)
)

// nameForm is what a name may look like. The lengths stand beside the
// expression, since one that counts, such as {1,128}, takes 100 KB, also in a
// gateway that never asks for it.
type nameForm struct {
	chars       *regexp.Regexp
	least, most int // bytes
}

func (f nameForm) matches(s string) bool {
	return len(s) >= f.least && len(s) <= f.most && f.chars.MatchString(s)
}

// Authorization modes of routes and of the REST uplink.
var authModes = []string{"none", "api-key", "iam", "iam+api-key"}

// bauds are the rates that Linux terminals know by name.
var bauds = []int{1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600}

// check validates f, fills in defaults and resolves paths.
func (c *checker) check(f *File) {
	if f.Gateway != nil {
		c.gateway(f.Gateway)
	}
	for i := range f.Sources {
		c.source(fmt.Sprintf("source[%d]", i), &f.Sources[i])
	}
	if f.Gateway == nil && len(f.Sources) > 0 {
		c.fail("source[0]", "sources need a [gateway] with a name")
	}
	if u := f.Uplink.IoT; u != nil {
		c.uplinkIoT(u, f.Gateway)
	}
	if u := f.Uplink.REST; u != nil {
		c.uplinkREST(u)
		c.credentials("uplink.rest.credentials", &u.Credentials, f)
	}
	if u := f.Uplink.DynamoDB; u != nil {
		c.uplinkDynamoDB(u)
		c.credentials("uplink.dynamodb.credentials", &u.Credentials, f)
	}
	c.failover(&f.Uplink)
	c.cloud(&f.Cloud)
	c.provisioned(f)
}

func (c *checker) gateway(g *Gateway) {
	c.name1("gateway.name", g.Name, thingName, "letters, digits, : _ and -, at most 128")
	if g.Thing == "" {
		g.Thing = "{id}"
	}
	if name := strings.Replace(g.Thing, "{id}", "1", 1); g.Thing != off && (name == g.Thing || !thingName.matches(name)) {
		c.fail("gateway.thing", "thing %q is no name for a board's thing: want {id} in it and otherwise letters, digits, : _ and -, or \"off\"", g.Thing)
	}
	if g.Listen != "" {
		c.hostPort("gateway.listen", g.Listen)
		if host, _, err := net.SplitHostPort(g.Listen); err == nil && host == "" {
			c.fail("gateway.listen", "listen %q: name the address: 127.0.0.1 for this machine only, 0.0.0.0 for whoever reaches it", g.Listen)
		}
	}
	if g.Spool.Dir == "" {
		g.Spool.Dir = DefaultSpoolDir
	}
	g.Spool.Dir = c.resolve(g.Spool.Dir)
	if g.Spool.Max == "" {
		g.Spool.Max = "1GiB"
	}
	size, err := parseSize(g.Spool.Max)
	switch {
	case err != nil:
		c.fail("gateway.spool.max", "%v", err)
	case size < 4<<20:
		c.fail("gateway.spool.max", "spool max is %s, the least is 4MiB", g.Spool.Max)
	}
	g.Spool.MaxBytes = size
	if g.Spool.Full == "" {
		g.Spool.Full = "drop-oldest"
	}
	c.oneOf("gateway.spool.full", g.Spool.Full, "drop-oldest", "block")
}

func (c *checker) source(at string, s *Source) {
	kinds := 0
	for _, set := range []bool{s.Bluetooth != "", s.Serial != "", s.TCP != "", s.MQTT != "", s.Sim != 0} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		c.fail(at, "a [[source]] has exactly one of bluetooth, serial, tcp, mqtt and sim, this one has %d", kinds)
	}
	if s.Bluetooth != "" && !btAddress.MatchString(s.Bluetooth) {
		c.fail(at+".bluetooth", "bad Bluetooth address %q: want six hex pairs such as 00:18:E4:35:4A:D7", s.Bluetooth)
	}
	if s.Adapter != "" && !btAddress.MatchString(s.Adapter) {
		c.fail(at+".adapter", "bad adapter address %q: want six hex pairs such as 00:18:E4:35:4A:D7", s.Adapter)
	}
	if (s.Channel != 0 || s.Adapter != "") && s.Bluetooth == "" {
		c.fail(at, "channel and adapter belong to a bluetooth source")
	}
	if s.Channel == 0 {
		s.Channel = 1
	}
	if s.Channel < 1 || s.Channel > 30 {
		c.fail(at+".channel", "RFCOMM channel %d: want 1 to 30", s.Channel)
	}
	if s.TCP != "" {
		c.hostPort(at+".tcp", s.TCP)
	}
	if s.Sim < 0 || s.Sim > 1000 {
		c.fail(at+".sim", "sim = %d: want the number of simulated boards, 1 to 1000", s.Sim)
	}
	c.sourceMQTT(at, s)
	c.sourceReading(at, s)
}

func (c *checker) sourceReading(at string, s *Source) {
	if s.Baud != 0 && s.Serial == "" {
		c.fail(at+".baud", "baud belongs to a serial source")
	}
	if s.Baud == 0 {
		s.Baud = 9600
	}
	if !slices.Contains(bauds, s.Baud) {
		c.fail(at+".baud", "baud %d is not a standard rate: want one of %s", s.Baud, strings.Trim(fmt.Sprint(bauds), "[]"))
	}
	s.SilenceAfter = c.duration(at+".silence", s.Silence)
	c.sourceFormat(at, s)
	c.sourceValues(at, s)
}

func (c *checker) uplinkIoT(u *UplinkIoT, g *Gateway) {
	const at = "uplink.iot"
	switch {
	case u.Endpoint == "":
		c.fail(at, "[uplink.iot] needs an endpoint, for example \"a1b2-ats.iot.eu-west-1.amazonaws.com:8883\"")
	case !strings.Contains(u.Endpoint, ":"):
		u.Endpoint += ":8883"
	}
	if u.Endpoint != "" {
		c.hostPort(at+".endpoint", u.Endpoint)
	}
	u.Cert = c.file(at+".cert", u.Cert, "the device certificate")
	u.Key = c.file(at+".key", u.Key, "the private key of the certificate")
	if u.CA != "" {
		u.CA = c.file(at+".ca", u.CA, "the root certificate of the server")
	}
	if u.Topic == "" {
		u.Topic = "sensors/{id}/air"
	}
	if u.ClientID == "" && g != nil {
		u.ClientID = g.Name
	}
	if u.MQTT == "" {
		u.MQTT = "5"
	}
	c.oneOf(at+".mqtt", u.MQTT, "5", "3.1.1")
	u.MaxRate = c.rate(at+".rate", u.Rate)
	c.renew(at+".renew", &u.Renew, g)
}

// rate checks the most publishes in a second: a number, "off" (-1) or nothing (0).
func (c *checker) rate(at string, v any) int {
	switch v := v.(type) {
	case nil:
		return 0
	case int64:
		if v >= 1 && v <= 100_000 {
			return int(v)
		}
	case string:
		if v == "off" {
			return -1
		}
	}
	c.fail(at, "bad rate %v: want 1 to 100000 publishes a second, or \"off\"", v)
	return 0
}

func (c *checker) uplinkREST(u *UplinkREST) {
	const at = "uplink.rest"
	parsed, err := url.Parse(u.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		c.fail(at+".url", "bad url %q: want https://HOST/STAGE/PATH", u.URL)
	} else if parsed.Scheme == "http" && !isLoopback(parsed.Hostname()) {
		c.fail(at+".url", "url %q sends readings and keys in the clear: use https, http is for this machine only", u.URL)
	}
	if u.Auth == "" {
		u.Auth = "none"
	}
	c.oneOf(at+".auth", u.Auth, authModes...)
	if u.APIKeyFile != "" {
		u.APIKeyFile = c.file(at+".api_key_file", u.APIKeyFile, "the API key")
	}
	if strings.Contains(u.Auth, "api-key") && u.APIKeyFile == "" && os.Getenv("AWS_API_KEY") == "" {
		c.fail(at+".auth", "auth %q needs the API key: set api_key_file, or AWS_API_KEY in the environment", u.Auth)
	}
	if u.CA != "" {
		u.CA = c.file(at+".ca", u.CA, "the root certificate of the server")
	}
}

func (c *checker) cloud(cl *Cloud) {
	for _, l := range []struct{ key, addr string }{{"mqtt", cl.MQTT}, {"https", cl.HTTPS}, {"http", cl.HTTP}} {
		if l.addr != "" && l.addr != off {
			c.hostPort("cloud."+l.key, l.addr)
		}
	}
	if host, _, err := net.SplitHostPort(cl.HTTP); err == nil && !isLoopback(host) {
		c.fail("cloud.http", "http %q: the listener without TLS is for this machine only: use 127.0.0.1, or https", cl.HTTP)
	}
	if cl.Buckets != "" {
		cl.Buckets = c.resolve(cl.Buckets)
	}
	if cl.Limits != "" {
		c.oneOf("cloud.limits", cl.Limits, "aws")
	}
	if cl.Trust == "" {
		cl.Trust = "loopback"
	}
	c.oneOf("cloud.trust", cl.Trust, "loopback", "all", "none")
	for name, target := range cl.Lambda {
		at := "cloud.lambda." + name
		c.name1(at, name, functionName, "the name of a Lambda function: letters, digits, _ and -, at most 64")
		if u, err := url.Parse(target); err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			c.fail(at, "%q is not a URL: want http://… or https://…, without user and password", target)
		}
	}
	c.cloudTable(&cl.Table)
	for i := range cl.Listeners {
		c.listener(fmt.Sprintf("cloud.listener[%d]", i), &cl.Listeners[i])
	}
	for i := range cl.Roles {
		at, r := fmt.Sprintf("cloud.role[%d]", i), &cl.Roles[i]
		c.roleARN(at+".arn", r.ARN)
		if slices.ContainsFunc(cl.Roles[:i], func(before Role) bool { return before.ARN == r.ARN }) {
			c.fail(at+".arn", "there is a [[cloud.role]] for %s already, and only one would count: put the statements into one document", r.ARN)
		}
		c.document(at, "[[cloud.role]]", &r.Document, r.File)
	}
}

// roleARN checks the ARN of a role (IAM user guide, "IAM ARNs").
func (c *checker) roleARN(path, arn string) {
	if _, name, ok := strings.Cut(arn, ":role/"); !ok || name == "" || !strings.HasPrefix(arn, "arn:aws") {
		c.fail(path, "bad role %q: want the ARN of a role, for example \"arn:aws:iam::000000000001:role/gateway\"", arn)
	}
}

// The lifetime of temporary credentials (AWS IoT API reference, CreateRoleAlias).
const (
	leastCredentialLife = 15 * time.Minute
	mostCredentialLife  = 12 * time.Hour
)

func (c *checker) roleAlias(at string, a *RoleAlias) {
	c.name1(at+".name", a.Name, roleAlias, "letters, digits and _=,@-, at most 128")
	c.roleARN(at+".role", a.Role)
	a.Life = time.Hour
	if a.Duration == "" {
		return
	}
	var err error
	if a.Life, err = time.ParseDuration(a.Duration); err != nil || a.Life < leastCredentialLife || a.Life > mostCredentialLife || a.Life%time.Second != 0 {
		c.fail(at+".duration", "duration %q: want from \"15m\" to \"12h\"", a.Duration)
	}
}

func (c *checker) listener(at string, l *Listener) {
	if l.Address == "" {
		c.fail(at, "a [[cloud.listener]] needs an address, for example \"127.0.0.1:1883\"")
		return
	}
	c.hostPort(at+".address", l.Address)
	if l.MQTT == "" {
		l.MQTT = "aws"
	}
	c.oneOf(at+".mqtt", l.MQTT, "aws", "spec")
	if l.TLS == nil {
		l.TLS = new(true)
	}
	if l.Auth == "" {
		l.Auth = "certificate"
		if !*l.TLS {
			l.Auth = "password"
		}
	}
	c.oneOf(at+".auth", l.Auth, "certificate", "password", "anonymous")
	if *l.TLS {
		return
	}
	if l.Auth == "certificate" {
		c.fail(at+".auth", "certificates need TLS: set tls = true, or auth = \"password\"")
	}
	if host, _, err := net.SplitHostPort(l.Address); err == nil && !isLoopback(host) && !l.Public {
		c.fail(at+".address", "address %q is not on this machine, and without TLS all can be read and changed on the way: use tls, or set public = true", l.Address)
	}
}

func (c *checker) cloudTable(t *CloudTable) {
	const at = "cloud.table.dynamodb"
	if t.DynamoDB == "" {
		if t.Region != "" {
			c.fail("cloud.table.region", "region belongs to a cluster of tables: set dynamodb to its URL")
		}
		return
	}
	u, err := url.Parse(t.DynamoDB)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.fail(at, "bad URL %q: want https://HOST, for example \"https://dynamodb.eu-west-1.amazonaws.com\"", t.DynamoDB)
	case u.User != nil:
		c.fail(at, "a URL with user or password: the credentials are those of the AWS default chain, such as AWS_ACCESS_KEY_ID in the environment")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		c.fail(at, "bad URL %q: the DynamoDB API has no path: want %s://%s", t.DynamoDB, u.Scheme, u.Host)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.fail(at, "%q sends rows in the clear: use https, http is for this machine only", t.DynamoDB)
	}
}

func (c *checker) provisioned(f *File) {
	policies := map[string]bool{}
	for i := range f.Policies {
		c.policy(fmt.Sprintf("policy[%d]", i), &f.Policies[i])
		policies[f.Policies[i].Name] = true
	}
	for i, t := range f.Things {
		at := fmt.Sprintf("thing[%d]", i)
		c.name1(at+".name", t.Name, thingName, "letters, digits, : _ and -, at most 128")
		if t.Policy != "" && !policies[t.Policy] {
			c.fail(at+".policy", "there is no [[policy]] named %q", t.Policy)
		}
	}
	for i := range f.RoleAliases {
		c.roleAlias(fmt.Sprintf("role_alias[%d]", i), &f.RoleAliases[i])
	}
	for i := range f.Tables {
		c.table(fmt.Sprintf("table[%d]", i), &f.Tables[i])
	}
	for i := range f.Rules {
		c.rule(fmt.Sprintf("rule[%d]", i), &f.Rules[i])
	}
	for i := range f.Routes {
		c.route(fmt.Sprintf("route[%d]", i), &f.Routes[i])
	}
}

func (c *checker) policy(at string, p *Policy) {
	c.name1(at+".name", p.Name, policyName, "letters, digits and _+=,.@-, at most 128")
	c.document(at, "[[policy]]", &p.Document, p.File)
}

// document checks a policy document, and reads it when it is in a file.
func (c *checker) document(at, table string, document *string, file string) {
	if (*document == "") == (file == "") {
		c.fail(at, "a %s has either a document or a file", table)
		return
	}
	if file != "" {
		if path := c.file(at+".file", file, "the policy document"); path != "" {
			data, _ := readBounded(path) // c.file has read it before
			*document = string(data)
		}
	}
	if *document != "" && !json.Valid([]byte(*document)) {
		c.fail(at+".document", "the document is not JSON")
	}
}

func (c *checker) table(at string, t *Table) {
	c.name1(at+".name", t.Name, tableName, "3 to 255 letters, digits and _.-")
	if t.Hash == "" {
		c.fail(at, "a [[table]] needs hash, the name of its partition key")
	}
	for _, k := range []struct {
		key  string
		kind *string
	}{{".hash_type", &t.HashType}, {".range_type", &t.RangeType}} {
		if *k.kind == "" {
			*k.kind = "S"
		}
		c.oneOf(at+k.key, *k.kind, "S", "N", "B")
	}
}

func (c *checker) rule(at string, r *Rule) {
	c.name1(at+".name", r.Name, ruleName, "letters, digits and _, at most 128")
	if r.SQL == "" {
		c.fail(at, "a [[rule]] needs sql, for example \"SELECT * FROM 'sensors/+/air'\"")
	}
	if r.SQLVersion == "" {
		r.SQLVersion = "2016-03-23"
	}
	c.oneOf(at+".sql_version", r.SQLVersion, "2015-10-08", "2016-03-23")
	set := 0
	for _, v := range []string{r.Table, r.Republish, r.Actions} {
		if v != "" {
			set++
		}
	}
	if set != 1 {
		c.fail(at, "a [[rule]] has exactly one of table, republish and actions, this one has %d", set)
	}
	if r.Actions != "" && !json.Valid([]byte(r.Actions)) {
		c.fail(at+".actions", "actions of rule %q are not JSON", r.Name)
	}
	if r.ErrorAction != "" && !json.Valid([]byte(r.ErrorAction)) {
		c.fail(at+".error_action", "error_action of rule %q is not JSON", r.Name)
	}
}

func (c *checker) route(at string, r *Route) {
	if r.Method == "" {
		r.Method = "POST"
	}
	c.oneOf(at+".method", r.Method, "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "ANY")
	stage, rest, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	if !strings.HasPrefix(r.Path, "/") || stage == "" || strings.Trim(rest, "/") == "" {
		c.fail(at+".path", "bad path %q: want /STAGE/PATH, for example \"/prod/dust\"", r.Path)
	}
	if r.Auth == "" {
		c.fail(at, "a [[route]] needs auth: one of %s", strings.Join(authModes, ", "))
		return
	}
	c.oneOf(at+".auth", r.Auth, authModes...)
}

// name1 checks a required name.
func (c *checker) name1(path, value string, rule nameForm, words string) {
	switch {
	case value == "":
		c.fail(path, "a name is needed (%s)", words)
	case !rule.matches(value):
		c.fail(path, "bad name %q: want %s", value, words)
	}
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	msg := fmt.Sprintf("%s = %q: want one of %s", keyOf(path), value, strings.Join(allowed, ", "))
	if near := nearest(value, allowed); near != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", near)
	}
	c.fail(path, "%s", msg)
}

// keyOf is the last key of a path.
func keyOf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func (c *checker) hostPort(path, value string) {
	_, port, err := net.SplitHostPort(value)
	n, nerr := strconv.Atoi(port)
	if err != nil || nerr != nil || n < 0 || n > 65535 {
		c.fail(path, "bad address %q: want HOST:PORT", value)
	}
}

// file resolves a path and checks that it can be read.
func (c *checker) file(path, value, what string) string {
	if value == "" {
		c.fail(path, "%s is needed here: the path of %s", path[strings.LastIndexByte(path, '.')+1:], what)
		return ""
	}
	full := c.resolve(value)
	if _, err := readBounded(full); err != nil {
		cause := err
		if os.IsNotExist(err) || !os.IsPermission(err) {
			if _, statErr := os.Stat(full); os.IsNotExist(statErr) {
				cause = fmt.Errorf("no such file")
			}
		}
		c.fail(path, "cannot read %s, %s: %v", what, full, cause)
		return ""
	}
	return full
}

func (c *checker) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.dir, path)
}

// isLoopback says whether host is this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// parseSize reads a size such as "512MiB", "1GiB", "2GB" or "65536" (bytes).
func parseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		factor float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}
	for _, u := range units {
		num, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
		if err != nil || !(v > 0) || v*u.factor > math.MaxInt64/2 {
			break
		}
		return int64(v * u.factor), nil
	}
	return 0, fmt.Errorf("bad size %q: want a number with a unit, such as \"512MiB\" or \"1GiB\"", s)
}
