package destination

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CreateURL makes a destination for the web service at url and sends it the
// confirmation request. The error is an *InvalidError, ErrExists, ErrLimit, or
// one of the store.
func (d *Destinations) CreateURL(url string) (Destination, error) {
	t, err := parseTarget(url)
	if err != nil {
		return Destination{}, err
	}
	if err := d.reachable(t.host); err != nil {
		return Destination{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.all {
		if r.URL == url {
			return Destination{}, fmt.Errorf("%w: %.200q", ErrExists, url)
		}
	}
	now := d.now()
	return d.request("http/"+newID(), &record{Created: now, URL: url, target: t})
}

// CreateVPC keeps a VPC destination. The error is an *InvalidError, ErrLimit,
// or one of the store.
func (d *Destinations) CreateVPC(configuration json.RawMessage) (Destination, error) {
	var c struct {
		SubnetIDs []string `json:"subnetIds"`
		VPCID     string   `json:"vpcId"`
		RoleARN   string   `json:"roleArn"`
	}
	if len(configuration) > maxVPC {
		return Destination{}, invalid("vpcConfiguration has %d bytes, the limit is %d", len(configuration), maxVPC)
	}
	if err := json.Unmarshal(configuration, &c); err != nil {
		return Destination{}, invalid("vpcConfiguration is not valid: %v", err)
	}
	if len(c.SubnetIDs) == 0 || c.VPCID == "" || c.RoleARN == "" {
		return Destination{}, invalid("vpcConfiguration needs subnetIds, vpcId and roleArn")
	}
	now := d.now()
	r := &record{Created: now, Updated: now, Status: Enabled, VPC: slices.Clone(configuration),
		Reason: "kept for AWS: this server has no virtual private cloud and reaches clusters over its own network"}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := "vpc/" + newID()
	if err := d.add(id, r); err != nil {
		return Destination{}, err
	}
	return d.view(id, r), nil
}

// add is save with the limit for new ones. The caller holds mu for writing.
func (d *Destinations) add(id string, r *record) error {
	if d.all[id] == nil && len(d.all) >= maxDestinations {
		return ErrLimit
	}
	return d.save(id, r)
}

// newID returns a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4, variant 10
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// request gives r a new token, stores it and sends the confirmation request.
// The caller holds mu for writing.
func (d *Destinations) request(id string, r *record) (Destination, error) {
	var secret [32]byte
	rand.Read(secret[:])
	token := base64.RawURLEncoding.EncodeToString(secret[:])
	hash := sha256.Sum256([]byte(token))
	r.Token, r.Expires = hash[:], d.now().Add(tokenLife)
	r.Status, r.Reason, r.Sent, r.Updated = InProgress, "", false, d.now()
	if err := d.add(id, r); err != nil {
		return Destination{}, err
	}
	c := confirmation{id: id, url: r.URL, token: token, hash: r.Token}
	d.sending.Go(func() { d.send(c) })
	return d.view(id, r), nil
}

// confirmAgain sends a new confirmation request for a stored destination.
func (d *Destinations) confirmAgain(id string) (Destination, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.all[id]
	if r == nil {
		return Destination{}, ErrNotFound
	}
	fresh := *r
	return d.request(id, &fresh)
}

// Update sets the status of a destination: Enabled and Disabled switch a
// confirmed one, InProgress sends a new confirmation request, until whose
// answer it is not enabled. The error is ErrNotFound, an *InvalidError, or one
// of the store.
func (d *Destinations) Update(arn string, s Status) (Destination, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, r, err := d.find(arn)
	if err != nil {
		return Destination{}, err
	}
	fresh := *r
	confirmed := r.Status == Enabled || r.Status == Disabled
	switch {
	case s == InProgress && r.URL == "":
		return Destination{}, invalid("a VPC destination has no confirmation: set ENABLED or DISABLED")
	case s == InProgress:
		return d.request(id, &fresh)
	case s != Enabled && s != Disabled:
		return Destination{}, invalid("the status %.40q cannot be set: it must be ENABLED, DISABLED or IN_PROGRESS", string(s))
	case !confirmed:
		return Destination{}, invalid("the destination is %s: it can be %s only after it was confirmed; set IN_PROGRESS for a new confirmation request", d.view(id, r).Status, strings.ToLower(string(s)))
	case s == r.Status:
		return d.view(id, r), nil
	}
	fresh.Status, fresh.Updated = s, d.now()
	if err := d.save(id, &fresh); err != nil {
		return Destination{}, err
	}
	return d.view(id, &fresh), nil
}

// Confirm enables the destination that the token was sent to. A repeated
// confirmation changes nothing. The error is ErrToken, or one of the store.
func (d *Destinations) Confirm(token string) error {
	hash := sha256.Sum256([]byte(token))
	d.mu.Lock()
	defer d.mu.Unlock()
	id, r := d.byToken(hash[:])
	switch {
	case r == nil || !d.now().Before(r.Expires):
		return ErrToken
	case r.Status == Enabled || r.Status == Disabled:
		return nil
	}
	fresh := *r
	fresh.Status, fresh.Reason, fresh.Sent, fresh.Updated = Enabled, "", true, d.now()
	return d.save(id, &fresh)
}

// byToken looks at every destination, so that the time tells nothing.
func (d *Destinations) byToken(hash []byte) (string, *record) {
	found := ""
	for _, id := range slices.Sorted(maps.Keys(d.all)) {
		if subtle.ConstantTimeCompare(d.all[id].Token, hash) == 1 {
			found = id
		}
	}
	return found, d.all[found]
}
