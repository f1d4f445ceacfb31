package announce

import (
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Retry is how a sink is tried again. Zero values stand for the defaults.
type Retry struct {
	// First is the most that the second attempt waits (500 ms). Each further one
	// may wait twice as long.
	First time.Duration
	// Limit is the most that any attempt waits (1 minute).
	Limit time.Duration
	// For is how long after its first failure an announcement is given up (24 h).
	For time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.First <= 0 {
		r.First = 500 * time.Millisecond
	}
	if r.Limit <= 0 {
		r.Limit = time.Minute
	}
	if r.For <= 0 {
		r.For = 24 * time.Hour
	}
	return r
}

// delay is random between half of the most that it may be and all of it, so that jobs that failed together do not come back
// together.
func (r Retry) delay(failures int) time.Duration {
	most := r.First
	for range failures - 1 {
		if most >= r.Limit {
			break
		}
		most *= 2
	}
	most = min(most, r.Limit)
	return most/2 + rand.N(most/2+1)
}

// riverPolicy is for jobs whose process was killed, and for jobs that cannot be read. River asks it only for those.
type riverPolicy struct{ retry Retry }

func (p riverPolicy) NextRetry(row *rivertype.JobRow) time.Time {
	return time.Now().Add(p.retry.delay(row.Attempt))
}
