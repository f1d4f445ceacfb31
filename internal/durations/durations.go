// Package durations reads durations as people write them: like Go, and in days, such as 7d or 1d12h.
package durations

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// ErrUnit is the error of a number without a unit. Only 0 needs none.
var ErrUnit = errors.New("a unit is missing")

// errForm repeats nothing of what was read: it may be a secret in the wrong place.
var errForm = errors.New("want a duration such as 500ms, 2s, 24h or 7d")

const day = 24 * time.Hour

// maxDays is how many days a time.Duration can hold.
const maxDays = int64((1<<63 - 1) / day)

// Parse reads a duration.
func Parse(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]*)?$`).MatchString(text) {
		return 0, ErrUnit
	}
	parts := regexp.MustCompile(`^([0-9]+)d(.*)$`).FindStringSubmatch(text)
	if parts == nil {
		return rest(text)
	}
	days, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || days >= maxDays {
		return 0, errForm
	}
	whole := time.Duration(days) * day
	if parts[2] == "" {
		return whole, nil
	}
	more, err := rest(parts[2])
	if err != nil || more < 0 || whole+more < whole {
		return 0, errForm
	}
	return whole + more, nil
}

func rest(text string) (time.Duration, error) {
	read, err := time.ParseDuration(text)
	if err != nil {
		return 0, errForm
	}
	return read, nil
}
