package main

import (
	"os"
	"path/filepath"

	"mote/internal/endpoints"
)

// defaultData is where the cloud of this user keeps everything.
func defaultData() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "mote")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "mote-data" // no home: beside where mote was started
	}
	return filepath.Join(home, ".local", "state", "mote")
}

// dataFlag finds the cloud of this machine.
type dataFlag struct {
	Data string `help:"Data directory of the cloud; default: ~/.local/state/mote." default:"${data}" type:"path" placeholder:"DIR" env:"MOTE_DATA"`
}

// endpoints reads what the running cloud has written about itself.
func (d dataFlag) endpoints() (*endpoints.Endpoints, error) { return endpoints.Read(d.Data) }
