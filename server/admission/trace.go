package admission

// Trace is by which names the caller of a review knows it. They decide nothing.
type Trace struct {
	RequestID string // the caller's or one that was made for it; "" where there was no request, as of an audit
	Parent    string // the caller's traceparent, of version 00 of W3C's Trace Context, or ""
}

// Positions of the parts of a traceparent of version 00.
const (
	traceIDStart, traceIDEnd = 3, 35
	spanIDStart, spanIDEnd   = 36, 52
)

// IDs are the ids of the trace and of the caller's span in it, both "" if there is none.
func (t Trace) IDs() (traceID, spanID string) {
	if len(t.Parent) < spanIDEnd {
		return "", ""
	}
	return t.Parent[traceIDStart:traceIDEnd], t.Parent[spanIDStart:spanIDEnd]
}
