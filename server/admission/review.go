package admission

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// CallerProof is how the caller proved itself to the registry.
type CallerProof string

// Token is the workspace's own live token, Bootstrap a workspace that has none yet (anyone may say its id),
// Install the platform's own install path.
const (
	Token     CallerProof = "token"
	Bootstrap CallerProof = "bootstrap"
	Install   CallerProof = "install"
)

// Review is one question: may this workspace pass this hook? Package decode makes it of a body, and
// refuses a malformed one.
type Review struct {
	Hook        string
	UID         string // the registry's own id of this request, or ""
	DryRun      bool
	CallerProof CallerProof
	Caller      string // the authenticated caller's name, or ""
	Trace       Trace
	WorkspaceID uuid.UUID
	Workspace   jsontext.Value // the workspace as sent: a JSON object
	URL         URL
	Kind        string // the kind as sent, or "" if it is no string
}

// RequestKey is that of the decision of r.
func (r Review) RequestKey() RequestKey { return RequestKey{Caller: r.Caller, UID: r.UID} }

// URL is the request's URL as a browser would read it (WHATWG rules), because Rego has no URL parser. Which
// addresses are refused is the policies' business. The zero value is a URL that is absent or unreadable.
type URL struct {
	Valid    bool   `json:"valid"`
	Scheme   string `json:"scheme"`
	Host     string `json:"host"` // lower case; IPv6 without brackets
	IP       string `json:"ip"`   // canonical address if the host is one, IPv4-mapped IPv6 as IPv4
	Port     int    `json:"port"` // the scheme's default if none is given
	Userinfo bool   `json:"userinfo"`
}

// WhatIf is a review that is only to be evaluated. Facts are nil where those that are stored count.
type WhatIf struct {
	Review Review
	Facts  *Facts
}

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
