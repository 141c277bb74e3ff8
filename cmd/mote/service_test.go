package main

import (
	"strings"
	"testing"

	"mote/internal/config"
)

func TestTheServiceCanReplaceACertificateThatIsRenewed(t *testing.T) {
	for _, c := range []struct{ cert, key, template, refused string }{
		{"/etc/mote/cert.pem", "/etc/mote/key.pem", "", ""},
		{"/var/lib/mote/cert.pem", "/var/lib/mote/keys/key.pem", "roofs", ""},
		{"/etc/mote/cert.pem", "/var/lib/mote/key.pem", "roofs", "could not replace /etc/mote/cert.pem"},
		{"/var/lib/mote/cert.pem", "/var/lib/mote2/key.pem", "roofs", "could not replace /var/lib/mote2/key.pem"},
		{"/home/pi/cert.pem", "/var/lib/mote/key.pem", "roofs", "has no access to /home"},
	} {
		file := &config.File{Gateway: &config.Gateway{Spool: config.Spool{Dir: "/var/lib/mote/spool"}}}
		file.Uplink.IoT = &config.UplinkIoT{Cert: c.cert, Key: c.key, Renew: config.Renew{Template: c.template}}
		err := (&serviceInstallCmd{}).reaches(file)
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
