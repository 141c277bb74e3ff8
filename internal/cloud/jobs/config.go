package jobs

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Config is how the executions of a job are rolled out, given up and tried
// again (AWS IoT developer guide, "Job configurations"). Its JSON is that of the
// API.
type Config struct {
	Rollout *Rollout `json:"jobExecutionsRolloutConfig,omitempty"`
	Abort   *Abort   `json:"abortConfig,omitempty"`
	Timeout *Timeout `json:"timeoutConfig,omitempty"`
	Retry   *Retry   `json:"jobExecutionsRetryConfig,omitempty"`
}

// Rollout says how many things are told of the job in a minute.
type Rollout struct {
	MaximumPerMinute int              `json:"maximumPerMinute,omitempty"` // 0: no limit but that of the exponential rate
	Exponential      *ExponentialRate `json:"exponentialRate,omitempty"`
}

// ExponentialRate is a rate that grows each time another number of things was
// told, or has succeeded.
type ExponentialRate struct {
	BaseRatePerMinute int              `json:"baseRatePerMinute"`
	IncrementFactor   float64          `json:"incrementFactor"`
	Criteria          IncreaseCriteria `json:"rateIncreaseCriteria"`
}

// IncreaseCriteria says when a rate grows; one of them is set.
type IncreaseCriteria struct {
	Notified  int `json:"numberOfNotifiedThings,omitempty"`
	Succeeded int `json:"numberOfSucceededThings,omitempty"`
}

// Abort says when the job is cancelled by itself.
type Abort struct {
	Criteria []AbortCriterion `json:"criteriaList"`
}

// AbortCriterion is met when a share of the executed things has failed.
type AbortCriterion struct {
	FailureType string  `json:"failureType"` // FAILED, REJECTED, TIMED_OUT or ALL
	Action      string  `json:"action"`      // CANCEL
	Percentage  float64 `json:"thresholdPercentage"`
	MinExecuted int     `json:"minNumberOfExecutedThings"`
}

// Timeout bounds how long an execution may be in progress.
type Timeout struct {
	Minutes *int64 `json:"inProgressTimeoutInMinutes,omitempty"`
}

// Retry says which failures are tried again, and how often.
type Retry struct {
	Criteria []RetryCriterion `json:"criteriaList"`
}

// RetryCriterion is about one kind of failure.
type RetryCriterion struct {
	FailureType string `json:"failureType"` // FAILED, TIMED_OUT or ALL
	Retries     int    `json:"numberOfRetries"`
}

// PresignedURL is kept and shown again. It would say how placeholders of the
// document are filled, which are refused.
type PresignedURL struct {
	RoleARN   string `json:"roleArn,omitempty"`
	ExpiresIn int64  `json:"expiresInSec,omitempty"` // seconds
}

// Schedule says when a job begins and ends.
type Schedule struct {
	Start       string              `json:"startTime,omitempty"`
	End         string              `json:"endTime,omitempty"`
	EndBehavior string              `json:"endBehavior,omitempty"`
	Windows     []MaintenanceWindow `json:"maintenanceWindows,omitempty"` // refused

	start, end int64 // ms; 0: none
}

// MaintenanceWindow is a time that comes again.
type MaintenanceWindow struct {
	Start    string `json:"startTime"`
	Duration int    `json:"durationInMinutes"`
}

// What happens at the end of a schedule.
const (
	stopRollout = "STOP_ROLLOUT"
	cancelAll   = "CANCEL"
	forceCancel = "FORCE_CANCEL"
)

// Bounds (AWS IoT API reference, and AWS IoT Device Management quotas).
const (
	maxPerMinute  = 1000
	maxMinutes    = 10080 // of a time-out: seven days
	maxRetries    = 10
	maxCriteria   = 10
	minScheduled  = 30 * time.Minute
	maxStartAhead = 366 * 24 * time.Hour
	maxEndAhead   = 2 * 366 * 24 * time.Hour
)

func (c *Config) check() *Error {
	for _, check := range []func() *Error{c.Rollout.check, c.Abort.check, c.Timeout.check, c.Retry.check} {
		if refused := check(); refused != nil {
			return refused
		}
	}
	return nil
}

func wrong(format string, args ...any) *Error { return refuse(InvalidRequest, format, args...) }

func (r *Rollout) check() *Error {
	if r == nil {
		return nil
	}
	if r.MaximumPerMinute < 0 || r.MaximumPerMinute > maxPerMinute {
		return wrong("maximumPerMinute is %d: it must be from 1 to %d", r.MaximumPerMinute, maxPerMinute)
	}
	x := r.Exponential
	if x == nil {
		return nil
	}
	switch c := x.Criteria; {
	case x.BaseRatePerMinute < 1 || x.BaseRatePerMinute > maxPerMinute:
		return wrong("baseRatePerMinute is %d: it must be from 1 to %d", x.BaseRatePerMinute, maxPerMinute)
	case !(x.IncrementFactor >= 1.1 && x.IncrementFactor <= 5):
		return wrong("incrementFactor is %v: it must be from 1.1 to 5", x.IncrementFactor)
	case (c.Notified > 0) == (c.Succeeded > 0) || c.Notified < 0 || c.Succeeded < 0:
		return wrong("rateIncreaseCriteria must have one of numberOfNotifiedThings and numberOfSucceededThings, from 1")
	case r.MaximumPerMinute > 0 && x.BaseRatePerMinute > r.MaximumPerMinute:
		return wrong("baseRatePerMinute is %d, which is more than maximumPerMinute, %d", x.BaseRatePerMinute, r.MaximumPerMinute)
	}
	return nil
}

// rate is how many things may be told in a minute, for a job as it stands.
func (r *Rollout) rate(j *Job) int {
	switch {
	case r == nil || r.MaximumPerMinute == 0 && r.Exponential == nil:
		return math.MaxInt32
	case r.Exponential == nil:
		return r.MaximumPerMinute
	}
	most := r.MaximumPerMinute
	if most == 0 {
		most = maxPerMinute
	}
	x := r.Exponential
	steps := 0
	if x.Criteria.Notified > 0 {
		steps = j.Notified / x.Criteria.Notified
	} else {
		steps = j.Things[Succeeded] / x.Criteria.Succeeded
	}
	return int(min(float64(most), float64(x.BaseRatePerMinute)*math.Pow(x.IncrementFactor, float64(steps))))
}

func (a *Abort) check() *Error {
	if a == nil {
		return nil
	}
	if len(a.Criteria) == 0 || len(a.Criteria) > maxCriteria {
		return wrong("abortConfig has %d criteria: it must have 1 to %d", len(a.Criteria), maxCriteria)
	}
	for _, c := range a.Criteria {
		switch {
		case !slices.Contains([]string{"FAILED", "REJECTED", "TIMED_OUT", "ALL"}, c.FailureType):
			return wrong("the failureType %.40q of abortConfig is not valid: it must be FAILED, REJECTED, TIMED_OUT or ALL", c.FailureType)
		case c.Action != "CANCEL":
			return wrong("the action %.40q of abortConfig is not valid: it must be CANCEL", c.Action)
		case !(c.Percentage > 0 && c.Percentage <= 100):
			return wrong("thresholdPercentage is %v: it must be more than 0 and at most 100", c.Percentage)
		case c.MinExecuted < 1:
			return wrong("minNumberOfExecutedThings is %d: it must be from 1", c.MinExecuted)
		}
	}
	return nil
}

// met returns the criterion that a job meets, or nil. Executed are the things
// whose execution has ended, by the device or its time.
func (a *Abort) met(j *Job) *AbortCriterion {
	if a == nil {
		return nil
	}
	failures := j.Things[Failed] + j.Things[Rejected] + j.Things[TimedOut]
	executed := failures + j.Things[Succeeded]
	for i, c := range a.Criteria {
		n := failures
		if c.FailureType != "ALL" {
			n = j.Things[Status(c.FailureType)]
		}
		if executed >= c.MinExecuted && n > 0 && float64(n)*100 >= c.Percentage*float64(executed) {
			return &a.Criteria[i]
		}
	}
	return nil
}

func (t *Timeout) check() *Error {
	if t == nil || t.Minutes == nil {
		return nil
	}
	if *t.Minutes < 1 || *t.Minutes > maxMinutes {
		return wrong("inProgressTimeoutInMinutes is %d: it must be from 1 to %d", *t.Minutes, maxMinutes)
	}
	return nil
}

// minutes is 0 when there is no time-out.
func (t *Timeout) minutes() int64 {
	if t == nil || t.Minutes == nil {
		return 0
	}
	return *t.Minutes
}

func (r *Retry) check() *Error {
	if r == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, c := range r.Criteria {
		switch {
		case !slices.Contains([]string{"FAILED", "TIMED_OUT", "ALL"}, c.FailureType):
			return wrong("the failureType %.40q of jobExecutionsRetryConfig is not valid: it must be FAILED, TIMED_OUT or ALL", c.FailureType)
		case c.Retries < 0 || c.Retries > maxRetries:
			return wrong("numberOfRetries is %d: it must be from 0 to %d", c.Retries, maxRetries)
		case seen[c.FailureType] || seen["ALL"] || c.FailureType == "ALL" && len(seen) > 0:
			return wrong("jobExecutionsRetryConfig names %s twice", c.FailureType)
		}
		seen[c.FailureType] = true
	}
	if len(r.Criteria) == 0 {
		return wrong("jobExecutionsRetryConfig has no criteria: it must have 1 or 2")
	}
	return nil
}

// again says whether an execution that ended with s is tried once more.
func (r *Retry) again(s Status, before map[Status]int) bool {
	if r == nil || s != Failed && s != TimedOut {
		return false
	}
	for _, c := range r.Criteria {
		switch c.FailureType {
		case string(s):
			return before[s] < c.Retries
		case "ALL":
			return before[Failed]+before[TimedOut] < c.Retries
		}
	}
	return false
}

// timeForms are how AWS writes times of schedules; they are in UTC.
var timeForms = []string{"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05", time.RFC3339}

func readTime(what, s string) (int64, *Error) {
	if s == "" {
		return 0, nil
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, wrong("the %s %.64q is not valid: write it as 2026-01-31T23:59, in UTC", what, s)
}

// read sets start and end.
func (s *Schedule) read() (refused *Error) {
	if s == nil {
		return nil
	}
	if s.start, refused = readTime("startTime", s.Start); refused == nil {
		s.end, refused = readTime("endTime", s.End)
	}
	return refused
}

// starts is when the job begins, 0 at once.
func (s *Schedule) starts() int64 {
	if s == nil || s.read() != nil {
		return 0
	}
	return s.start
}

// ends is when the job ends, 0 never.
func (s *Schedule) ends() int64 {
	if s == nil || s.read() != nil {
		return 0
	}
	return s.end
}

// check refuses a schedule for a job that is made now, and sets what it leaves
// out (AWS IoT API reference, SchedulingConfig).
func (s *Schedule) check(now int64) *Error {
	if s == nil {
		return nil
	}
	if len(s.Windows) > 0 {
		return wrong("this server has no maintenance windows: leave maintenanceWindows out and use startTime and endTime")
	}
	if refused := s.read(); refused != nil {
		return refused
	}
	from := now
	if s.start != 0 {
		if refused := between("startTime", s.start, now, minScheduled, maxStartAhead); refused != nil {
			return refused
		}
		from = s.start
	}
	if s.end == 0 {
		if s.EndBehavior != "" {
			return wrong("endBehavior needs an endTime")
		}
		return nil
	}
	if s.EndBehavior == "" {
		s.EndBehavior = stopRollout
	}
	if !slices.Contains([]string{stopRollout, cancelAll, forceCancel}, s.EndBehavior) {
		return wrong("the endBehavior %.40q is not valid: it must be STOP_ROLLOUT, CANCEL or FORCE_CANCEL", s.EndBehavior)
	}
	return between("endTime", s.end, from, minScheduled, maxEndAhead)
}

func between(what string, at, from int64, least, most time.Duration) *Error {
	if d := time.Duration(at-from) * time.Millisecond; d < least.Truncate(time.Minute)-time.Minute || d > most {
		return wrong("the %s is not at least %v and at most %v after %s", what, fmt.Sprintf("%d minutes", int(least.Minutes())), fmt.Sprintf("%d days", int(most.Hours()/24)),
			time.UnixMilli(from).UTC().Format(timeForms[0]))
	}
	return nil
}
