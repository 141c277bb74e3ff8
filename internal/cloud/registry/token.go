package registry

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// token is a record of kindToken: the right to have a certificate provisioned,
// or the end of a claim's certificate. Its key is a hash, so that the store
// holds nothing that a device would be believed.
type token struct {
	Certificate string    `json:"certificate"`
	Principal   string    `json:"principal,omitempty"` // certificate id of the connection that asked; "" of a claim
	Expires     time.Time `json:"expires"`
	Request     string    `json:"request,omitempty"` // that used it; "": none did
	Thing       string    `json:"thing,omitempty"`   // that it made
}

// TokenLife is how long an ownership token is good (AWS IoT developer guide,
// "Device provisioning MQTT API").
const TokenLife = time.Hour

// ClaimLife is how long the certificate of a claim is good (AWS IoT developer
// guide, "Provisioning by trusted user").
const ClaimLife = 5 * time.Minute

// maxTokens bounds how many certificates wait to be provisioned, which whoever
// has a claim certificate can ask for.
const maxTokens = 10000

func (r *Registry) loadToken(id string, data []byte) error {
	k := new(token)
	if err := json.Unmarshal(data, k); err != nil {
		return err
	}
	r.tokens[id] = k
	return nil
}

func tokenKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Pending is a certificate that waits to be provisioned.
type Pending struct {
	Certificate Certificate // with its PEM
	Keys        KeyPair     // "" when it is from a signing request
	Token       string      // of its ownership, good for TokenLife
}

// CreatePending issues a certificate that is [PendingActivation], for the key
// of a signing request in PEM or, when that is "", for a new one, on behalf of
// the principal. Unless it is provisioned in time it is removed.
func (r *Registry) CreatePending(principal, csr string) (Pending, error) {
	if err := r.Sweep(); err != nil {
		return Pending{}, err
	}
	var p Pending
	raw, subject, pub, err := p.key(csr)
	if err != nil {
		return Pending{}, err
	}
	cert, err := r.sign(raw, subject, pub, farFuture)
	if err != nil {
		return Pending{}, err
	}
	var b [32]byte
	rand.Read(b[:])
	p.Token = base64.RawURLEncoding.EncodeToString(b[:])
	p.Certificate = newCertificate(cert, PendingActivation)
	k := &token{Certificate: p.Certificate.ID, Principal: principal, Expires: now().Add(TokenLife)}
	return p, r.change(func(t *tx) error { return r.addWithToken(t, p.Certificate, tokenKey(p.Token), k) })
}

// key returns what to certify, and makes it when there is no signing request.
func (p *Pending) key(csr string) (raw []byte, subject pkix.Name, pub any, err error) {
	if csr != "" {
		req, err := readCSR(csr)
		if err != nil {
			return nil, subject, nil, err
		}
		return req.RawSubject, subject, req.PublicKey, nil
	}
	key, keys, err := newKeyPair()
	if err != nil {
		return nil, subject, nil, err
	}
	p.Keys = keys
	return nil, deviceSubject, key.Public(), nil
}

func (r *Registry) addWithToken(t *tx, c Certificate, id string, k *token) error {
	if len(r.tokens) >= maxTokens {
		return errorf(LimitExceeded, "%d certificates wait to be provisioned already: ask again later", len(r.tokens))
	}
	t.then(func() { r.tokens[id] = k })
	if err := t.set(kindToken, id, k); err != nil {
		return err
	}
	return r.addCertificate(t, c)
}

// useToken takes the token of p. When the same request used it before, done is
// true and out is what that got.
func (r *Registry) useToken(t *tx, p Provision) (out Provisioned, done bool, err error) {
	if p.Token == "" && p.Principal == "" {
		return out, false, nil
	}
	id := tokenKey(p.Token)
	k, ok := r.tokens[id]
	switch {
	case !ok || expired(k.Expires) || k.Principal == "" || k.Principal != p.Principal || k.Certificate != p.Certificate:
		return out, false, errorf(InvalidToken, "the certificateOwnershipToken is not valid here: it must be the one that came with the certificate, on a connection with the same client certificate, within %v", TokenLife)
	case k.Request != "" && k.Request != p.Request:
		return out, false, errorf(InvalidToken, "the certificateOwnershipToken was used for another request already: ask for a new certificate")
	case k.Request != "":
		c, err := r.certificate(k.Certificate)
		if err != nil {
			return out, false, err
		}
		return Provisioned{Certificate: *c, Thing: k.Thing}, true, nil
	}
	used := *k
	used.Request = p.Request
	if p.Thing != nil {
		used.Thing = p.Thing.Name
	}
	t.then(func() { r.tokens[id] = &used })
	return out, false, t.set(kindToken, id, &used)
}

// TokenCertificate returns the id of the certificate that a token is for.
func (r *Registry) TokenCertificate(text string) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.tokens[tokenKey(text)]
	if !ok || expired(k.Expires) {
		return "", false
	}
	return k.Certificate, true
}

// Claim is a certificate with which a device may ask for its own.
type Claim struct {
	Certificate Certificate // with its PEM
	Keys        KeyPair
	Expires     time.Time
}

// CreateClaim issues a certificate that is good for [ClaimLife], with a policy
// of that document, which is named after its contents.
func (r *Registry) CreateClaim(document string) (Claim, error) {
	if err := r.Sweep(); err != nil {
		return Claim{}, err
	}
	key, keys, err := newKeyPair()
	if err != nil {
		return Claim{}, err
	}
	out := Claim{Keys: keys, Expires: now().Add(ClaimLife).Truncate(time.Second)}
	cert, err := r.sign(nil, deviceSubject, key.Public(), out.Expires)
	if err != nil {
		return Claim{}, err
	}
	out.Certificate = newCertificate(cert, Active)
	id := out.Certificate.ID
	return out, r.change(func(t *tx) error {
		if err := r.addWithToken(t, out.Certificate, id, &token{Certificate: id, Expires: out.Expires}); err != nil {
			return err
		}
		_, err := r.provisionPolicies(t, Provision{Policies: []ProvisionPolicy{{Document: document}}}, id)
		return err
	})
}

// newKeyPair makes an RSA 2048 key pair, as AWS IoT does.
func newKeyPair() (*rsa.PrivateKey, KeyPair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, KeyPair{}, err
	}
	keys, err := pairPEM(key)
	return key, keys, err
}

// sweepMost bounds what one sweep removes.
const sweepMost = 1000

// Sweep removes tokens that have expired, with their certificates unless these
// were provisioned or somebody attached them to something.
func (r *Registry) Sweep() error {
	r.mu.RLock()
	var over []string
	for id, k := range r.tokens {
		if expired(k.Expires) && len(over) < sweepMost {
			over = append(over, id)
		}
	}
	r.mu.RUnlock()
	if len(over) == 0 {
		return nil
	}
	return r.change(func(t *tx) error {
		for _, id := range over {
			k, ok := r.tokens[id]
			if !ok {
				continue
			}
			t.delete(kindToken, id)
			t.then(func() { delete(r.tokens, id) })
			r.sweepCertificate(t, k)
		}
		return nil
	})
}

// sweepCertificate removes the certificate of a token that nobody used, or of
// a claim.
func (r *Registry) sweepCertificate(t *tx, k *token) {
	c, ok := r.certificates.get(k.Certificate)
	claim := k.Principal == ""
	if !ok || len(r.principals.left(c.ID)) > 0 || !claim && (c.Status != PendingActivation || k.Request != "" || len(r.attached.left(c.ID)) > 0) {
		return
	}
	r.dropCertificate(t, c, slices.Clone(r.attached.left(c.ID)))
}
