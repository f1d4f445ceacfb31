package httpapi_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// The caller's request id and traceparent are in the answer, in the recorded review and in the log.
func TestTraceIsAnsweredRecordedAndLogged(t *testing.T) {
	var mutex sync.Mutex
	var traces []admission.Trace
	s := serve(t, func(o *httpapi.Options) {
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			mutex.Lock()
			defer mutex.Unlock()
			traces = append(traces, r.Trace)
			return allow(ctx, r)
		})
	})
	given := admission.Trace{RequestID: "Root=1-67891233-abcdef012345678912345678", Parent: traceParent}
	headers := []string{"X-Request-ID", given.RequestID, "traceparent", given.Parent}
	for _, got := range []answered{
		s.register(registerBody, headers...), s.relay(payload, headers...), s.batch(registerBody), // a batch has a trace of its own
		s.send(http.MethodPost, "/v1/admission/register/batch", `{"reviews": [`+registerBody+`,`+registerBody+`]}`, headers...),
		s.send(http.MethodGet, "/healthz", "", headers...), s.register("{", headers...), s.send(http.MethodGet, "/nowhere", "", headers...),
	} {
		if got.header.Get("Traceparent") == "" {
			continue
		}
		require.Equal(t, given.RequestID, got.header.Get("X-Request-Id"))
		require.Equal(t, given.Parent, got.header.Get("Traceparent"))
	}
	require.Len(t, traces, 5)
	for i, trace := range traces {
		if i == 2 {
			require.NotEqual(t, given.RequestID, trace.RequestID)
			continue
		}
		require.Equal(t, given, trace)
	}
	refused := s.log.with(t, "refused")
	require.Len(t, refused, 2)
	for _, line := range refused {
		require.Subset(t, line, map[string]any{"request_id": given.RequestID, "traceparent": given.Parent})
	}
}

func TestTraceGetsAnIDWhereNoneIsSent(t *testing.T) {
	s := serve(t, nil)
	seen := make(map[string]bool)
	for range 10 {
		got := s.register("{")
		id := got.header.Get("X-Request-Id")
		require.NoError(t, uuid.Validate(id))
		require.False(t, seen[id])
		seen[id] = true
		require.Empty(t, got.header.Get("Traceparent"))
	}
	for _, line := range s.log.with(t, "refused") {
		require.Contains(t, seen, line["request_id"])
		require.NotContains(t, line, "traceparent")
	}
}

// These headers are answered and logged. Malformed ones are dropped and repeated nowhere.
func TestTraceDropsMalformedHeaders(t *testing.T) {
	s := serve(t, nil)
	for _, id := range []string{"", "hunter2 x", `hunter2"`, "hunter2\tx", "hunter2;", "hunter2,b", "hunter2é", "hunter2<script>", "hunter2" + strings.Repeat("x", 122)} {
		got := s.register("{", "X-Request-Id", id)
		require.NoError(t, uuid.Validate(got.header.Get("X-Request-Id")), id)
	}
	for sent, want := range map[string]string{
		traceParent: traceParent,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":         traceParent,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-hunter2": traceParent,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.hunter2": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-hunter2": "",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":         "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":         "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":         "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":         "",
		"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011":         "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0":          "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01":         "",
		"hunter2": "",
	} {
		got := s.register("{", "Traceparent", sent)
		require.Equal(t, want, got.header.Get("Traceparent"), sent)
	}
	require.NotContains(t, s.log.String(), "hunter2")
}

// A header that is sent twice is dropped. A header with a folded line must not split the answer.
func TestTraceDropsRepeatedAndFoldedHeaders(t *testing.T) {
	s := serve(t, nil)
	for _, header := range []string{
		"X-Request-Id: hunter2\r\nX-Request-Id: hunter3\r\n", "X-Request-Id: a\r\n\tSet-Cookie: hunter2=1\r\n", "X-Request-Id: a\rSet-Cookie: hunter2=1\r\n",
	} {
		connection := s.raw("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + "\r\n")
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.NotContains(t, response.Header.Get("X-Request-Id"), "hunter")
		require.Empty(t, response.Header.Get("Set-Cookie"))
	}
	require.NotContains(t, s.log.String(), "hunter")
}
