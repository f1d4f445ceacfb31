package decisionlog

import "time"

// SettledAfter is by how much a decision may be recorded later than its time, which is when its review began. A verdict
// takes up to --request-timeout of whichever server it is; an error that was answered waits up to failurelog.MaxAge for a
// store that is away. The rest is for clocks that differ.
const SettledAfter = 5 * time.Minute
