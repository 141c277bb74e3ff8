package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRenewalAndRoles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const gateway = "[gateway]\nname = \"pi\"\n[uplink.iot]\nendpoint = \"localhost\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n"
	const role = "arn:aws:iam::000000000001:role/gateway"
	f, err := Parse("mote.toml", dir, []byte(gateway+"renew = { template = \"roofs\", before = \"10d\" }\n[[role_alias]]\nname = \"a\"\nrole = \""+role+"\"\n"+
		"[[cloud.role]]\narn = \""+role+"\"\ndocument = \"{}\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := f.Uplink.IoT.Renew; r.BeforeEnd != 240*time.Hour || r.Parameters["ThingName"] != "pi" {
		t.Errorf("%+v", r)
	}
	if a := f.RoleAliases[0]; a.Life != time.Hour {
		t.Errorf("%+v", a)
	}
	for text, want := range map[string]string{
		gateway + `renew = { before = "10d" }`:                                       "renew needs a template",
		gateway + `renew = { template = "roofs", before = "10m" }`:                   `before "10m"`,
		gateway + `renew = { template = "roofs", before = "-1d" }`:                   `before "-1d"`,
		gateway + `renew = { template = "r f" }`:                                     `bad name "r f"`,
		"[[role_alias]]\nname = \"a\"\nrole = \"gateway\"\n":                         `bad role "gateway"`,
		"[[role_alias]]\nname = \"a\"\nrole = \"" + role + "\"\nduration = \"1m\"\n": `duration "1m"`,
		strings.Repeat("[[cloud.role]]\narn = \""+role+"\"\ndocument = \"{}\"\n", 2): "already, and only one would count",
		"[[cloud.role]]\narn = \"" + role + "\"\n":                                   "has either a document or a file",
	} {
		if _, err := Parse("mote.toml", dir, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
