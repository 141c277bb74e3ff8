package sink

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
)

// scram is the client of SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677),
// without channel binding. The package that the Kafka client brings along keeps
// the tables of SASLprep in the program; here names and passwords are ASCII,
// which SASLprep leaves as it is.
type scram struct {
	name           string
	hash           func() hash.Hash
	user, password string
}

func newSCRAM(name, user, password string) (*scram, error) {
	for _, c := range []byte(user + password) {
		if c < ' ' || c > '~' {
			return nil, errors.New("a character that is no printable ASCII")
		}
	}
	s := &scram{name: name, hash: sha512.New, user: user, password: password}
	if name == "SCRAM-SHA-256" {
		s.hash = sha256.New
	}
	return s, nil
}

// Name implements [sasl.Mechanism].
func (s *scram) Name() string { return s.name }

// Start implements [sasl.Mechanism].
func (s *scram) Start(context.Context) (sasl.StateMachine, []byte, error) {
	nonce := rand.Text()
	bare := "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.user) + ",r=" + nonce
	return &scramTalk{scram: s, nonce: nonce, bare: bare}, []byte(scramHeader + bare), nil
}

const (
	scramHeader = "n,," // no channel binding, no other identity

	// The iterations that a server may ask for: fewer protect nothing (RFC
	// 7677), more are a way to keep this side busy.
	leastIterations, mostIterations = 4096, 1 << 20
)

// scramTalk is one authentication.
type scramTalk struct {
	*scram
	nonce, bare string
	server      []byte // the signature that proves the server; nil before the proof was sent
}

// Next implements [sasl.StateMachine].
func (t *scramTalk) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	if t.server == nil {
		response, err = t.prove(string(challenge))
		return false, response, err
	}
	fields := scramFields(string(challenge))
	signature, err := base64.StdEncoding.DecodeString(fields['v'])
	switch {
	case fields['e'] != "":
		return false, nil, fmt.Errorf("the server refuses the user or the password: %.100q", fields['e'])
	case err != nil || subtle.ConstantTimeCompare(signature, t.server) != 1:
		return false, nil, errors.New("the server does not prove that it knows the password")
	}
	return true, nil, nil
}

// prove answers the server's first message with the proof of the password.
func (t *scramTalk) prove(first string) ([]byte, error) {
	fields := scramFields(first)
	salt, err := base64.StdEncoding.DecodeString(fields['s'])
	iterations, bad := strconv.Atoi(fields['i'])
	switch {
	case !strings.HasPrefix(fields['r'], t.nonce) || len(fields['r']) == len(t.nonce):
		return nil, errors.New("the server's nonce does not begin with ours")
	case err != nil || len(salt) == 0:
		return nil, errors.New("the server's salt is not in base64")
	case bad != nil || iterations < leastIterations || iterations > mostIterations:
		return nil, fmt.Errorf("the server asks for %.20q iterations: want %d to %d", fields['i'], leastIterations, mostIterations)
	}
	salted, err := pbkdf2.Key(t.hash, t.password, salt, iterations, t.hash().Size())
	if err != nil {
		return nil, err
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(scramHeader)) + ",r=" + fields['r']
	all := t.bare + "," + first + "," + final
	key := t.sign(salted, "Client Key")
	stored := t.hash()
	stored.Write(key)
	proof := make([]byte, len(key))
	subtle.XORBytes(proof, key, t.sign(stored.Sum(nil), all))
	t.server = t.sign(t.sign(salted, "Server Key"), all)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (s *scram) sign(key []byte, text string) []byte {
	h := hmac.New(s.hash, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scramFields are the attributes of a message, by their letters.
func scramFields(message string) map[byte]string {
	fields := map[byte]string{}
	for part := range strings.SplitSeq(message, ",") {
		if len(part) > 2 && part[1] == '=' {
			fields[part[0]] = part[2:]
		}
	}
	return fields
}
