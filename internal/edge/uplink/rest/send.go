package rest

import (
	"bytes"
	"context"
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
	err        error // for people; nil when delivered
	retryAfter time.Duration
	everyone   bool // the reason is the route's, not this record's
}

type kind int

const (
	delivered     kind = iota
	refused            // this record will never be taken
	failed             // it may go better soon
	throttled          // so may this, and it is never about the record
	misconfigured      // it will go better when somebody changed something
)

// send makes one request with body and judges the answer. One that was refused
// for the time of its signature is signed for the server's time and made again.
func (u *Uplink) send(ctx context.Context, body []byte) verdict {
	v, again := u.sendOnce(ctx, body)
	if again {
		v, _ = u.sendOnce(ctx, body)
	}
	return v
}

func (u *Uplink) sendOnce(ctx context.Context, body []byte) (v verdict, again bool) {
	req, err := u.request(ctx, body)
	if err != nil {
		return verdict{kind: misconfigured, err: err, everyone: true}, false
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return verdict{kind: failed, err: web.NoAnswer(err, http.MethodPost, u.url, u.o.Timeout), everyone: true}, false
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // a broken answer has its status all the same
	if u.signer != nil {
		again = u.signer.Learn(resp, resp.Header.Get("X-Amzn-Errortype"), web.Said(text), time.Now())
	}
	return judge(resp, text, time.Now(), u.o.Auth), again
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
	if u.signer == nil {
		return req, nil
	}
	return req, u.signer.Sign(ctx, req, body, time.Now())
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
	v := verdict{err: answerError(resp, text), retryAfter: web.RetryAfter(resp.Header, now)}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return verdict{kind: delivered}
	case code == http.StatusBadRequest, code == http.StatusConflict, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		v.kind = refused
	case code == http.StatusRequestTimeout, code == http.StatusInternalServerError:
		v.kind = failed
	case code == http.StatusTooManyRequests:
		v.kind, v.everyone = throttled, true
	case code == http.StatusTooEarly, code >= 500:
		v.kind, v.everyone = failed, true
	default:
		v.kind, v.everyone = misconfigured, true
		v.err = fmt.Errorf("%w: %s", v.err, advice(resp, text, now, auth))
	}
	return v
}

// answerError tells the status and the server's own words.
func answerError(resp *http.Response, text []byte) error {
	said := web.Said(text)
	if said == "" {
		return fmt.Errorf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return fmt.Errorf("the server answered %d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), said)
}

// advice is one sentence on what to change after an answer that means a
// mistake in the configuration.
func advice(resp *http.Response, text []byte, now time.Time, auth Auth) string {
	if clock := web.SkewAdvice(resp.Header, now); clock != "" && auth.signed() && resp.StatusCode == http.StatusForbidden {
		return clock
	}
	said, errorType := web.Said(text), resp.Header.Get("X-Amzn-Errortype")
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
