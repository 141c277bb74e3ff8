package registry

import (
	"encoding/json"
	"fmt"

	"mote/internal/cloud/store"
)

// AccountIn returns the account id of the registry in st, "" when there is none
// yet. It changes nothing.
func AccountIn(st store.Reader) (string, error) {
	data, found, err := st.Get([]byte{byte(store.SpaceRegistry), byte(kindAccount)})
	if err != nil || !found {
		return "", err
	}
	var rec accountRecord
	if err := json.Unmarshal(data, &rec); err != nil {
		return "", fmt.Errorf("the account's record: %w", err)
	}
	return rec.Account, nil
}
