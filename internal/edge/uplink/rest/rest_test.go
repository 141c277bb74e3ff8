package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mote/internal/edge/spool"
	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/edge/uplink/web"
	"mote/internal/sigv4"
	"mote/internal/watch"
)

func newUplink(t *testing.T, url string, change func(*Options)) (*Uplink, *watch.Log) {
	t.Helper()
	log := &watch.Log{}
	o := Options{URL: url, MinBackoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, Log: log.Logger()}
	if change != nil {
		change(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u, log
}

// body is what the routes get: every value is text.
type body struct{ Time, ID, N string }

func readBody(t *testing.T, r *http.Request) (b body) {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil && r.Context().Err() == nil {
		t.Errorf("body %q: %v", data, err)
	}
	return b
}

func TestBoardsInParallelEachInOrderThroughFailures(t *testing.T) {
	const each = 60
	boards := []string{"1", "2", "3", "4", "5", "6"}
	var mu sync.Mutex
	next := map[string]int{}
	var now, most atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		b := readBody(t, r)
		time.Sleep(rand.N(2 * time.Millisecond))
		lost := false // the record is taken, and the answer lost
		switch rand.IntN(12) {
		case 0:
			http.Error(w, "broken", 500)
			return
		case 1:
			http.Error(w, `{"message":"Too Many Requests"}`, http.StatusTooManyRequests)
			return
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			lost = true
		}
		mu.Lock()
		switch {
		case b.N == fmt.Sprint(next[b.ID]):
			next[b.ID]++
		case b.N != fmt.Sprint(next[b.ID]-1): // a repetition of the last one is what a lost answer makes
			t.Errorf("board %s: record %s came when %d was next", b.ID, b.N, next[b.ID])
		}
		mu.Unlock()
		if lost {
			panic(http.ErrAbortHandler)
		}
	}))
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	u, _ := newUplink(t, s.URL+"/prod/dust", nil)
	q := &uplinktest.Queue{}
	q.AppendReadings(each, boards...)
	stop := uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	stop()
	for _, id := range boards {
		if next[id] != each {
			t.Errorf("board %s: %d of %d arrived", id, next[id], each)
		}
	}
	if m := most.Load(); m < 2 || m > defaultWorkers {
		t.Errorf("%d requests at a time", m)
	}
	if st := u.Status(); st.Delivered != uint64(each*len(boards)) || st.InFlight != 0 || st.Refused != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestOneBoardInTroubleDoesNotStopTheOthers(t *testing.T) {
	var open atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b := readBody(t, r); b.ID == "2" && !open.Load() {
			http.Error(w, `{"message":"Internal server error"}`, 500)
		}
	}))
	defer s.Close()
	u, log := newUplink(t, s.URL, nil)
	q := &uplinktest.Queue{}
	each := 200 // more than are taken of boards that are not in trouble
	q.AppendReadings(each, "1", "2", "3")
	uplinktest.Run(t, u, q)
	watch.Until(t, "the others are through", func() bool { return u.Status().Delivered == uint64(2*each) })
	if n := q.Acked(); n != 1 {
		t.Errorf("%d records acknowledged; the second is not delivered", n)
	}
	open.Store(true)
	q.WaitEmpty(t)
	watch.Until(t, "the log tells", func() bool { return strings.Contains(log.String(), "delivering again") })
	if n := strings.Count(log.String(), "cannot deliver"); n != 1 {
		t.Errorf("the failure is logged %d times:\n%s", n, log)
	}
}

// What waits for a server that is away waits in the spool, not in memory.
func TestLittleIsTakenForAServerThatIsAway(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	u, _ := newUplink(t, s.URL, nil)
	q := &uplinktest.Queue{}
	const most = aheadOfOne * defaultWorkers
	q.AppendReadings(4*most, "1")
	uplinktest.Run(t, u, q)
	watch.Until(t, "all that is taken is", func() bool { return u.Status().InFlight == most && u.Status().Failures > 5 })
	if n := u.Status().InFlight; n > most {
		t.Errorf("%d records are in memory", n)
	}
}

// A record that does not get through for a reason of its own must not hold up the
// others either when much more of its board waits than is taken ahead.
func TestABacklogInTroubleIsPutAside(t *testing.T) {
	for _, status := range []int{500, 503} {
		synctest.Test(t, func(t *testing.T) {
			u, _ := newUplink(t, "https://example.com/", nil)
			var open atomic.Bool
			u.client.Transport = answers(func(r *http.Request) (int, http.Header, error) {
				time.Sleep(time.Millisecond)
				if b := readBody(t, r); b.ID == "2" && !open.Load() {
					return status, nil, nil
				}
				return 200, nil, nil
			})
			q := &uplinktest.Queue{}
			q.AppendReadings(500, "1", "2")
			stop := uplinktest.Run(t, u, q)
			time.Sleep(time.Minute)
			if n := u.Status().Delivered; n != 500 {
				t.Errorf("%d: %d of 500 records of the board that is well were delivered", status, n)
			}
			open.Store(true)
			if err := q.Empty(t.Context()); err != nil {
				t.Error(err)
			}
			stop()
		})
	}
}

// TestANewReadingPassesTheBacklog appends a reading while one board's backlog
// waits, of which the server takes one record after the other, also after an
// outage, in which records may not gather ahead of it either.
func TestANewReadingPassesTheBacklog(t *testing.T) {
	for _, outage := range []int{0, 429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			sp, err := spool.Open(t.TempDir(), spool.Options{Readers: []string{"rest"}})
			if err != nil {
				t.Fatal(err)
			}
			defer sp.Close()
			at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
			put := func(from, to int) {
				t.Helper()
				var records [][]byte
				for n := from; n < to; n++ {
					records = append(records, fmt.Appendf(nil, `{"time":"%s","id":"1","n":%d}`, at.Add(time.Duration(n)*time.Second).Format("2006-01-02T15:04:05.000Z"), n))
				}
				if _, err := sp.Append(t.Context(), records...); err != nil {
					t.Fatal(err)
				}
			}
			const backlog = 3000
			put(0, backlog)
			var mu sync.Mutex
			var got []string
			var well atomic.Bool
			well.Store(outage == 0)
			u, _ := newUplink(t, "https://example.com/", nil)
			u.client.Transport = answers(func(r *http.Request) (int, http.Header, error) {
				time.Sleep(10 * time.Millisecond)
				if !well.Load() {
					return outage, nil, nil
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, readBody(t, r).N)
				return 200, nil, nil
			})
			stop := uplinktest.Run(t, u, sp.Reader("rest").Live())
			time.Sleep(5 * time.Second)
			well.Store(true)
			time.Sleep(5 * time.Second)
			put(backlog, backlog+1)
			mu.Lock()
			before := len(got)
			mu.Unlock()
			time.Sleep(2 * time.Second)
			stop()
			ahead := slices.Index(got, fmt.Sprint(backlog)) - before
			if before < 100 || ahead < 0 || ahead > 2*aheadOfOne*defaultWorkers {
				t.Errorf("outage %d: of %d records, %d were delivered, and %d more before the new one", outage, backlog, before, ahead)
			}
		})
	}
}

func TestRefusedRecordsAreKeptAside(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b := readBody(t, r); b.ID == "bad" {
			w.Header().Set("Content-Type", "application/json")
			http.Error(w, `{"message": "Invalid request body"}`, 400)
		}
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "refused.jsonl")
	u, _ := newUplink(t, s.URL, func(o *Options) { o.RefusedFile = file })
	q := &uplinktest.Queue{}
	q.AppendReadings(2, "1", "bad")
	q.Append("not a reading")
	q.AppendReadings(2, "1")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if st := u.Status(); st.Delivered != 4 || st.Refused != 3 || !st.Connected {
		t.Errorf("status %+v", st)
	}
	text, _ := os.ReadFile(file)
	if strings.Count(string(text), "400 Bad Request: Invalid request body") != 2 || strings.Count(string(text), "not a reading") != 2 {
		t.Errorf("refused:\n%s", text)
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	clock := func(at time.Time) http.Header { return http.Header{"Date": {at.Format(http.TimeFormat)}} }
	for _, c := range []struct {
		status   int
		header   http.Header
		text     string
		want     kind
		everyone bool
		says     string
	}{
		{200, nil, "{}", delivered, false, ""},
		{204, nil, "", delivered, false, ""},
		{400, nil, `{"message":"Invalid request body"}`, refused, false, "400 Bad Request: Invalid request body"},
		{409, nil, "", refused, false, "409 Conflict"},
		{413, nil, "", refused, false, "413"},
		{422, nil, "", refused, false, "422"},
		{408, nil, "", failed, false, "408"},
		{425, nil, "", failed, true, "425"},
		{429, nil, `{"message":"Limit Exceeded"}`, throttled, true, "Limit Exceeded"},
		{500, nil, "", failed, false, "500"},
		{502, nil, "<html>\n bad   gateway </html>", failed, true, "<html> bad gateway </html>"},
		{503, nil, "", failed, true, "503"},
		{504, nil, "", failed, true, "504"},
		{301, http.Header{"Location": {"https://b/c"}}, "", misconfigured, true, `"https://b/c"`},
		{401, nil, `{"message":"Unauthorized"}`, misconfigured, true, "check the url and the authentication"},
		{403, nil, `{"message":"Forbidden"}`, misconfigured, true, "check the API key"},
		{403, nil, `{"message":"Missing Authentication Token"}`, misconfigured, true, "no such route"},
		{403, http.Header{"X-Amzn-Errortype": {"InvalidSignatureException"}}, `{"message":"x"}`, misconfigured, true, "secret access key"},
		{403, http.Header{"X-Amzn-Errortype": {"UnrecognizedClientException"}}, `{}`, misconfigured, true, "access key"},
		{403, http.Header{"X-Amzn-Errortype": {"AccessDeniedException"}}, `{"Message":"User: arn is not authorized"}`, misconfigured, true, "execute-api:Invoke"},
		{403, clock(now.Add(-time.Hour)), `{"message":"Signature not yet current"}`, misconfigured, true, "clock differs from the server's by 1h0m0s"},
		{403, clock(now.Add(6 * time.Minute)), `{"message":"Signature expired"}`, misconfigured, true, "by -6m0s"},
		{403, clock(now.Add(time.Minute)), `{"message":"Forbidden"}`, misconfigured, true, "check the API key"},
		{404, nil, "", misconfigured, true, "check the url"},
		{405, nil, "", misconfigured, true, "check the url"},
		{415, nil, "", misconfigured, true, "application/json"},
		{418, nil, strings.Repeat("x", 1000), misconfigured, true, "xxx…"},
	} {
		if c.header == nil {
			c.header = http.Header{}
		}
		v := judge(&http.Response{StatusCode: c.status, Header: c.header}, []byte(c.text), now, IAMAndAPIKey)
		if v.kind != c.want || v.everyone != c.everyone || (v.err == nil) != (c.want == delivered) {
			t.Errorf("%d %s: %+v", c.status, c.text, v)
		}
		if v.err != nil && (!strings.Contains(v.err.Error(), c.says) || len(v.err.Error()) > 500) {
			t.Errorf("%d: %v, want %q", c.status, v.err, c.says)
		}
	}
}

// answers is a server inside the program: the function gives status and
// headers.
type answers func(*http.Request) (int, http.Header, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, err := a(r)
	if err != nil {
		return nil, err
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r}, nil
}

func TestPauses(t *testing.T) {
	for what, c := range map[string]struct {
		status    int
		header    http.Header
		from, to  time.Duration // of the second try
		last      time.Duration // the tenth try is not before
		tenthMost time.Duration
	}{
		"server error":        {503, nil, 500 * time.Millisecond, time.Second, time.Minute, 5 * time.Minute},
		"retry after":         {503, http.Header{"Retry-After": {"120"}}, 120 * time.Second, 121 * time.Second, 18 * time.Minute, 20 * time.Minute},
		"retry after, absurd": {429, http.Header{"Retry-After": {"100000000"}}, web.MostRetryAfter, web.MostRetryAfter + time.Second, 0, 3 * time.Hour},
		"wrong key":           {403, nil, 5 * time.Second, 10 * time.Second, 10 * time.Minute, time.Hour},
		"network":             {0, nil, 500 * time.Millisecond, time.Second, time.Minute, 5 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var tries []time.Duration
				u, _ := newUplink(t, "https://example.com/", func(o *Options) { o.MinBackoff, o.MaxBackoff = 0, 0 })
				u.client.Transport = answers(func(*http.Request) (int, http.Header, error) {
					tries = append(tries, time.Since(start))
					if len(tries) == 10 {
						return 200, nil, nil
					}
					if c.status == 0 {
						return 0, nil, errors.New("no route to host")
					}
					return c.status, c.header, nil
				})
				q := &uplinktest.Queue{}
				q.AppendReadings(1, "1")
				stop := uplinktest.Run(t, u, q)
				if err := q.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
				stop()
				if tries[1] < c.from || tries[1] > c.to || tries[9] < c.last || tries[9] > c.tenthMost {
					t.Errorf("tries after %v", tries)
				}
			})
		})
	}
}

// A server that is down gets few requests, however many boards wait.
func TestManyBoardsDoNotPressAServerInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := atomic.Int64{}
		u, _ := newUplink(t, "https://example.com/", func(o *Options) { o.MinBackoff, o.MaxBackoff = time.Second, time.Minute })
		u.client.Transport = answers(func(*http.Request) (int, http.Header, error) { tries.Add(1); return 503, nil, nil })
		q := &uplinktest.Queue{}
		for i := range 1000 {
			q.AppendReadings(1, fmt.Sprint("board", i))
		}
		stop := uplinktest.Run(t, u, q)
		time.Sleep(time.Hour)
		stop()
		if n := tries.Load(); n > 5*90 || n < 50 {
			t.Errorf("%d requests in an hour", n)
		}
		if q.Acked() != 0 {
			t.Error("acknowledged")
		}
	})
}

func TestEndGivesRequestsASecond(t *testing.T) {
	for takes, want := range map[time.Duration]int{500 * time.Millisecond: 1, time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			u, _ := newUplink(t, "https://example.com/", nil)
			u.client.Transport = answers(func(r *http.Request) (int, http.Header, error) {
				select {
				case <-time.After(takes):
					return 200, nil, nil
				case <-r.Context().Done():
					return 0, nil, r.Context().Err()
				}
			})
			q := &uplinktest.Queue{}
			q.AppendReadings(5, "1")
			stop := uplinktest.Run(t, u, q)
			time.Sleep(10 * time.Millisecond)
			begun := time.Now()
			stop()
			if d := time.Since(begun); d > farewell || q.Acked() != want {
				t.Errorf("ended after %v with %d records acknowledged, want %d", d, q.Acked(), want)
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	const key, id, secret, token = "abcdefghij0123456789", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token"
	creds := credentials.NewStaticCredentialsProvider(id, secret, token)
	for _, auth := range []Auth{None, APIKey, IAM, IAMAndAPIKey} {
		var got error
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = checkAuthentication(r, auth, key, aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token})
		}))
		u, log := newUplink(t, s.URL+"/prod/dust%20x?a=b&c", func(o *Options) {
			o.Auth, o.APIKey, o.Credentials, o.Region = auth, key, creds, "eu-west-1"
		})
		q := &uplinktest.Queue{}
		q.AppendReadings(1, "1")
		stop := uplinktest.Run(t, u, q)
		q.WaitEmpty(t)
		if got != nil {
			t.Errorf("%s: %v", auth, got)
		}
		stop()
		s.Close()
		for _, hidden := range []string{key, secret, token} {
			if strings.Contains(log.String(), hidden) {
				t.Errorf("%s: the log tells a secret", auth)
			}
		}
	}
}

// checkAuthentication signs the request once more with the SDK's signer, and
// has our own verifier look at it too.
func checkAuthentication(r *http.Request, auth Auth, key string, creds aws.Credentials) error {
	want := ""
	if auth.key() {
		want = key
	}
	if got := r.Header.Get("x-api-key"); got != want {
		return fmt.Errorf("x-api-key %q", got)
	}
	if got := r.Header.Get("Authorization"); !auth.signed() {
		if got != "" {
			return fmt.Errorf("signed: %s", got)
		}
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.RequestURI, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range []string{"Content-Type", "X-Api-Key", "User-Agent"} {
		if v := r.Header.Get(name); v != "" {
			again.Header.Set(name, v)
		}
	}
	if err := sigv4.Sign(context.Background(), again, body, creds, "execute-api", "eu-west-1", at); err != nil {
		return err
	}
	if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want {
		return fmt.Errorf("Authorization\n%s, want\n%s", got, want)
	}
	if r.Header.Get("X-Amz-Security-Token") != creds.SessionToken {
		return errors.New("session token is missing")
	}
	return nil
}

// The one thing that signing leaves to others is the signer itself: it is the
// SDK's.
func TestSignatureIsTheSDKs(t *testing.T) {
	u, _ := newUplink(t, "https://x.execute-api.eu-west-1.amazonaws.com/prod/dust", func(o *Options) {
		o.Auth, o.Credentials = IAM, credentials.NewStaticCredentialsProvider("AKID", "secret", "")
	})
	if u.o.Region != "eu-west-1" {
		t.Fatalf("region %q", u.o.Region)
	}
	req, err := u.request(t.Context(), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	at, _ := time.Parse("20060102T150405Z", req.Header.Get("X-Amz-Date"))
	again, _ := http.NewRequest(http.MethodPost, u.o.URL, strings.NewReader("{}"))
	again.Header.Set("Content-Type", "application/json")
	again.Header.Set("User-Agent", "mote")
	const hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, again, hash, "execute-api", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	if got, want := req.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want || got == "" {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMissingCredentialsKeepTheReadings(t *testing.T) {
	u, log := newUplink(t, "http://127.0.0.1:1/", func(o *Options) {
		o.Auth, o.Region = IAM, "us-east-1"
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("none found") })
	})
	q := &uplinktest.Queue{}
	q.AppendReadings(1, "1")
	stop := uplinktest.Run(t, u, q)
	watch.Until(t, "an error", func() bool { return u.Status().LastError != "" })
	stop()
	if q.Acked() != 0 || !strings.Contains(log.String(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("%d acknowledged\n%s", q.Acked(), log)
	}
}

func TestRedirectsAreNotFollowedAndAnswersAreBounded(t *testing.T) {
	var visited atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			visited.Store(true)
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(307)
		for range 100 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	u, _ := newUplink(t, s.URL, nil)
	q := &uplinktest.Queue{}
	q.AppendReadings(1, "1")
	stop := uplinktest.Run(t, u, q)
	watch.Until(t, "an error", func() bool { return u.Status().LastError != "" })
	stop()
	if e := u.Status().LastError; visited.Load() || !strings.Contains(e, "/elsewhere") || len(e) > 1000 || q.Acked() != 0 {
		t.Errorf("followed %v, error %.1000s", visited.Load(), e)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	u, _ := newUplink(t, s.URL, func(o *Options) { o.CAFile = ca })
	q := &uplinktest.Queue{}
	q.AppendReadings(1, "1")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	stranger, _ := newUplink(t, s.URL+"/path?key=hidden", nil)
	q2 := &uplinktest.Queue{}
	q2.AppendReadings(1, "1")
	uplinktest.Run(t, stranger, q2)
	watch.Until(t, "an error", func() bool { return stranger.Status().LastError != "" })
	if e := stranger.Status().LastError; !strings.Contains(e, "unknown authority") || strings.Contains(e, "hidden") || q2.Acked() != 0 {
		t.Errorf("error %s", e)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	creds := credentials.NewStaticCredentialsProvider("a", "b", "")
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		`url ""`:                      {},
		`want https://host`:           {URL: "ftp://a"},
		"want https://host/stage":     {URL: "https:a"},
		"invalid port":                {URL: "https://a:b/"},
		"user name or password":       {URL: "https://u:p@a/"},
		"fragment":                    {URL: "https://a/#b"},
		"not encrypted":               {URL: "http://example.com/"},
		`auth "basic" is not known`:   {URL: "https://a", Auth: "basic"},
		`"api-key" needs an API key`:  {URL: "https://a", Auth: APIKey},
		"a line break":                {URL: "https://a", Auth: APIKey, APIKey: "abc\n"},
		`"iam" needs AWS credentials`: {URL: "https://x.execute-api.us-east-1.amazonaws.com", Auth: IAM},
		"needs a region":              {URL: "https://a", Auth: IAMAndAPIKey, APIKey: "a", Credentials: creds},
		"CA file":                     {URL: "https://a", CAFile: "/none"},
		"no certificate in PEM form":  {URL: "https://a", CAFile: junk},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, o := range []Options{
		{URL: "http://localhost:8080/prod/dust"}, {URL: "http://[::1]:1"}, {URL: "http://example.com", AllowPlain: true},
		{URL: "https://x.execute-api.us-east-1.amazonaws.com/prod", Auth: IAM, Credentials: creds},
	} {
		if _, err := New(o); err != nil {
			t.Error(err)
		}
	}
	for host, want := range map[string]string{
		"abc.execute-api.eu-west-1.amazonaws.com": "eu-west-1", "abc.execute-api.cn-north-1.amazonaws.com.cn": "cn-north-1",
		"vpce-1.execute-api.us-east-1.vpce.amazonaws.com": "us-east-1", "localhost": "", "abc.execute-api.eu-west-1.amazonaws.com.evil.com": "",
	} {
		if got := RegionOf("https://" + host + "/prod/dust"); got != want {
			t.Errorf("region of %s: %q", host, got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(403, `{"Message":"x"}`, "Sun, 22 Nov 2026 12:00:00 GMT", "120")
	f.Add(503, "<html>\xff", "", "Sun, 22 Nov 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, status int, text, date, after string) {
		h := http.Header{"Date": {date}, "Retry-After": {after}}
		v := judge(&http.Response{StatusCode: status, Header: h}, []byte(text), time.Unix(0, 0), IAM)
		if v.retryAfter < 0 || v.retryAfter > web.MostRetryAfter || v.kind == delivered != (v.err == nil) {
			t.Fatalf("%+v", v)
		}
		if v.err != nil && len(v.err.Error()) > 1000 {
			t.Fatalf("%d bytes of error", len(v.err.Error()))
		}
	})
}
