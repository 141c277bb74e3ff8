package destination

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Limits of a confirmation request.
const (
	sendTimeout = 10 * time.Second // one attempt, with its answer
	maxAnswer   = 4 << 10          // bytes of the answer that are read
)

// confirmation is one confirmation request.
type confirmation struct {
	id, url, token string
	hash           []byte
}

// newClient returns the client of the confirmation requests: no redirects, no
// proxy, no connection that is kept.
func (d *Destinations) newClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, ControlContext: d.DialControl}
	return &http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: 5 * time.Second,
			ResponseHeaderTimeout: sendTimeout, MaxResponseHeaderBytes: 16 << 10},
	}
}

// send delivers a confirmation request, tries again where it may help, and
// records how it went.
func (d *Destinations) send(c confirmation) {
	for i := 0; ; i++ {
		err := d.try(c)
		if d.ctx.Err() != nil {
			return // the next Open sends it again
		}
		var final *finalError
		if err == nil || errors.As(err, &final) || i == len(d.opt.pauses) {
			d.sent(c, err)
			return
		}
		select {
		case <-d.ctx.Done():
			return
		case <-time.After(d.opt.pauses[i]):
		}
	}
}

// finalError is a failure that another attempt does not mend.
type finalError struct{ error }

// try sends the request once (AWS IoT developer guide, "Managing HTTP topic
// rule destinations").
func (d *Destinations) try(c confirmation) error {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
	req, err := d.newRequest(d.ctx, c)
	if err != nil {
		return &finalError{err}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) { // its text has the token
			err = e.Err
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("it answered %s", resp.Status)
	case code >= 300 && code < 400:
		return &finalError{fmt.Errorf("it answered %s: redirects are not followed", resp.Status)}
	default:
		return &finalError{fmt.Errorf("it answered %s", resp.Status)}
	}
}

func (d *Destinations) newRequest(ctx context.Context, c confirmation) (*http.Request, error) {
	body := struct {
		ARN         string `json:"arn"`
		Token       string `json:"confirmationToken"`
		EnableURL   string `json:"enableUrl,omitempty"`
		MessageType string `json:"messageType"`
	}{d.arn(c.id), c.token, "", "DestinationConfirmation"}
	if d.opt.Base != nil {
		body.EnableURL = d.opt.Base() + "/confirmdestination/" + c.token
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.url)
	if err != nil {
		return nil, err
	}
	query := "confirmationToken=" + c.token
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mote")
	req.Header["x-amz-rules-engine-message-type"] = []string{"DestinationConfirmation"}
	req.Header["x-amz-rules-engine-destination-arn"] = []string{d.arn(c.id)}
	return req, nil
}

// sent records how a confirmation request went, unless it was confirmed,
// replaced or deleted meanwhile.
func (d *Destinations) sent(c confirmation, failure error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.all[c.id]
	if r == nil || r.Status != InProgress || !bytes.Equal(r.Token, c.hash) {
		return
	}
	fresh := *r
	fresh.Sent = true
	if failure != nil {
		fresh.Status, fresh.Updated = Failed, d.now()
		fresh.Reason = fmt.Sprintf("the confirmation request failed: %.500s: mend it, and set the status to IN_PROGRESS to send it again", failure)
		d.log.Warn("a confirmation request failed", "destination", d.arn(c.id), "err", failure)
	}
	if err := d.save(c.id, &fresh); err != nil {
		d.log.Error("the state of a destination cannot be stored", "destination", d.arn(c.id), "err", err)
	}
}
