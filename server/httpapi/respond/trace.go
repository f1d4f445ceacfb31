package respond

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	requestIDHeader   = "X-Request-Id"
	traceParentHeader = "Traceparent"

	// maxRequestIDLength is in bytes.
	maxRequestIDLength = 128
)

// Traced keeps the caller's request id and traceparent, by which it finds a request again in answers, logs and records. A
// request without an id gets one. They go into logs and headers, so a malformed one is dropped. Traced leaves what counts in
// the headers of the request, where Trace reads it.
func Traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header[requestIDHeader]
		if len(sent) != 1 || !isRequestID(sent[0]) {
			sent = newRequestID()
			r.Header[requestIDHeader] = sent
		}
		w.Header()[requestIDHeader] = sent
		if parent := traceParent(r.Header[traceParentHeader]); parent == "" {
			r.Header.Del(traceParentHeader)
		} else {
			r.Header.Set(traceParentHeader, parent)
			w.Header().Set(traceParentHeader, parent)
		}
		next.ServeHTTP(w, r)
	})
}

// newRequestID is ordered by time, as ids of decisions are.
func newRequestID() []string {
	id, err := uuid.NewV7()
	if err != nil { // there is no randomness, and the request can be answered all the same
		return nil
	}
	return []string{id.String()}
}

// Trace is the trace of a request that came through Traced.
func Trace(r *http.Request) admission.Trace {
	return admission.Trace{RequestID: r.Header.Get(requestIDHeader), Parent: r.Header.Get(traceParentHeader)}
}

// AppendTrace adds what there is of a trace to a log line.
func AppendTrace(attributes []slog.Attr, trace admission.Trace) []slog.Attr {
	if trace.RequestID != "" {
		attributes = append(attributes, slog.String("request_id", trace.RequestID))
	}
	if trace.Parent != "" {
		attributes = append(attributes, slog.String("traceparent", trace.Parent))
	}
	return attributes
}

// isRequestID takes what ids of requests are made of: UUIDs, base64, the "Root=1-…" of AWS.
func isRequestID(text string) bool {
	if text == "" || len(text) > maxRequestIDLength {
		return false
	}
	return !strings.ContainsFunc(text, func(c rune) bool {
		isWord := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return !isWord && !strings.ContainsRune("-_.:/+=~@", c)
	})
}

// traceParent is the caller's traceparent as W3C's Trace Context has it, "" if there is none that is valid. Of a version
// to come it keeps what version 00 has, as the specification wants it.
func traceParent(sent []string) string {
	if len(sent) != 1 {
		return ""
	}
	version, rest, _ := strings.Cut(sent[0], "-")
	traceID, rest, _ := strings.Cut(rest, "-")
	spanID, rest, _ := strings.Cut(rest, "-")
	flags, _, hasMore := strings.Cut(rest, "-")
	isHex := isLowerHex(version, 2) && isLowerHex(traceID, 32) && isLowerHex(spanID, 16) && isLowerHex(flags, 2)
	switch {
	case !isHex, version == "ff", isZero(traceID), isZero(spanID):
		return ""
	case version != "00":
		return "00-" + traceID + "-" + spanID + "-" + flags
	case hasMore:
		return ""
	}
	return sent[0]
}

func isLowerHex(text string, length int) bool {
	return len(text) == length && !strings.ContainsFunc(text, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') })
}

func isZero(text string) bool { return strings.Trim(text, "0") == "" }
