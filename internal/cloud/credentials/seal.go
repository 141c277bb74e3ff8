package credentials

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"

	"mote/internal/sigv4"
)

// contents is what a session token holds.
type contents struct {
	Alias       string `json:"a"`
	AliasID     string `json:"i"` // which alias of that name
	Certificate string `json:"c"` // id
	Thing       string `json:"t,omitempty"`
	Ends        int64  `json:"e"` // seconds since 1970
}

// tokenVersion is the first byte of a token. What follows is a nonce, the
// contents in JSON and the tag, of AES-256-GCM with the access key's id beside
// it; all of it in base64 for URLs, which nobody needs to escape.
const tokenVersion = 1

// maxToken bounds a token in bytes: one with the longest names has about 700.
const maxToken = 2048

// sealer makes tokens that only it can read. A secret is made of its token, so
// that whoever changes or swaps the token has another secret.
type sealer struct {
	aead cipher.AEAD
	key  []byte // of secrets
}

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(derive(key, "session tokens"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealer{aead, derive(key, "secret access keys")}, err
}

// derive makes a key for one purpose.
func derive(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func (s *sealer) seal(id string, c contents) (string, error) {
	text, err := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal([]byte{tokenVersion}, nil, text, []byte(id))), err
}

var errToken = errors.New("it was not given here, or belongs to another access key")

// open reads the token that was given with the access key id.
func (s *sealer) open(id, token string) (c contents, err error) {
	if len(token) > maxToken {
		return c, errToken
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(data) == 0 || data[0] != tokenVersion {
		return c, errToken
	}
	text, err := s.aead.Open(nil, nil, data[1:], []byte(id))
	if err != nil {
		return c, errToken
	}
	return c, json.Unmarshal(text, &c)
}

// secret is the secret access key of a token: 40 characters, as all have.
func (s *sealer) secret(token string) string {
	return base64.RawURLEncoding.EncodeToString(derive(s.key, token))[:40]
}

// newKeyID returns a random id, of the form of AWS's.
func newKeyID() string {
	var b [10]byte
	rand.Read(b[:])
	return sigv4.TemporaryPrefix + base32.StdEncoding.EncodeToString(b[:])
}
