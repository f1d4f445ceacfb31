// Package retention has old decisions deleted, by a clock that it has reason to trust. Stores do the deleting.
package retention

import "time"

// Clock is the time at which old decisions were last deleted, as the store keeps it. Without it, a machine whose clock is
// sixty days ahead would delete everything that was decided in a month.
type Clock struct {
	Trusted time.Time // the last time that was believed; zero before the first
	Doubted time.Time // what the machine's clock said when it was first not believed; zero if it is believed
}

const (
	// leap is how far the clock may be ahead of the last trusted time. It is read every hour, so a larger step means that
	// the clock was set or the server was off.
	leap = 24 * time.Hour
	// Confirmed is how long a clock must go on after a leap before it is trusted. Only an operator can know why it leapt,
	// and this leaves a weekend to mend it.
	Confirmed = 72 * time.Hour
)

// At gives what is to be kept once the machine's clock has said now. Old is what is old by its Trusted.
func (c Clock) At(now time.Time) Clock {
	switch {
	case now.Sub(c.Trusted) <= leap: // or the clock was set back, by which nothing is lost
		return Clock{Trusted: now}
	case c.Doubted.IsZero() || now.Before(c.Doubted):
		return Clock{Trusted: c.Trusted, Doubted: now}
	case now.Sub(c.Doubted) >= Confirmed:
		return Clock{Trusted: now}
	default:
		return c
	}
}
