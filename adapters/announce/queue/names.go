package queue

import (
	"fmt"
	"regexp"
	"strings"
)

// OtherSinks is the name under which sinks that are not configured are summed up.
const OtherSinks = "other"

// queuePrefix and the name of a sink make a queue's name, of which River takes
// 64 characters.
const (
	queuePrefix       = "announcements_"
	maxSinkNameLength = 64 - len(queuePrefix)
)

// Of is the name of a sink's queue.
func Of(sink string) string { return queuePrefix + sink }

// SinkOf is the sink of a queue.
func SinkOf(queue string) string { return strings.TrimPrefix(queue, queuePrefix) }

// CheckSinkNames refuses two sinks of one name, which would share a queue, and names that River would refuse only when the
// first event is announced.
func CheckSinkNames(names []string) error {
	valid := regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if len(name) > maxSinkNameLength || !valid.MatchString(name) {
			return fmt.Errorf("sink name %q: want at most %d lower-case letters and digits, separated by - or _",
				name, maxSinkNameLength)
		}
		if name == OtherSinks {
			return fmt.Errorf("sink name %q is taken for sinks that are not configured", name)
		}
		if seen[name] {
			return fmt.Errorf("sink name %q is used twice", name)
		}
		seen[name] = true
	}
	return nil
}
