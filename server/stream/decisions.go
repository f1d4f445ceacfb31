package stream

import "time"

const (
	decisionPoll = 500 * time.Millisecond
	// decisionsKept is more than is recorded between two polls.
	decisionsKept = 4096
)

// DecisionOptions are of hubs on the ledger of decisions. Nobody wakes them: a signal for each decision would make their
// transactions wait for each other.
func DecisionOptions() Options {
	return Options{Of: "decisions", Poll: decisionPoll, Keep: decisionsKept}
}
