package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/sigv4"
)

// Signer signs requests with Signature Version 4. When a server says that a
// signature's time is wrong, it goes by the server's clock from then on, until
// this machine's clock is right again: a Raspberry Pi that could not ask for the
// time still delivers. It is safe for concurrent use.
type Signer struct {
	// Credentials are asked for each request, and so should remember them. When
	// they have a method Invalidate, it is called after an answer that says that
	// they are not valid any more.
	Credentials aws.CredentialsProvider
	Service     string
	Region      string

	skew atomic.Int64 // nanoseconds that the server's clock is ahead of this machine's, when that is not to be neglected
}

// How clocks may differ. AWS refuses signatures beyond 5 minutes at most of its
// services, and 15 at some (IAM user guide, "Troubleshoot AWS signature version
// 4 errors").
const (
	skewLimit = 5 * time.Minute
	suspect   = 4 * time.Minute // a difference that explains a refused signature
	right     = time.Minute     // less is no difference
)

// Sign signs req, whose body is body, as at now by this machine's clock.
func (s *Signer) Sign(ctx context.Context, req *http.Request, body []byte, now time.Time) error {
	creds, err := s.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or role_alias: %w", err)
	}
	if err := sigv4.Sign(ctx, req, body, creds, s.Service, s.Region, now.Add(s.Skew())); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	return nil
}

// Skew is how far the server's clock is taken to be ahead of this machine's.
func (s *Signer) Skew() time.Duration { return time.Duration(s.skew.Load()) }

// Learn looks at an answer that came at now by this machine's clock; code is its
// error code or "", said the text. It is true when the request was refused
// because of its time, or of credentials that ended, and a new one may be better
// at once.
func (s *Signer) Learn(resp *http.Response, code, said string, now time.Time) (again bool) {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		again = s.learnTime(resp.StatusCode, date.Sub(now), code, said)
	}
	if resp.StatusCode >= 400 && ended(code, said) {
		if c, ok := s.Credentials.(interface{ Invalidate() }); ok {
			c.Invalidate()
		}
	}
	return again
}

func (s *Signer) learnTime(status int, ahead time.Duration, code, said string) (again bool) {
	used := s.Skew()
	if ahead.Abs() < right {
		if used != 0 {
			s.skew.Store(0)
		}
		return status >= 400 && used.Abs() >= right && aboutTime(status, code, said)
	}
	if !aboutTime(status, code, said) && !(status == http.StatusForbidden && ahead.Abs() > suspect) {
		return false
	}
	if (ahead - used).Abs() < right {
		return false // it was signed for the server's time already
	}
	s.skew.Store(int64(ahead))
	return true
}

// aboutTime says whether a refusal is about the time of the signature, in the
// words of AWS's services.
func aboutTime(status int, code, said string) bool {
	switch {
	case status < 400:
		return false
	case strings.HasPrefix(code, "RequestTimeTooSkewed"), strings.HasPrefix(code, "RequestExpired"), strings.HasPrefix(code, "RequestInTheFuture"):
		return true
	}
	return strings.Contains(said, "Signature expired") || strings.Contains(said, "Signature not yet current")
}

// ended says whether a refusal is about credentials that were good before.
func ended(code, said string) bool {
	return strings.HasPrefix(code, "ExpiredToken") || strings.HasPrefix(code, "UnrecognizedClient") || strings.HasPrefix(code, "InvalidClientTokenId") ||
		strings.Contains(said, "security token included in the request is")
}

// SkewAdvice is what to tell of a clock that differs so much from the date in an
// answer that signatures are refused; "" when it does not.
func SkewAdvice(h http.Header, now time.Time) string {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return ""
	}
	skew := now.Sub(date)
	if skew.Abs() <= suspect {
		return ""
	}
	return fmt.Sprintf("this machine's clock differs from the server's by %v: set it, signatures are refused beyond %v", skew.Round(time.Second), skewLimit)
}
