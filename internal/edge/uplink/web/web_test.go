package web

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"4294967295":                    MostRetryAfter,
		"Sun, 22 Nov 2026 12:01:00 GMT": time.Minute,
		"Sun, 22 Nov 2026 11:00:00 GMT": 0,
		"Tue, 22 Nov 2044 12:00:00 GMT": MostRetryAfter,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	skewed := http.Header{"Retry-After": {"Sun, 22 Nov 2026 12:01:00 GMT"}, "Date": {"Sun, 22 Nov 2026 12:00:30 GMT"}}
	if got := RetryAfter(skewed, now.Add(-time.Hour)); got != 30*time.Second {
		t.Errorf("with the server's date: %v", got)
	}
}
