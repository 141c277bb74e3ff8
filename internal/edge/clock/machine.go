package clock

import "time"

// Machine is what is asked of the machine.
type Machine struct {
	Boot   string               // an id of this boot, 36 bytes
	Now    func() time.Time     // the wall clock
	Uptime func() time.Duration // since the boot, sleep included
	// Awaited reports that the kernel's clock is not synchronised, and a program
	// runs that will do that.
	Awaited func() bool
}

// oldest is a time that has been: a clock that says less was never set. It is
// well before the program was made, so that a clock that is a little behind
// does not look unset.
var oldest = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// patience is how long after the boot a clock that looks right is not believed
// because it is about to be set: a Raspberry Pi starts with the time at which it
// was switched off.
const patience = 15 * time.Minute

// IsSet reports whether the wall clock is to be believed.
func (m Machine) IsSet() bool {
	return !m.Now().Before(oldest) && (m.Uptime() >= patience || !m.Awaited())
}
