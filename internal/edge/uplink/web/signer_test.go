package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

var static = credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "")

func answer(status int, date time.Time) *http.Response {
	h := http.Header{}
	if !date.IsZero() {
		h.Set("Date", date.UTC().Format(http.TimeFormat))
	}
	return &http.Response{StatusCode: status, Header: h}
}

func TestTheServersTimeIsUsedWhileThisClockIsWrong(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		status     int
		ahead      time.Duration
		code, said string
		before     time.Duration // skew
		again      bool
		after      time.Duration
	}{
		"all is well":                    {200, 0, "", "", 0, false, 0},
		"a server that does not mind":    {200, time.Hour, "", "", 0, false, 0},
		"DynamoDB":                       {400, time.Hour, "InvalidSignatureException", "Signature expired: 20261122T120000Z is now earlier than …", 0, true, time.Hour},
		"a clock that is ahead":          {400, -time.Hour, "InvalidSignatureException", "Signature not yet current: …", 0, true, -time.Hour},
		"S3's word":                      {403, time.Hour, "RequestTimeTooSkewed", "", 0, true, time.Hour},
		"API Gateway":                    {403, time.Hour, "InvalidSignatureException", "x", 0, true, time.Hour},
		"a small difference explains no": {403, 2 * time.Minute, "InvalidSignatureException", "x", 0, false, 0},
		"only once":                      {403, time.Hour, "InvalidSignatureException", "x", time.Hour, false, time.Hour},
		"another reason":                 {400, time.Hour, "ValidationException", "x", 0, false, 0},
		"this clock was set":             {200, 0, "", "", time.Hour, false, 0},
		"this clock was set, refused":    {403, 0, "x", "Signature not yet current", time.Hour, true, 0},
		"it was set to something else":   {403, -time.Hour, "x", "Signature not yet current", time.Hour, true, -time.Hour},
	} {
		s := &Signer{Credentials: static, Service: "dynamodb", Region: "eu-west-1"}
		s.skew.Store(int64(c.before))
		if again := s.Learn(answer(c.status, now.Add(c.ahead)), c.code, c.said, now); again != c.again || s.Skew() != c.after {
			t.Errorf("%s: again %v, skew %v; want %v, %v", what, again, s.Skew(), c.again, c.after)
		}
		req, _ := http.NewRequest("POST", "https://example.com/", nil)
		if err := s.Sign(t.Context(), req, nil, now); err != nil {
			t.Fatal(err)
		}
		if got, want := req.Header.Get("X-Amz-Date"), now.Add(c.after).Format("20060102T150405Z"); got != want {
			t.Errorf("%s: signed for %s, want %s", what, got, want)
		}
	}
	s := &Signer{Credentials: static}
	if s.Learn(answer(403, time.Time{}), "RequestTimeTooSkewed", "", now) || s.Skew() != 0 {
		t.Error("without a date there is nothing to learn")
	}
}

type remembered struct{ invalidated int }

func (r *remembered) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "A", SecretAccessKey: "B"}, nil
}
func (r *remembered) Invalidate() { r.invalidated++ }

func TestCredentialsThatEndedAreForgotten(t *testing.T) {
	r := &remembered{}
	s := &Signer{Credentials: r}
	for _, c := range []struct {
		status     int
		code, said string
		want       int
	}{
		{403, "AccessDeniedException", "User: arn is not authorized", 0},
		{200, "", "", 0},
		{400, "ExpiredTokenException", "The security token included in the request is expired", 1},
		{403, "", "The security token included in the request is invalid.", 2},
		{400, "UnrecognizedClientException", "", 3},
	} {
		s.Learn(answer(c.status, time.Now()), c.code, c.said, time.Now())
		if r.invalidated != c.want {
			t.Errorf("%+v: %d times", c, r.invalidated)
		}
	}
}

func TestSkewAdvice(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	if text := SkewAdvice(answer(403, now.Add(time.Hour)).Header, now); !strings.Contains(text, "clock differs from the server's by -1h0m") {
		t.Error(text)
	}
	for _, h := range []http.Header{answer(403, now.Add(3*time.Minute)).Header, {}, {"Date": {"today"}}} {
		if text := SkewAdvice(h, now); text != "" {
			t.Error(text)
		}
	}
}
