package cloud

import (
	"context"
	"time"

	"mote/internal/cloud/console"
	"mote/internal/cloud/registry"
)

// How often certificates are looked at: what nobody provisioned in time goes,
// the server certificate is renewed and the console's list is made. Warnings
// come at the start and daily.
const (
	lookEvery = 5 * time.Minute
	warnEvery = 24 * time.Hour
)

// warnWithin is how long before its end a certificate is warned of.
const warnWithin = 30 * 24 * time.Hour

// warnMost is how many certificates get a line of their own in the log.
const warnMost = 20

// keepCertificates runs until ctx ends.
func (c *Cloud) keepCertificates(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var warned time.Time
	for {
		c.lookAtCertificates(time.Now().Round(0), &warned)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookAtCertificates does what is due now; warned is when it last warned.
func (c *Cloud) lookAtCertificates(now time.Time, warned *time.Time) {
	if err := c.registry.Sweep(); err != nil {
		c.log.Warn("certificates that nobody provisioned in time cannot be removed now", "err", err)
	}
	switch renewed, err := c.serverCert.renew(now); {
	case err != nil:
		c.log.Error("the server certificate cannot be renewed", "err", err)
	case renewed:
		c.log.Info("the server certificate was renewed", "not_after", c.serverCert.notAfter())
	}
	list := c.registry.Expiring(now.Add(warnWithin))
	c.expiring.Store(&list)
	if now.Sub(*warned) >= warnEvery {
		*warned = now
		c.warn(list, now)
	}
}

// warn logs which certificates end soon: as an error when no more than a day is
// left, else as a warning, which says in which of the spans 30, 7 and 1 days it is.
func (c *Cloud) warn(list []registry.Expiring, now time.Time) {
	for i, e := range list {
		if i == warnMost {
			c.log.Warn("more certificates end soon", "number", len(list)-warnMost)
			return
		}
		what, left := "certificate", e.NotAfter.Sub(now)
		if e.CA {
			what = "CA certificate"
		}
		args := []any{"what", what, "id", e.ID, "name", e.Name, "not_after", e.NotAfter}
		switch {
		case left <= 0:
			c.log.Error("a certificate has expired: replace it, or deactivate it to end this message", args...)
		case left <= 24*time.Hour:
			c.log.Error("a certificate expires within a day: replace it", args...)
		default:
			c.log.Warn("a certificate expires soon: replace it", append(args, "within_days", span(left))...)
		}
	}
}

// span is the least of the spans of warnings, in days, that has left.
func span(left time.Duration) int {
	if left <= 7*24*time.Hour {
		return 7
	}
	return 30
}

// expiringNow is the console's list of certificates that end soon.
func (c *Cloud) expiringNow() (out []console.Expiring) {
	if list := c.expiring.Load(); list != nil {
		for _, e := range (*list)[:min(len(*list), warnMost)] {
			out = append(out, console.Expiring{CA: e.CA, ID: e.ID, Name: e.Name, NotAfter: e.NotAfter})
		}
	}
	return out
}
