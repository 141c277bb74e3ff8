package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mote/internal/edge/uplink/web"
)

// verdict is what one attempt came to.
type verdict struct {
	kind       kind
	left       []*item // when written: what the server did not process
	err        error   // for people; nil when written
	retryAfter time.Duration
	everyone   bool // the reason is the server's or the account's, not these items'
}

type kind int

const (
	written       kind = iota
	refused            // at least one of the items will never be taken
	failed             // it may go better soon
	misconfigured      // it will go better when somebody changed something
)

// send writes the items once and judges the answer. A request that was refused
// for the time of its signature is signed for the server's time and made again.
func (u *Uplink) send(ctx context.Context, items []*item) verdict {
	body := requestBody(u.o.Table, items)
	v, again := u.sendOnce(ctx, body, items)
	if again {
		v, _ = u.sendOnce(ctx, body, items)
	}
	return v
}

func (u *Uplink) sendOnce(ctx context.Context, body []byte, items []*item) (v verdict, again bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url.String(), bytes.NewReader(body))
	if err != nil {
		return verdict{kind: misconfigured, err: err, everyone: true}, false
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.BatchWriteItem")
	req.Header.Set("User-Agent", "mote")
	if err := u.signer.Sign(ctx, req, body, time.Now()); err != nil {
		return verdict{kind: misconfigured, err: err, everyone: true}, false
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return verdict{kind: failed, err: web.NoAnswer(err, http.MethodPost, u.url, u.o.Timeout), everyone: true}, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return verdict{kind: failed, err: web.NoAnswer(err, http.MethodPost, u.url, u.o.Timeout), everyone: true}, false
	}
	now := time.Now()
	again = u.signer.Learn(resp, errorCode(text), web.Said(text), now)
	return u.judge(resp, text, items, now), again
}

// errorCode is the part of __type behind the #, or "".
func errorCode(text []byte) string {
	var e struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(text, &e) != nil {
		return ""
	}
	return e.Type[strings.LastIndexByte(e.Type, '#')+1:]
}

// judge decides what an answer means (Amazon DynamoDB developer guide, "Error
// handling with DynamoDB"):
//
//   - 200: written, but for what it leaves unprocessed.
//   - ValidationException, SerializationException, 413: about an item, and the
//     same next time: refused. When it says that the table has other keys and
//     nothing was ever written, it is about the table.
//   - throttling, 5xx: tried again soon, by all together.
//   - everything else (no such table, keys, permissions, clock): every item would
//     get the same answer, so none is dropped for it: tried again slowly, until
//     somebody has mended it.
func (u *Uplink) judge(resp *http.Response, text []byte, items []*item, now time.Time) verdict {
	code := errorCode(text)
	v := verdict{err: answerError(resp, code, text), retryAfter: web.RetryAfter(resp.Header, now)}
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return u.judgeWritten(text, items)
	case status >= 500, status == http.StatusTooManyRequests, throttling[code]:
		v.kind, v.everyone = failed, true
	case status == http.StatusRequestEntityTooLarge, code == "SerializationException":
		v.kind = refused
	case code == "ValidationException" && aboutKeys(text) && u.delivered.Load() == 0:
		v.kind = misconfigured
		v.err = fmt.Errorf("%w: the keys of table %s must be id (S) and time (S)", v.err, u.o.Table)
	case code == "ValidationException":
		v.kind = refused
	default:
		v.kind, v.everyone = misconfigured, true
		v.err = fmt.Errorf("%w: %s", v.err, u.advice(resp, code, now))
	}
	return v
}

func (u *Uplink) judgeWritten(text []byte, items []*item) verdict {
	left, err := unprocessed(u.o.Table, text, items)
	if err != nil {
		return verdict{kind: misconfigured, err: err, everyone: true}
	}
	return verdict{kind: written, left: left}
}

// throttling are the codes of a server that has too much to do.
var throttling = map[string]bool{
	"ProvisionedThroughputExceededException": true, "ThrottlingException": true, "RequestLimitExceeded": true, "LimitExceededException": true,
	"InternalServerError": true, "ServiceUnavailable": true, "ItemCollectionSizeLimitExceededException": true,
	"ReplicatedWriteConflictException": true, "TransactionConflictException": true,
}

// aboutKeys says whether a ValidationException finds a key missing, or of
// another type than text: every item has id and time as text.
func aboutKeys(text []byte) bool {
	said := web.Said(text)
	return strings.Contains(said, "Missing the key") || strings.Contains(said, "Type mismatch for key") ||
		strings.Contains(said, "does not match the schema")
}

// answerError tells the status and the server's own words.
func answerError(resp *http.Response, code string, text []byte) error {
	what := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if code != "" {
		what = fmt.Sprintf("%d %.80s", resp.StatusCode, code)
	}
	if said := web.Said(text); said != "" {
		what += ": " + said
	}
	return fmt.Errorf("the server answered %s", what)
}

// advice is one sentence on what to change after an answer that means a
// mistake in the configuration.
func (u *Uplink) advice(resp *http.Response, code string, now time.Time) string {
	if clock := web.SkewAdvice(resp.Header, now); clock != "" {
		return clock
	}
	switch {
	case code == "ResourceNotFoundException":
		return fmt.Sprintf("make table %s in region %s with the keys id (S) and time (S), or correct table, region and endpoint", u.o.Table, u.o.Region)
	case strings.HasPrefix(code, "AccessDenied"):
		return fmt.Sprintf("allow dynamodb:BatchWriteItem on table/%s to the credentials' user or role", u.o.Table)
	case strings.HasPrefix(code, "InvalidSignature"), strings.HasPrefix(code, "IncompleteSignature"):
		return "check the secret access key and the region"
	case strings.HasPrefix(code, "UnrecognizedClient"), strings.HasPrefix(code, "ExpiredToken"), strings.HasPrefix(code, "MissingAuthenticationToken"):
		return "check the access key and the session token: they are not known, or expired"
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Sprintf("redirects are not followed: set the endpoint to where it is meant to go, %.200q", resp.Header.Get("Location"))
	}
	return "check that the endpoint speaks the DynamoDB API"
}
