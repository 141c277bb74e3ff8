package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/policy"
)

func TestLogins(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	ctx := context.Background()
	if _, err := r.CreatePolicy("sensor", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`, nil); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []func() error{
		func() error { return r.CreateLogin("a", "short", []string{"sensor"}) },
		func() error { return r.CreateLogin("a b", "long enough", []string{"sensor"}) },
		func() error { return r.CreateLogin("a", "long enough", nil) },
		func() error { return r.CreateLogin("a", "long enough", []string{"none"}) },
		func() error { return r.SetPassword("a", "long enough") },
		func() error { return r.DeleteLogin("a") },
	} {
		if err := bad(); err == nil {
			t.Error("no error")
		}
	}
	if err := r.CreateLogin("a", "long enough", []string{"sensor"}); err != nil {
		t.Fatal(err)
	}
	version, err := r.VerifyPassword(ctx, "a", []byte("long enough"))
	if err != nil || r.CheckAccount("a", version) != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][2]string{{"a", "long enough "}, {"a", ""}, {"b", "long enough"}, {"", ""}} {
		if _, err := r.VerifyPassword(ctx, wrong[0], []byte(wrong[1])); err == nil {
			t.Errorf("%q passes", wrong)
		}
	}
	j := r.Judge(&policy.Subject{Account: "a"})
	if !j.Decide("iot:Publish", r.ARN("topic/x")).Allowed || j.Decide("iot:Subscribe", r.ARN("topicfilter/x")).Allowed {
		t.Error("the policies of the account are not the ones that count")
	}
	if err := r.DeletePolicy("sensor"); err == nil || !strings.Contains(err.Error(), "account a") {
		t.Errorf("got %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, dir)
	if v, err := r.VerifyPassword(ctx, "a", []byte("long enough")); err != nil || v != version {
		t.Errorf("after a restart: %v", err)
	}
	if err := r.SetPassword("a", "another one"); err != nil {
		t.Fatal(err)
	}
	if r.CheckAccount("a", version) == nil {
		t.Error("a client with the old password may stay")
	}
	if _, err := r.VerifyPassword(ctx, "a", []byte("long enough")); err == nil {
		t.Error("the old password passes")
	}
	if l := r.Logins(); len(l) != 1 || l[0].Name != "a" || l[0].Hash != nil {
		t.Errorf("got %+v", l)
	}
	if err := r.DeleteLogin("a"); err != nil || r.CheckAccount("a", version) == nil {
		t.Errorf("got %v", err)
	}
}

// The work of a password is what the registry is set up for, and 600,000 rounds
// without a wish; a stored one keeps its own.
func TestHashIterations(t *testing.T) {
	if v := newVerifier(0); v.iterations != 600_000 {
		t.Errorf("%d rounds by default", v.iterations)
	}
	dir := t.TempDir()
	r, st := open(t, dir)
	if _, err := r.CreatePolicy("p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.CreateLogin("a", "long enough", []string{"p"}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, dir)
	r.verifier = newVerifier(2000)
	if _, err := r.VerifyPassword(t.Context(), "a", []byte("long enough")); err != nil {
		t.Error(err)
	}
	if err := r.SetPassword("a", "another one"); err != nil {
		t.Fatal(err)
	}
	if n := r.logins["a"].Iterations; n != 2000 {
		t.Errorf("%d rounds", n)
	}
}

// Only so many passwords are hashed at a time: others wait, and give up with
// their time. One that was right before needs no turn.
func TestHashingIsBounded(t *testing.T) {
	r, _ := open(t, t.TempDir())
	if _, err := r.CreatePolicy("p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"known", "new"} {
		if err := r.CreateLogin(name, "long enough", []string{"p"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.VerifyPassword(t.Context(), "known", []byte("long enough")); err != nil {
		t.Fatal(err)
	}
	for range cap(r.verifier.slots) { // as others have
		r.verifier.slots <- struct{}{}
	}
	if _, err := r.VerifyPassword(t.Context(), "known", []byte("long enough")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, one := range [][2]string{{"new", "long enough"}, {"nobody", "long enough"}, {"known", "a wrong one"}} {
		if _, err := r.VerifyPassword(ctx, one[0], []byte(one[1])); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", one[0], err)
		}
	}
	<-r.verifier.slots
	if _, err := r.VerifyPassword(t.Context(), "new", []byte("long enough")); err != nil {
		t.Error(err)
	}
}

func TestAnonymous(t *testing.T) {
	r, _ := open(t, t.TempDir())
	j := r.Judge(&policy.Subject{Anonymous: true, ClientID: "c"})
	for resource, want := range map[string]bool{"topic/a": true, "topic/$aws/things/t/shadow/update": false} {
		if got := j.Decide("iot:Publish", r.ARN(resource)).Allowed; got != want {
			t.Errorf("%s: %v", resource, got)
		}
	}
	if !j.Decide("iot:Connect", r.ARN("client/c")).Allowed || j.Decide("iot:Subscribe", r.ARN("topicfilter/$aws/#")).Allowed {
		t.Error("connect is refused, or the cloud's topics are open")
	}
}
