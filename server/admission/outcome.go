package admission

// Ending says what came of a review, in metrics and logs.
type Ending string

// The endings of a review. Only EndedInFault is the gate's own fault.
const (
	EndedInAllow Ending = "allow"
	EndedInDeny  Ending = "deny"
	EndedRefused Ending = "refused"   // the caller got something wrong: a hook that does not exist, a uid of another body
	EndedAlone   Ending = "abandoned" // the caller hung up before there was an answer
	EndedInFault Ending = "error"
)

// Ending of o.
func (o Outcome) Ending() Ending {
	switch {
	case o.Err == nil && o.Decision.Verdict.Allowed():
		return EndedInAllow
	case o.Err == nil:
		return EndedInDeny
	case o.Err.Code == CodeAbandoned:
		return EndedAlone
	case o.Err.Code.IsFault():
		return EndedInFault
	default:
		return EndedRefused
	}
}
