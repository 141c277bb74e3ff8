// Package config reads mote.toml, the one file for both halves, into checked
// structs. Every error names the file and the line, shows the line, and says
// what would be right; a key or value that mote does not know is never passed
// over.
//
// Secrets never stand in the file: API keys come from the environment or from
// the file named by api_key_file, AWS credentials from the AWS default chain.
// Paths in the file are relative to the file's own directory; the structs hold
// them resolved.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// maxSize bounds a configuration file, bytes.
const maxSize = 1 << 20

// File is a checked mote.toml.
type File struct {
	Gateway  *Gateway `toml:"gateway"`
	Sources  []Source `toml:"source"`
	Uplink   Uplinks  `toml:"uplink"`
	Cloud    Cloud    `toml:"cloud"`
	Things   []Thing  `toml:"thing"`
	Policies []Policy `toml:"policy"`

	RoleAliases []RoleAlias `toml:"role_alias"`

	Tables []Table `toml:"table"`
	Rules  []Rule  `toml:"rule"`
	Routes []Route `toml:"route"`
}

// Gateway is the edge of one machine.
type Gateway struct {
	Name  string `toml:"name"`  // its thing name and MQTT client id
	Thing string `toml:"thing"` // of a board, with {id} in it; "off" leaves the boards' shadows alone
	Spool Spool  `toml:"spool"`
	Live  *bool  `toml:"live"` // default true: new readings go beside a long backlog, not behind it

	Listen string `toml:"listen"` // HOST:PORT of health, metrics and the page; "" for none
}

// DefaultSpoolDir is where readings wait when the file says nothing, beside it.
const DefaultSpoolDir = "spool"

// Spool says where readings wait for their acknowledgement.
type Spool struct {
	Dir  string `toml:"dir"`
	Max  string `toml:"max"`  // a size, such as "1GiB"
	Full string `toml:"full"` // "drop-oldest" or "block"

	MaxBytes int64 `toml:"-"` // Max, checked
}

// Source is one place where boards are connected. Exactly one of Bluetooth,
// Serial, TCP and Sim is set.
type Source struct {
	Name      string   `toml:"name"`      // for logs; default: the address
	Bluetooth string   `toml:"bluetooth"` // the board's address
	Channel   int      `toml:"channel"`   // RFCOMM channel; default 1
	Adapter   string   `toml:"adapter"`   // address of the adapter to dial from; default: the kernel's choice
	Serial    string   `toml:"serial"`    // device path
	Baud      int      `toml:"baud"`      // default 9600
	TCP       string   `toml:"tcp"`       // host:port
	MQTT      string   `toml:"mqtt"`      // host:port of a broker to which boards publish
	Sim       int      `toml:"sim"`       // number of simulated boards, each behind a pseudo-terminal
	Pattern   string   `toml:"pattern"`   // the frame; default {id:dust:temp:humid:rate}
	Text      []string `toml:"text"`      // fields that stay text even when they look like numbers
	MaxFrame  int      `toml:"max_frame"` // bytes; default 256, of JSON lines 2048
	Silence   string   `toml:"silence"`   // redial after this long without a byte, such as "90s"; default: from the rate that the board says

	// Of an MQTT source.
	Topic        string `toml:"topic"`        // filter, with + and #
	ClientID     string `toml:"client_id"`    // default: from the gateway's name and the topic
	MQTTVersion  string `toml:"mqtt_version"` // "5" (default) or "3.1.1"
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`   // path
	Command      string `toml:"command"`         // topic on which boards are told their rate, with {id}; "": they are not
	Payload      string `toml:"command_payload"` // with {rate}, the seconds; default {rate:N}
	Retain       bool   `toml:"command_retain"`  // the broker keeps the last command
	TLS          bool   `toml:"tls"`
	CA           string `toml:"ca"`   // path, PEM; default: the system's roots
	Cert         string `toml:"cert"` // path, PEM; with key, when the broker wants it
	Key          string `toml:"key"`  // path, PEM

	// Frames in another form than a pattern.
	Format    string   `toml:"format"`    // "pattern" (default), "jsonl", "csv" or, of mqtt, "value"
	Columns   []string `toml:"columns"`   // of csv
	Delimiter string   `toml:"delimiter"` // of csv; default a comma
	Comment   string   `toml:"comment"`   // of csv: begins a line that is no frame
	ID        string   `toml:"id"`        // of jsonl: the member with the board's id, default id; of mqtt also made of levels of the topic, {topic:N}
	Value     string   `toml:"value"`     // of value: the field's name, also made of levels of the topic
	Board     string   `toml:"board"`     // the id of the one board that does not say who it is
	Time      string   `toml:"time"`      // the field with the board's own clock
	Skip      []string `toml:"skip"`      // fields that are left out

	// What becomes of values.
	Fields      []Field `toml:"field"`
	Implausible string  `toml:"implausible"` // "drop-field" (default) or "drop-frame"
	Units       bool    `toml:"units"`       // adds NAME_unit beside NAME
	Every       string  `toml:"every"`       // at most one reading of a board in so long
	Heartbeat   string  `toml:"heartbeat"`   // with dead-bands: a reading at least so often; default 10m

	SilenceAfter   time.Duration `toml:"-"` // Silence, checked; 0 means from the rate
	Addressed      bool          `toml:"-"` // ID is made of levels of the topic
	EveryTime      time.Duration `toml:"-"` // Every, checked; 0 means each reading
	HeartbeatAfter time.Duration `toml:"-"` // Heartbeat, checked
}

// Field is what is known of one field's values.
type Field struct {
	Name     string   `toml:"name"`
	Unit     string   `toml:"unit"`
	Scale    *float64 `toml:"scale"`
	Offset   *float64 `toml:"offset"`
	Round    *int     `toml:"round"` // places after the point
	Min      *float64 `toml:"min"`
	Max      *float64 `toml:"max"`
	Deadband *float64 `toml:"deadband"`
}

// DefaultPattern is the frame of the seed's boards.
const DefaultPattern = "{id:dust:temp:humid:rate}"

// Uplinks are the ways to the cloud. Several may be set; each has its own
// place in the spool, but for those of Failover, which share one.
type Uplinks struct {
	IoT      *UplinkIoT      `toml:"iot"`
	REST     *UplinkREST     `toml:"rest"`
	DynamoDB *UplinkDynamoDB `toml:"dynamodb"`

	Failover []string `toml:"failover"`       // names of uplinks of which one carries, the first that works
	After    string   `toml:"failover_after"` // how long one may fail before the next takes over; default "30s"

	FailoverAfter time.Duration `toml:"-"` // After, checked
}

// None says that no uplink is set.
func (u *Uplinks) None() bool { return u.IoT == nil && u.REST == nil && u.DynamoDB == nil }

// UplinkIoT is MQTT with mutual TLS.
type UplinkIoT struct {
	Endpoint string `toml:"endpoint"` // host or host:port; default port 8883
	Cert     string `toml:"cert"`     // path, PEM
	Key      string `toml:"key"`      // path, PEM
	CA       string `toml:"ca"`       // path, PEM; default: the system's roots
	Topic    string `toml:"topic"`    // default sensors/{id}/air
	ClientID string `toml:"client_id"`
	MQTT     string `toml:"mqtt"` // "5" (default) or "3.1.1"
	Rate     any    `toml:"rate"` // the most publishes in a second, or "off"; default: AWS's quotas at AWS

	Renew Renew `toml:"renew"`

	MaxRate int `toml:"-"` // Rate, checked: 0 when it is not set, -1 for "off"
}

// Renew has the device certificate renewed before it ends, by fleet provisioning.
type Renew struct {
	Template   string            `toml:"template"`   // name of the provisioning template; "" turns it off
	Before     string            `toml:"before"`     // a duration, also in days: "30d" is the default
	Parameters map[string]string `toml:"parameters"` // of the template; default: ThingName, the gateway's name

	BeforeEnd time.Duration `toml:"-"` // Before, checked
}

// UplinkREST is HTTPS with an API key and, or, Signature V4.
type UplinkREST struct {
	URL        string `toml:"url"`
	Auth       string `toml:"auth"`         // none, api-key, iam or iam+api-key
	APIKeyFile string `toml:"api_key_file"` // the environment's AWS_API_KEY wins
	Region     string `toml:"region"`       // for Signature V4; default: from the URL, else the AWS default chain
	CA         string `toml:"ca"`           // path, PEM; default: the system's roots

	Credentials Credentials `toml:"credentials"`
}

// UplinkDynamoDB is a table of the DynamoDB API.
type UplinkDynamoDB struct {
	Table    string `toml:"table"`
	Endpoint string `toml:"endpoint"` // URL; default: AWS's in the region
	Region   string `toml:"region"`   // default: from the endpoint, else the AWS default chain
	CA       string `toml:"ca"`       // path, PEM; default: the system's roots

	Credentials Credentials `toml:"credentials"`
}

// Credentials say where those for Signature V4 come from: the AWS default chain,
// a profile of it, or the credentials provider of AWS IoT.
type Credentials struct {
	Profile   string `toml:"profile"`
	RoleAlias string `toml:"role_alias"`
	Endpoint  string `toml:"endpoint"` // of the credentials provider; host or host:port
	Thing     string `toml:"thing"`    // default: the gateway's name
	Cert      string `toml:"cert"`     // path, PEM; default: that of [uplink.iot], like Key and CA
	Key       string `toml:"key"`
	CA        string `toml:"ca"`
}

// Cloud is the back end of this machine.
type Cloud struct {
	MQTT   string   `toml:"mqtt"`  // listener, HOST:PORT or off
	HTTPS  string   `toml:"https"` // listener
	HTTP   string   `toml:"http"`  // listener; loopback only
	Hosts  []string `toml:"hosts"` // further names and addresses for the server certificate
	Region string   `toml:"region"`
	Limits string   `toml:"limits"` // "aws": AWS's rates are kept too; default: only the limits of shape

	// What the actions of rules may reach.
	Buckets string            `toml:"buckets"` // directory for the action s3; default: buckets in the data directory
	Trust   string            `toml:"trust"`   // targets of the action http that need no confirmed destination: loopback (default), all or none
	Lambda  map[string]string `toml:"lambda"`  // function name → URL that the action lambda posts to

	Table CloudTable `toml:"table"`

	Listeners []Listener `toml:"listener"` // of MQTT, beside mqtt
	Roles     []Role     `toml:"role"`     // that temporary credentials are of
}

// Role says what temporary credentials of a role may do; a role that is not
// there may do what the uplinks of a gateway need.
type Role struct {
	ARN      string `toml:"arn"`
	Document string `toml:"document"` // a policy, JSON text
	File     string `toml:"file"`     // or a path to it
}

// Listener is one more MQTT listener.
type Listener struct {
	Address string `toml:"address"` // HOST:PORT
	MQTT    string `toml:"mqtt"`    // aws (default) or spec
	TLS     *bool  `toml:"tls"`     // default true
	Auth    string `toml:"auth"`    // certificate, password or anonymous; default: certificate with TLS, else password
	Public  bool   `toml:"public"`  // permits an address beyond this machine without TLS
}

// CloudTable says where the tables are, when they are not in the data directory.
// The credentials are those of the AWS default chain.
type CloudTable struct {
	DynamoDB string `toml:"dynamodb"` // URL of a cluster that speaks the DynamoDB API; "": the embedded engine
	Region   string `toml:"region"`   // that calls are signed for; default: the one in AWS's host names, else the cloud's
}

// Thing is one device identity: a thing, an X.509 certificate and what it may do.
type Thing struct {
	Name       string            `toml:"name"`
	Policy     string            `toml:"policy"` // name of a policy to attach
	Attributes map[string]string `toml:"attributes"`
}

// Policy is an AWS IoT policy.
type Policy struct {
	Name     string `toml:"name"`
	Document string `toml:"document"` // JSON text
	File     string `toml:"file"`     // or a path to it
}

// RoleAlias is the name under which devices ask for temporary credentials.
type RoleAlias struct {
	Name     string `toml:"name"`
	Role     string `toml:"role"`     // ARN
	Duration string `toml:"duration"` // of credentials; default "1h"

	Life time.Duration `toml:"-"` // Duration, checked
}

// Table is a DynamoDB table.
type Table struct {
	Name      string `toml:"name"`
	Hash      string `toml:"hash"`       // attribute name
	HashType  string `toml:"hash_type"`  // S (default), N or B
	Range     string `toml:"range"`      // attribute name; "" for none
	RangeType string `toml:"range_type"` // S (default), N or B
}

// Rule is an IoT topic rule: its SQL, and either one of the short forms Table
// and Republish or Actions in the AWS API's JSON.
type Rule struct {
	Name        string `toml:"name"`
	SQL         string `toml:"sql"`
	SQLVersion  string `toml:"sql_version"` // default 2016-03-23
	Description string `toml:"description"`
	Table       string `toml:"table"`        // dynamoDBv2 into this table
	Republish   string `toml:"republish"`    // to this topic, QoS 1
	Actions     string `toml:"actions"`      // JSON array of actions
	ErrorAction string `toml:"error_action"` // JSON object
}

// Route is a REST route, POST /{stage}/{path…}, that publishes its body into
// the rules as topic rest/{stage}/{path…}.
type Route struct {
	Method string `toml:"method"` // default POST
	Path   string `toml:"path"`   // its first segment is the stage
	Auth   string `toml:"auth"`   // none, api-key, iam or iam+api-key
	Table  string `toml:"table"`  // puts the body into this table instead; mote's cloud only
}

// Load reads and checks the file at path.
func Load(path string) (*File, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, filepath.Dir(abs), data)
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file: name the configuration with --config", path)
	case err != nil:
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory, want a mote.toml file", path)
	case info.Size() > maxSize:
		return nil, fmt.Errorf("%s has %d bytes, a configuration has at most %d", path, info.Size(), maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return data, nil
}

// Parse checks the configuration in data. Errors name it name; relative paths
// in it are resolved against dir.
func Parse(name, dir string, data []byte) (*File, error) {
	c := &checker{name: name, dir: dir, data: data}
	f := &File{}
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(f); err != nil {
		return nil, c.decodeError(err)
	}
	c.index()
	c.check(f)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return f, nil
}

// Error is one thing wrong with a configuration.
type Error struct {
	File string
	Line int    // 1-based; 0 when the error is about the file as a whole
	Text string // the line
	Msg  string // what is wrong and what would be right
}

// Error shows the line below the message:
//
//	mote.toml:7: unknown key "patern" in [[source]]: did you mean "pattern"?
//	    patern = "{id:dust}"
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + masked(e.Msg)
	}
	return fmt.Sprintf("%s:%d: %s\n    %s", e.File, e.Line, masked(e.Msg), masked(strings.TrimSpace(e.Text)))
}

// secrets are what a line may hold that no log should: who a URL logs in as, and
// the values of keys that are no keys of ours but sound like secrets.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(://)[^/@\s"']+(@)`),
	regexp.MustCompile(`(?i)([\w-]*(?:password|secret|token|api_?key)"?\s*=\s*["'])[^"']+(["'])`),
}

func masked(text string) string {
	for _, secret := range secrets {
		text = secret.ReplaceAllString(text, "${1}…${2}")
	}
	return text
}
