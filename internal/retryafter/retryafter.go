// Package retryafter reads for how long a server asks to be left alone.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Parse reads a Retry-After header, which is a number of seconds or a date, as the time from now on and at most most. It
// is 0 for none, for what cannot be read and for what is past.
func Parse(header http.Header, now time.Time, most time.Duration) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(0, date.Sub(now)), most)
}
