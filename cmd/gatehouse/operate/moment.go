package operate

import (
	"errors"
	"time"

	"github.com/molecule-ai/gatehouse/internal/durations"
)

// moment is a time, or a time before now.
type moment string

func (m moment) at(now time.Time) (time.Time, error) {
	if m == "" {
		return time.Time{}, nil
	}
	if ago, err := durations.Parse(string(m)); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, string(m))
	if err != nil {
		return time.Time{}, errors.New("want a time like 2026-01-31T15:00:00Z, or how long ago, like 24h or 7d")
	}
	return at, nil
}
