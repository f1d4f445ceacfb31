package httpapi_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// net/http itself answers requests that it cannot read. These answers are problems too. They are counted and close the
// connection.
func TestUnreadRequestsAreAnsweredAsProblems(t *testing.T) {
	for name, row := range map[string]struct {
		sent   string
		status int
		code   admission.Code
		detail string
	}{
		"headers of 64 KiB": {
			"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("hunter2", 64<<10/7) + "\r\n\r\n",
			431, admission.CodeHeadersTooLarge, "the headers are larger than this server takes",
		},
		"no HTTP":          {"hunter2\r\n\r\n", 400, admission.CodeMalformedRequest, "the request cannot be read as HTTP/1.1"},
		"a bad escape":     {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, admission.CodeMalformedRequest, "the request cannot be read as HTTP/1.1"},
		"no Host":          {"GET /healthz HTTP/1.1\r\n\r\n", 400, admission.CodeMalformedRequest, "missing required Host header"},
		"two Hosts":        {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, admission.CodeMalformedRequest, "the request cannot be read as HTTP/1.1"},
		"a header's name":  {"GET /healthz HTTP/1.1\r\nHost: x\r\nb@d: x\r\n\r\n", 400, admission.CodeMalformedRequest, "the request cannot be read as HTTP/1.1"},
		"another protocol": {"GET /healthz HTTP/3.7\r\nHost: x\r\n\r\n", 400, admission.CodeMalformedRequest, "unsupported protocol version"},
		"an encoding":      {"POST /v1/admission/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400, admission.CodeMalformedRequest, "the request cannot be read as HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			connection := s.raw(row.sent)
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			got := answered{response.StatusCode, response.Header, string(body)}
			require.Equal(t, row.detail, requireProblem(t, got, row.status, row.code))
			require.True(t, response.Close)
			require.NotContains(t, got.body+s.log.String(), "hunter2")
			require.Contains(t, s.observed.all(), observation{"none", "other", row.status})
			require.Equal(t, string(row.code), s.log.with(t, "refused")[0]["code"])
		})
	}
}

// A body of this server that looks like an answer of net/http is sent unchanged.
func TestUnreadRequestsOnlyRewritesNetHTTPsAnswers(t *testing.T) {
	s := serve(t, nil)
	connection := s.raw("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(connection)
	require.NoError(t, err)
	require.Contains(t, string(text), "HTTP/1.1 200 OK\r\n")
	require.True(t, strings.HasSuffix(string(text), "\r\n\r\nup 1\n"), string(text))

	s = serve(t, nil)
	connection = s.raw("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	text, err = io.ReadAll(connection)
	require.NoError(t, err)
	require.Contains(t, string(text), "HTTP/1.1 404 Not Found\r\n")
	require.Contains(t, string(text), "\r\nDate: ")
}
