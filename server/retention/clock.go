// Package retention says by which time old decisions are deleted. It deletes nothing.
package retention

import "time"

// Clock is what is kept with the decisions of the time at which old ones were last deleted. A machine whose clock is sixty
// days ahead would otherwise delete everything that was decided in a month.
type Clock struct {
	Trusted time.Time // the last time that was believed; zero before the first
	Doubted time.Time // what the machine's clock said when it was first not believed; zero if it is believed
}

const (
	// leap is how far the clock may be ahead of what was believed last. One looks every hour, so more than this is a
	// clock that was set, or a server that was off.
	leap = 24 * time.Hour
	// Confirmed is how long a clock has to go on from where it has leapt to. Which of the two it was, nobody but an
	// operator can know, and this is as long as a weekend.
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
