//go:build !gateway

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// envCmd prints exports for a shell: eval "$(mote env)".
type envCmd struct {
	dataFlag
}

// Run prints the exports that point AWS CLI, SDKs and Terraform at the cloud.
// The secret stays in the credentials file, which only its owner can read.
func (c envCmd) Run(s *session) error {
	e, err := c.endpoints()
	if err != nil {
		return err
	}
	exports := [][2]string{
		{"AWS_SHARED_CREDENTIALS_FILE", filepath.Join(c.Data, "credentials")},
		{"AWS_CONFIG_FILE", filepath.Join(c.Data, "config")},
		{"AWS_PROFILE", "default"},
		{"AWS_REGION", e.Region},
		{"AWS_DEFAULT_REGION", e.Region},
		{"AWS_ENDPOINT_URL", e.HTTP},
		{"MOTE_DATA", c.Data},
		{"MOTE_MQTT", e.MQTT},
		{"MOTE_CA", e.CA},
		{"MOTE_API_KEY_FILE", e.APIKeyFile},
	}
	return writeExports(s.stdout, exports)
}

func writeExports(w io.Writer, exports [][2]string) error {
	for _, e := range exports {
		if e[1] == "" {
			continue // a listener that is off
		}
		if _, err := fmt.Fprintf(w, "export %s=%s\n", e[0], shellQuote(e[1])); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(w, "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN\n")
	return err
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
