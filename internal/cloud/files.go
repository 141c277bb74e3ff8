package cloud

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// writeFiles keeps the files by which people and tools get in: the root
// certificate, and the access key in the AWS tools' own format.
func (c *Cloud) writeFiles() error {
	c.endpoints = Endpoints{
		CA:         filepath.Join(c.opts.Data, "ca.pem"),
		Region:     c.opts.Region,
		Account:    c.registry.Account(),
		APIKeyFile: filepath.Join(c.opts.Data, "api-key"),
		PID:        os.Getpid(),
	}
	if err := writeIfDifferent(c.endpoints.CA, c.registry.CAPEM()); err != nil {
		return err
	}
	return c.writeCredentials()
}

// keyLine finds the access key in a credentials file.
var keyLine = regexp.MustCompile(`(?m)^aws_access_key_id\s*=\s*(\S+)\s*$`)

// writeCredentials makes an access key when the credentials file has none that
// the registry knows.
func (c *Cloud) writeCredentials() error {
	path := filepath.Join(c.opts.Data, "credentials")
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m := keyLine.FindSubmatch(have); m != nil {
		if _, ok := c.registry.AccessKey(string(m[1])); ok {
			return nil
		}
		return fmt.Errorf("%s holds the access key %s, which this data directory does not know: move the file away to get a new key", path, m[1])
	}
	id, secret, err := c.registry.CreateAccessKey()
	if err != nil {
		return err
	}
	return writeFile(path, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret))
}

// writeConfig keeps the AWS tools' config file beside the credentials.
func (c *Cloud) writeConfig() error {
	text := "[default]\nregion = " + c.opts.Region + "\n"
	if c.endpoints.HTTP != "" {
		text += "endpoint_url = " + c.endpoints.HTTP + "\n"
	}
	return writeIfDifferent(filepath.Join(c.opts.Data, "config"), []byte(text))
}

func writeIfDifferent(path string, data []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return writeFile(path, data)
}

// writeFile replaces path, mode 0600, complete or not at all.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
