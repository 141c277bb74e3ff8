package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const good = `
[gateway]
name = "pi-roof"
spool = { dir = "spool", max = "64MiB", full = "block" }

[[source]]
bluetooth = "00:18:E4:35:4A:D7"
silence = "90s"

[[source]]
sim = 2
pattern = "{id:dust}"

[uplink.iot]
endpoint = "a1b2-ats.iot.eu-west-1.amazonaws.com"
cert = "c.pem"
key = "k.pem"
topic = "sensors/{id}/air"

[uplink.dynamodb]
table = "air_raw"
region = "eu-west-1"
credentials = { role_alias = "gateways", endpoint = "c1.credentials.iot.eu-west-1.amazonaws.com" }

[uplink]
failover = ["iot", "dynamodb"]
failover_after = "1m"

[[policy]]
name = "gateway"
document = '{"Version":"2012-10-17","Statement":[]}'

[[thing]]
name = "pi-roof"
policy = "gateway"

[[table]]
name = "air"
hash = "id"
range = "time"

[[rule]]
name = "store_air"
sql = "SELECT * FROM 'sensors/+/air'"
table = "air"

[[route]]
path = "/prod/dust"
auth = "api-key"

[cloud]
buckets = "files"

[cloud.lambda]
clean-air = "http://127.0.0.1:9000/run"
`

func parse(t *testing.T, text string) (*File, error) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []string{"c.pem", "k.pem"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Parse("mote.toml", dir, []byte(text))
}

func TestGood(t *testing.T) {
	f, err := parse(t, good)
	if err != nil {
		t.Fatal(err)
	}
	if f.Gateway.Spool.MaxBytes != 64<<20 || f.Sources[0].SilenceAfter != 90*time.Second || f.Sources[0].Pattern != DefaultPattern ||
		f.Uplink.IoT.ClientID != "pi-roof" || !strings.HasSuffix(f.Uplink.IoT.Endpoint, ":8883") || !filepath.IsAbs(f.Uplink.IoT.Cert) ||
		f.Uplink.FailoverAfter != time.Minute || f.Uplink.DynamoDB.Credentials.Thing != "pi-roof" || f.Uplink.DynamoDB.Credentials.Cert != f.Uplink.IoT.Cert ||
		f.Tables[0].HashType != "S" || f.Rules[0].SQLVersion != "2016-03-23" || f.Routes[0].Method != "POST" ||
		!filepath.IsAbs(f.Cloud.Buckets) || f.Cloud.Trust != "loopback" || f.Cloud.Lambda["clean-air"] != "http://127.0.0.1:9000/run" {
		t.Errorf("defaults: %+v", f)
	}
}

// Each case replaces a piece of the good file; the error must show the line
// and say what is wrong.
func TestBad(t *testing.T) {
	for _, c := range []struct{ name, old, new, line, says string }{
		{"unknown key", `silence = "90s"`, `silense = "90s"`, ":8:", `unknown key "silense" in [source]: did you mean "silence"?`},
		{"unknown key at the top", "[gateway]", "[gatway]", ":2:", `unknown key "gatway": did you mean "gateway"?`},
		{"unknown key in an inline table", `max = "64MiB"`, `mx = "64MiB"`, ":4:", `unknown key "mx" in [gateway]: did you mean "max"?`},
		{"wrong type", `sim = 2`, `sim = "two"`, ":11:", "this is a TOML string, want a whole number"},
		{"not TOML", `sim = 2`, `sim = `, ":11:", ""},
		{"bad Bluetooth address", "00:18:E4:35:4A:D7", "00:18:E4:35:4A", ":7:", "six hex pairs"},
		{"two kinds of source", "sim = 2", "sim = 2\ntcp = \"a:1\"", ":10:", "this one has 2"},
		{"no port", "amazonaws.com\"", "amazonaws.com:x\"", ":15:", "want HOST:PORT"},
		{"missing file", `cert = "c.pem"`, `cert = "nowhere.pem"`, ":16:", "nowhere.pem: no such file"},
		{"bad rate", `cert = "c.pem"`, "cert = \"c.pem\"\nrate = 0", ":17:", `bad rate 0: want 1 to 100000 publishes a second, or "off"`},
		{"missing key", `key = "k.pem"`, ``, ":14:", "key is needed here"},
		{"bad size", "64MiB", "64 lots", ":4:", `bad size "64 lots"`},
		{"bad choice", `full = "block"`, `full = "blok"`, ":4:", `did you mean "block"?`},
		{"bad thing", `name = "pi-roof"`, "name = \"pi-roof\"\nthing = \"board\"", ":4:", "want {id} in it"},
		{"bad silence", "90s", "90", ":8:", "want a duration"},
		{"no such policy", `policy = "gateway"`, `policy = "gatway"`, ":35:", `no [[policy]] named "gatway"`},
		{"policy not JSON", `"Statement":[]}`, `"Statement":[}`, ":31:", "is not JSON"},
		{"bad rule name", "store_air", "store-air", ":43:", "letters, digits and _"},
		{"rule does nothing", `table = "air"`, ``, ":42:", "exactly one of table, republish and actions"},
		{"bad route", "/prod/dust", "/prod", ":48:", "want /STAGE/PATH"},
		{"bad trust", `buckets = "files"`, `trust = "loopbck"`, ":52:", `did you mean "loopback"?`},
		{"bad function", "http://127.0.0.1:9000/run", "127.0.0.1:9000", ":55:", "is not a URL"},
		{"bad function name", "clean-air", `"clean air"`, ":55:", "the name of a Lambda function"},
		{"bad table", `table = "air_raw"
region`, `table = "a"
region`, ":21:", "3 to 255 letters"},
		{"credentials without an alias", `role_alias = "gateways", `, ``, ":23:", "belong to a role_alias"},
		{"credentials of two kinds", `role_alias = "gateways"`, `profile = "a", role_alias = "gateways"`, ":23:", "not both"},
		{"bad alias", `"gateways"`, `"a/b"`, ":23:", "letters, digits and _=,@-"},
		{"bad endpoint of credentials", `"c1.credentials`, `"https://c1.credentials`, ":23:", "iot:CredentialProvider"},
		{"failover to nothing", `"dynamodb"]`, `"rest"]`, ":26:", "there is no [uplink.rest]"},
		{"failover to something unknown", `"dynamodb"]`, `"kafka"]`, ":26:", "want some of iot, rest and dynamodb"},
		{"failover twice", `"dynamodb"]`, `"iot"]`, ":26:", `names "iot" twice`},
		{"failover of one", `, "dynamodb"]`, `]`, ":26:", "needs two uplinks"},
		{"bad failover time", `"1m"`, `"1"`, ":27:", "want a duration"},
		{"bad auth", `"api-key"`, `"apikey"`, ":49:", `did you mean "api-key"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatal("the case changes nothing")
			}
			_, err := parse(t, text)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := err.Error(); !strings.Contains(got, "mote.toml"+c.line) || !strings.Contains(got, c.says) {
				t.Errorf("got %s\nwant line %s and %q", got, c.line, c.says)
			}
			t.Log(err)
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
}

func TestKeysInTheClearAreRefused(t *testing.T) {
	_, err := parse(t, "[uplink.rest]\nurl = \"http://example.com/prod/dust\"\n[cloud]\nhttp = \"0.0.0.0:8080\"\n")
	if err == nil || !strings.Contains(err.Error(), "in the clear") || !strings.Contains(err.Error(), "for this machine only: use 127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

// TestTheClusterOfTablesIsChecked also holds that a password in a URL is not
// shown with the line that has it.
func TestTheClusterOfTablesIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`dynamodb = "https://dynamodb.eu-west-1.amazonaws.com"`:           "",
		`dynamodb = "https://alternator.lab:8043/"`:                       "",
		`dynamodb = "http://127.0.0.1:8000"` + "\nregion = \"eu-west-1\"": "",
		`dynamodb = "http://[::1]:8000"`:                                  "",
		`dynamodb = "http://alternator.lab:8000"`:                         "sends rows in the clear: use https",
		`dynamodb = "dynamodb.eu-west-1.amazonaws.com"`:                   "bad URL",
		`dynamodb = "ftp://a"`:                                            "bad URL",
		`dynamodb = "https://a/prod"`:                                     "has no path: want https://a",
		`dynamodb = "https://a?b=c"`:                                      "has no path: want https://a",
		`dynamodb = "https://me:s3cret@a"`:                                "the credentials are those of the AWS default chain",
		`password = "s3cret"`:                                             `unknown key "password"`,
		`api_key='s3cret'`:                                                `unknown key "api_key"`,
		`region = "eu-west-1"`:                                            "set dynamodb to its URL",
		`endpoint = "https://a"`:                                          `unknown key "endpoint" in [cloud.table]`,
	} {
		_, err := parse(t, "[cloud.table]\n"+text+"\n")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mote.toml:2")):
			t.Errorf("%s: %v, want %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("the password is shown: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("a.b = {c = [1,{d=2}]}\n[[source]]\n[source.x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = Parse("mote.toml", "/nonexistent", []byte(text))
	})
}
