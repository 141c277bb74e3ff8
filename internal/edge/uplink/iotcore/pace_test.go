package iotcore

import (
	"testing"
	"time"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/mqtt/mqtttest"
)

// TestPaceAtAWS: AWS's quotas are kept at AWS alone, and the configuration wins.
func TestPaceAtAWS(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	aws := uplink.Pace{Messages: 100, Bytes: 512 << 10}
	for _, c := range []struct {
		endpoint string
		rate     int
		want     uplink.Pace
	}{
		{"a1b2-ats.iot.eu-west-1.amazonaws.com", 0, aws},
		{"a1b2.ats.iot.cn-north-1.amazonaws.com.cn:443", 0, aws},
		{"a1b2-ats.iot.eu-west-1.amazonaws.com", 40, uplink.Pace{Messages: 40}},
		{"a1b2-ats.iot.eu-west-1.amazonaws.com", RateOff, uplink.Pace{}},
		{"amazonaws.com.example.org", 0, uplink.Pace{}},
		{"broker.example.org", 250, uplink.Pace{Messages: 250}},
	} {
		u, _ := newUplink(t, certs, c.endpoint, func(o *Options) { o.Rate = c.rate })
		if u.pace != c.want {
			t.Errorf("%s, rate %d: %+v, want %+v", c.endpoint, c.rate, u.pace, c.want)
		}
	}
	for _, rate := range []int{-2, maxRate + 1} {
		if _, err := New(Options{Endpoint: "a", ClientID: "b", Rate: rate}); err == nil {
			t.Errorf("rate %d is taken", rate)
		}
	}
}

func TestPublishesKeepTheirRate(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	q := &uplinktest.Queue{}
	q.AppendReadings(31, "1")
	u, _ := newUplink(t, certs, m.Addr, func(o *Options) { o.Rate = 50 })
	begun := time.Now()
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if took := time.Since(begun); took < 600*time.Millisecond {
		t.Errorf("31 readings at 50 a second took %v", took)
	}
}
