package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mote/internal/sigv4"
)

// verdict is what one attempt came to.
type verdict struct {
	kind       kind
	err        error // for people; nil when delivered
	retryAfter time.Duration
	everyone   bool // the reason is the route's, not this record's
}

type kind int

const (
	delivered     kind = iota
	refused            // this record will never be taken
	failed             // it may go better soon
	misconfigured      // it will go better when somebody changed something
)

// send makes one request with body and judges the answer.
func (u *Uplink) send(ctx context.Context, body []byte) verdict {
	req, err := u.request(ctx, body)
	if err != nil {
		return verdict{kind: misconfigured, err: err, everyone: true}
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return verdict{kind: failed, err: u.networkError(err), everyone: true}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // a broken answer has its status all the same
	return judge(resp, text, time.Now(), u.o.Auth)
}

func (u *Uplink) request(ctx context.Context, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mote")
	if u.o.Auth.key() {
		req.Header.Set("X-Api-Key", u.o.APIKey)
	}
	if u.creds == nil {
		return req, nil
	}
	creds, err := u.creds.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile: %w", err)
	}
	if err := sigv4.Sign(ctx, req, body, creds, u.o.Service, u.o.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return req, nil
}

// networkError leaves the URL's query out of the text of a failed request: it
// may hold what logs should not.
func (u *Uplink) networkError(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v: %w", u.o.Timeout, err)
	}
	return fmt.Errorf("POST %s://%s%s: %w", u.url.Scheme, u.url.Host, u.url.EscapedPath(), err)
}

// judge decides what an answer means:
//
//   - 2xx: delivered.
//   - 400, 409, 413, 422: about this record, and the same next time: refused.
//   - 408, 425, 429 and 5xx: tried again soon, or when Retry-After says.
//   - everything else (401, 403, 404, 405, 415, redirects, …): a wrong URL, key,
//     signature, clock or permission. Every record would get the same answer, so
//     none is dropped for it: tried again slowly, until somebody has mended it.
//
// 500 and 408 may be this record's own trouble; all other failures are taken as
// the route's.
func judge(resp *http.Response, text []byte, now time.Time, auth Auth) verdict {
	v := verdict{err: answerError(resp, text), retryAfter: retryAfter(resp.Header, now)}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return verdict{kind: delivered}
	case code == http.StatusBadRequest, code == http.StatusConflict, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		v.kind = refused
	case code == http.StatusRequestTimeout, code == http.StatusInternalServerError:
		v.kind = failed
	case code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		v.kind, v.everyone = failed, true
	default:
		v.kind, v.everyone = misconfigured, true
		v.err = fmt.Errorf("%w: %s", v.err, advice(resp, text, now, auth))
	}
	return v
}

// answerError tells the status and the server's own words.
func answerError(resp *http.Response, text []byte) error {
	said := message(text)
	if said == "" {
		return fmt.Errorf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return fmt.Errorf("the server answered %d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), said)
}

// message finds the words in an answer: the member message of a JSON object, as
// API Gateway writes it in two spellings, or the text itself.
func message(text []byte) string {
	var body struct{ Message string } // JSON member names are matched in any case
	said := string(text)
	if json.Unmarshal(text, &body) == nil && body.Message != "" {
		said = body.Message
	}
	said = strings.Join(strings.Fields(strings.ToValidUTF8(said, "\uFFFD")), " ")
	if len(said) > 300 {
		said = strings.ToValidUTF8(said[:300], "") + "…"
	}
	return said
}

// maxSkew is how far execute-api lets clocks differ.
const maxSkew = 5 * time.Minute

// advice is one sentence on what to change after an answer that means a
// mistake in the configuration.
func advice(resp *http.Response, text []byte, now time.Time, auth Auth) string {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && auth.signed() && resp.StatusCode == http.StatusForbidden {
		if skew := now.Sub(date); skew.Abs() > maxSkew*4/5 {
			return fmt.Sprintf("this machine's clock differs from the server's by %v: set it, signatures are refused beyond %v", skew.Round(time.Second), maxSkew)
		}
	}
	said, errorType := message(text), resp.Header.Get("X-Amzn-Errortype")
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Sprintf("redirects are not followed: set the url to where it is meant to go, %.200q", resp.Header.Get("Location"))
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusMethodNotAllowed:
		return "check the url: its stage and path"
	case strings.HasPrefix(errorType, "MissingAuthenticationToken") || said == "Missing Authentication Token":
		return "there is no such route at this url, or it wants a signature: check the stage and the path, and auth"
	case strings.HasPrefix(errorType, "InvalidSignature") || strings.HasPrefix(said, "The request signature we calculated"):
		return "check the secret access key and the region"
	case strings.HasPrefix(errorType, "UnrecognizedClient"), strings.HasPrefix(errorType, "ExpiredToken"):
		return "check the access key and the session token: they are not known, or expired"
	case strings.HasPrefix(errorType, "AccessDenied"):
		return "allow execute-api:Invoke on this route to the access key's user"
	case resp.StatusCode == http.StatusForbidden && said == "Forbidden":
		return "check the API key, and that its usage plan covers this stage"
	case resp.StatusCode == http.StatusUnsupportedMediaType:
		return "the route must take application/json"
	}
	return "check the url and the authentication"
}

// retryAfter reads Retry-After (RFC 9110 section 10.2.3), seconds or a date,
// bounded by mostRetryAfter. 0 means none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, mostRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date // so that this machine's clock does not matter
	}
	return min(max(at.Sub(now), 0), mostRetryAfter)
}
