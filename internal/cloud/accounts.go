package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"mote/internal/cloud/backup"
)

// AccountRequest asks a running cloud about its MQTT accounts, or to change one.
type AccountRequest struct {
	Do       string   `json:"do"` // add, remove, list or password
	Name     string   `json:"name,omitempty"`
	Password string   `json:"password,omitempty"`
	Policies []string `json:"policies,omitempty"`
}

// MQTTAccount is an account in a list.
type MQTTAccount struct {
	Name     string    `json:"name"`
	Policies []string  `json:"policies"`
	Created  time.Time `json:"created"`
}

// AskAccounts sends a request to the cloud that runs in a data directory,
// through its control socket. It returns the accounts as they are then.
func AskAccounts(ctx context.Context, data string, r AccountRequest) (list []MQTTAccount, err error) {
	err = backup.Ask(ctx, data, "account", r, &list)
	return list, err
}

// answerAccounts answers an [AccountRequest]; only the cloud's user can send one.
func (c *Cloud) answerAccounts(_ context.Context, body []byte) (any, error) {
	var r AccountRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the question cannot be read: %w", err)
	}
	var err error
	switch r.Do {
	case "add":
		err = c.registry.CreateLogin(r.Name, r.Password, r.Policies)
	case "remove":
		err = c.registry.DeleteLogin(r.Name)
	case "password":
		err = c.registry.SetPassword(r.Name, r.Password)
	case "list":
	default:
		err = fmt.Errorf("%.40q is not known here: use the mote that runs the cloud", r.Do)
	}
	list := []MQTTAccount{}
	for _, l := range c.registry.Logins() {
		list = append(list, MQTTAccount{l.Name, l.Policies, l.Created})
	}
	return list, err
}
