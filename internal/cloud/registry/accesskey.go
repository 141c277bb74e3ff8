package registry

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"
)

// accessKey is the secret half of an access key. It must be kept in the clear:
// Signature V4 is keyed with it.
type accessKey struct {
	Secret  string    `json:"secret"`
	Created time.Time `json:"created"`
}

func (r *Registry) loadAccessKey(id string, data []byte) error {
	var k accessKey
	err := json.Unmarshal(data, &k)
	r.keys[id] = k
	return err
}

// AccessKey returns the secret of an access key.
func (r *Registry) AccessKey(id string) (secret string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[id]
	return k.Secret, ok
}

// AccessKeys returns the ids of all access keys, sorted.
func (r *Registry) AccessKeys() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ids := make([]string, 0, len(r.keys))
	for id := range r.keys {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Alphabets of access keys. Secrets have no "/" and "+", so that they pass
// through shells, files and URLs unharmed; 40 characters of 64 − 2 are 238 bits.
const (
	idAlphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	secretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// CreateAccessKey makes an access key that may call every API.
func (r *Registry) CreateAccessKey() (id, secret string, err error) {
	id, secret = "AKIA"+randomText(16, idAlphabet), randomText(40, secretAlphabet)
	k := accessKey{secret, now()}
	err = r.change(func(t *tx) error {
		t.then(func() { r.keys[id] = k })
		return t.set(kindAccessKey, id, k)
	})
	if err != nil {
		return "", "", err
	}
	return id, secret, nil
}

// DeleteAccessKey removes an access key; one that does not exist is no error.
func (r *Registry) DeleteAccessKey(id string) error {
	return r.change(func(t *tx) error {
		t.judges = true // connections of its owner end
		t.delete(kindAccessKey, id)
		t.then(func() { delete(r.keys, id) })
		return nil
	})
}

// randomText returns n characters of alphabet, each as likely as the other.
func randomText(n int, alphabet string) string {
	limit := byte(256 / len(alphabet) * len(alphabet) % 256) // 0: every byte is good
	out := make([]byte, 0, n)
	var b [64]byte
	for len(out) < n {
		rand.Read(b[:])
		for _, x := range b {
			if (limit == 0 || x < limit) && len(out) < n {
				out = append(out, alphabet[int(x)%len(alphabet)])
			}
		}
	}
	return string(out)
}
