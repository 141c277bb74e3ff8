// Package endpoints is what a running cloud tells other programs of its machine:
// where its listeners are and where the files are by which tools get in.
package endpoints

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Name is the file in the cloud's data directory.
const Name = "endpoints.json"

// Endpoints is the content of the file.
type Endpoints struct {
	MQTT       string     `json:"mqtt,omitempty"`      // host:port
	HTTPS      string     `json:"https,omitempty"`     // URL
	HTTP       string     `json:"http,omitempty"`      // URL
	Listeners  []Listener `json:"listeners,omitempty"` // further ones of MQTT
	CA         string     `json:"ca"`                  // path of the root certificate
	Region     string     `json:"region"`
	Account    string     `json:"account"`
	APIKeyFile string     `json:"api_key_file"` // path
	PID        int        `json:"pid"`
}

// Listener is a further listener of MQTT.
type Listener struct {
	Address string `json:"address"` // host:port
	MQTT    string `json:"mqtt"`    // "aws" or "spec"
	TLS     bool   `json:"tls"`
	Auth    string `json:"auth"` // "certificate", "password" or "anonymous"
}

// Access refuses the data directory of another user.
func Access(data string) error {
	if _, err := os.ReadDir(data); errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("the data directory %s belongs to another user: run mote as that one, or choose another directory with --data", data)
	}
	return nil
}

// Read returns what the cloud with the data directory data has written, and an
// error that says how to start one when none runs there.
func Read(data string) (*Endpoints, error) {
	if err := Access(data); err != nil {
		return nil, err
	}
	path := filepath.Join(data, Name)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no cloud is running with the data directory %s: start one with mote up, or name it with --data", data)
	}
	if err != nil {
		return nil, err
	}
	e := &Endpoints{}
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if errors.Is(syscall.Kill(e.PID, 0), syscall.ESRCH) {
		return nil, fmt.Errorf("the cloud of %s is not running any more: start it again with mote up or mote cloud", data)
	}
	return e, nil
}
