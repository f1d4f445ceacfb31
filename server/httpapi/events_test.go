package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// events is a Source that gives every stream what a test puts into its channel.
type events struct {
	after  chan int64
	give   chan []stream.Streamed[admission.Event]
	refuse error
}

func newEvents() *events {
	return &events{after: make(chan int64, 100), give: make(chan []stream.Streamed[admission.Event])}
}

var errEndOfEvents = errors.New("the reader is too far behind")

// Subscribe gives a reader that ends when nil is put into the channel.
func (e *events) Subscribe(
	_ context.Context, after int64,
) (func(ctx context.Context) ([]stream.Streamed[admission.Event], error), error) {
	if e.refuse != nil {
		return nil, e.refuse
	}
	e.after <- after
	return func(ctx context.Context) ([]stream.Streamed[admission.Event], error) {
		select {
		case given := <-e.give:
			if given == nil {
				return nil, errEndOfEvents
			}
			return given, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, nil
}

func event(sequence int64, code string) *admission.Event {
	return &admission.Event{
		ID: uuid.MustParse(eventID), DecisionID: uuid.MustParse(decisionID), Hook: "register", Sequence: sequence,
		Event: admission.ProvisionFailed, WorkspaceID: uuid.MustParse(workspaceID),
		Timestamp: time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC),
		Payload:   admission.EventPayload{Error: "It has\nno MODEL.", Code: code, Reason: "model_missing"},
	}
}

func serveEvents(t *testing.T, change ...func(*httpapi.Options)) (*service, *events) {
	t.Helper()
	source := newEvents()
	return serve(t, func(o *httpapi.Options) {
		o.Events = source
		o.Streams = sse.Options{Heartbeat: time.Hour, WriteTimeout: patience}
		o.RequestTimeout = time.Nanosecond // which is nothing to a stream
		for _, c := range change {
			c(o)
		}
	}), source
}

// listener is a client of a stream.
type listener struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Reader
	hangUp   context.CancelFunc
}

func (s *service) listen(query string, headers ...string) *listener {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/events/stream"+query, nil)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.Client().Do(request)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(s.t, 200, response.StatusCode)
	l := &listener{s.t, response, bufio.NewReader(response.Body), cancel}
	require.Regexp(s.t, `^retry: [12]\d\d\d$`, l.block())
	return l
}

// block is the lines up to an empty one.
func (l *listener) block() string {
	l.t.Helper()
	var block strings.Builder
	for {
		line, err := l.lines.ReadString('\n')
		require.NoError(l.t, err)
		if line == "\n" {
			return strings.TrimSuffix(block.String(), "\n")
		}
		block.WriteString(line)
	}
}

// requireEnd says that the stream ends in order, with nothing more.
func (l *listener) requireEnd() {
	l.t.Helper()
	rest, err := io.ReadAll(l.lines)
	require.NoError(l.t, err)
	require.Empty(l.t, string(rest))
}

func TestEventStreamSendsServerSentEvents(t *testing.T) {
	s, source := serveEvents(t)
	l := s.listen("")
	require.EqualValues(t, -1, <-source.after, "from now")
	require.Equal(t, "text/event-stream", l.response.Header.Get("Content-Type"))
	require.Equal(t, "no-store", l.response.Header.Get("Cache-Control"))
	require.Equal(t, "no", l.response.Header.Get("X-Accel-Buffering"))

	source.give <- []stream.Streamed[admission.Event]{{Position: 16}}
	require.Equal(t, "id: 16", l.block(), "who has seen no event can resume too")
	source.give <- []stream.Streamed[admission.Event]{{Position: 17, Item: event(3, "GATE")}, {Position: 17, Item: event(4, "GATE")}}

	lines := strings.Split(l.block(), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, "id: 17", lines[0])
	require.Equal(t, "event: WORKSPACE_PROVISION_FAILED", lines[1])
	data, found := strings.CutPrefix(lines[2], "data: ")
	require.True(t, found)
	require.Equal(t, `{"id":"`+eventID+`","sequence":3,"decision_id":"`+decisionID+`","hook":"register",`+
		`"event":"WORKSPACE_PROVISION_FAILED","workspace_id":"`+workspaceID+`","timestamp":"2026-04-01T12:00:00.000005Z",`+
		`"payload":{"error":"It has\nno MODEL.","code":"GATE","reason":"model_missing"}}`, data)
	require.Contains(t, l.block(), `"sequence":4`)
}

func TestEventStreamResumesAfterTheLastEventID(t *testing.T) {
	s, source := serveEvents(t)
	for _, c := range []struct {
		query, header string
		want          int64
	}{
		{"", "17", 17},
		{"?last_event_id=18", "", 18},
		{"?last_event_id=18", "19", 19}, // a browser that comes back has both, and the header is newer
		{"", "0", 0},
		{"", "9223372036854775807", 9223372036854775807},
		{"?last_event_id=", "", -1},
	} {
		s.listen(c.query, "Last-Event-ID", c.header).hangUp()
		require.Equal(t, c.want, <-source.after, c)
	}
}

func TestEventStreamRefusals(t *testing.T) {
	s, source := serveEvents(t)
	for _, id := range []string{"-1", "+1", "x", "1 ", " ", "1,2", "9223372036854775808", "18446744073709551616", "0x1", "1_0", "١"} {
		got := s.send(http.MethodGet, "/v1/events/stream?"+"last_event_id="+strings.ReplaceAll(strings.ReplaceAll(id, " ", "%20"), "+", "%2B"), "")
		require.NotContains(t, requireProblem(t, got, 400, admission.CodeMalformedRequest), id+"x")
	}
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream", "", "Last-Event-ID", "x"), 400, admission.CodeMalformedRequest)
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream?workspace_id=x", ""), 400, admission.CodeMalformedRequest)
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream?workspace_id=", ""), 400, admission.CodeMalformedRequest)
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream", "{}"), 400, admission.CodeMalformedRequest)
	requireProblem(t, s.send(http.MethodPost, "/v1/events/stream", ""), 405, admission.CodeMethodNotAllowed)
	source.refuse = &admission.Error{Code: admission.CodeNotReady, Detail: "not yet"}
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream", ""), 503, admission.CodeNotReady)
	source.refuse = errHidden
	got := s.send(http.MethodGet, "/v1/events/stream", "")
	requireProblem(t, got, 500, admission.CodeInternal)
	require.NotContains(t, got.body, "hunter2")

	none := serve(t, nil)
	requireProblem(t, none.send(http.MethodGet, "/v1/events/stream", ""), 404, admission.CodeNotFound)
}

func TestEventStreamRoles(t *testing.T) {
	s, _ := serveEvents(t, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{
			token(t, "registry", auth.RoleRegistry, registryToken), token(t, "author", auth.RoleAuthor, authorToken),
			token(t, "viewer", auth.RoleViewer, viewerToken),
		})
	})
	for _, plain := range []string{registryToken, authorToken, viewerToken} {
		s.listen("", "Authorization", "Bearer "+plain)
	}
	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream", ""), 401, admission.CodeUnauthenticated)
}

func TestEventStreamEndsWhenItsTokenIsRevoked(t *testing.T) {
	authenticator := &auth.Authenticator{}
	kept := token(t, "author", auth.RoleAuthor, authorToken)
	authenticator.Use([]auth.Token{token(t, "viewer", auth.RoleViewer, viewerToken), kept})
	s, _ := serveEvents(t, func(o *httpapi.Options) {
		o.Authenticator, o.Streams.Heartbeat = authenticator, time.Millisecond
	})
	stays, goes := s.listen("", "Authorization", "Bearer "+authorToken), s.listen("", "Authorization", "Bearer "+viewerToken)

	authenticator.Use([]auth.Token{kept})

	_, err := io.Copy(io.Discard, goes.lines)
	require.NoError(t, err)
	require.Equal(t, ": still here", stays.block())
	require.Eventually(t, func() bool { return len(s.log.with(t, "stream ended")) == 1 }, patience, time.Millisecond)
	require.Equal(t, "the caller's token is no longer known", s.log.with(t, "stream ended")[0]["cause"])
}

func TestEventStreamTellsPositionsOfFilteredEvents(t *testing.T) {
	s, source := serveEvents(t, func(o *httpapi.Options) { o.Streams.Heartbeat = 50 * time.Millisecond })
	other := event(1, "GATE")
	other.WorkspaceID = uuid.New()
	l := s.listen("?workspace_id={" + strings.ToUpper(workspaceID) + "}&code=GATE&code=URL")

	source.give <- []stream.Streamed[admission.Event]{
		{Position: 1, Item: other}, {Position: 2, Item: event(1, "TIER")}, {Position: 3, Item: event(2, "URL")},
	}
	source.give <- []stream.Streamed[admission.Event]{{Position: 4, Item: other}}

	var blocks []string
	for len(blocks) < 2 {
		block := l.block()
		if block != ": still here" {
			blocks = append(blocks, block)
		}
	}
	require.Contains(t, blocks[0], `"sequence":2`)
	require.Equal(t, "id: 4", blocks[1], "a silent stream says how far it is")
}

func TestEventStreamHeartbeat(t *testing.T) {
	s, source := serveEvents(t, func(o *httpapi.Options) { o.Streams.Heartbeat = time.Millisecond })
	l := s.listen("", "Last-Event-ID", "7")
	for range 3 {
		require.Equal(t, ": still here", l.block())
	}
	source.give <- []stream.Streamed[admission.Event]{{Position: 8}}
	for l.block() != "id: 8" {
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	s, _ := serveEvents(t, func(o *httpapi.Options) { o.Streams.MaxStreams = 2 })
	first, _ := s.listen(""), s.listen("")

	got := s.send(http.MethodGet, "/v1/events/stream", "")
	requireProblem(t, got, 503, admission.CodeOverloaded)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, 200, s.send(http.MethodGet, "/healthz", "").status)

	first.hangUp()
	require.Eventually(t, func() bool { return len(s.log.with(t, "stream ended")) == 1 }, patience, time.Millisecond)
	require.Equal(t, "the client has gone", s.log.with(t, "stream ended")[0]["cause"])
	s.listen("")
}

func TestEventStreamEndsWhenItsSourceEnds(t *testing.T) {
	s, source := serveEvents(t)
	l := s.listen("")
	source.give <- []stream.Streamed[admission.Event]{{Position: 1, Item: event(1, "GATE")}}
	l.block()

	source.give <- nil

	l.requireEnd()
	require.True(t, l.response.Close, "the deadlines of its writes must not meet another request")
	require.Eventually(t, func() bool { return len(s.log.with(t, "stream ended")) == 1 }, patience, time.Millisecond)
	line := s.log.with(t, "stream ended")[0]
	require.Equal(t, errEndOfEvents.Error(), line["cause"])
	require.EqualValues(t, 1, line["events"])
	require.Equal(t, []observation{{"/v1/events/stream", "GET", 200}}, s.observed.all())
}

// doesNotRead opens a stream, gives it more than the sockets of both sides can hold, and reads nothing of it.
func (s *service) doesNotRead(source *events) {
	s.t.Helper()
	connection, isTCP := s.raw("GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n").(*net.TCPConn)
	require.True(s.t, isTCP)
	require.NoError(s.t, connection.SetReadBuffer(4<<10))
	<-source.after
	e := event(1, "GATE")
	e.Payload.Error = strings.Repeat("x", 256<<10)
	large := make([]stream.Streamed[admission.Event], 48)
	for i := range large {
		large[i] = stream.Streamed[admission.Event]{Position: 1, Item: e}
	}
	source.give <- large
}

func TestEventStreamDropsAClientThatDoesNotRead(t *testing.T) {
	s, source := serveEvents(t, func(o *httpapi.Options) { o.Streams.WriteTimeout = 50 * time.Millisecond })
	s.doesNotRead(source)

	reading := s.listen("")
	<-source.after
	source.give <- []stream.Streamed[admission.Event]{{Position: 1, Item: event(9, "GATE")}}

	require.Contains(t, reading.block(), `"sequence":9`)
	require.Eventually(t, func() bool { return len(s.log.with(t, "stream ended")) == 1 }, patience, time.Millisecond)
	require.Equal(t, "the client does not read", s.log.with(t, "stream ended")[0]["cause"])
}

func TestDrainEndsStreamsAtOnce(t *testing.T) {
	s, source := serveEvents(t)
	s.doesNotRead(source)
	var listening []*listener
	for range 5 {
		listening = append(listening, s.listen(""))
	}

	s.server.Drain()
	s.server.Drain()

	for _, l := range listening {
		l.requireEnd()
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Config.Shutdown(ctx), "a graceful stop does not wait for streams")
	require.Less(t, time.Since(start), patience/2, "not for the one that is not read either")
	require.Len(t, s.log.with(t, "stream ended"), 6)
	for _, line := range s.log.with(t, "stream ended") {
		require.Equal(t, "shutting down", line["cause"])
	}
}

func TestDrainRefusesNewStreams(t *testing.T) {
	s, _ := serveEvents(t)
	s.server.Drain()

	requireProblem(t, s.send(http.MethodGet, "/v1/events/stream", ""), 503, admission.CodeNotReady)
}

func TestEventStreamDataIsTheRegistrysMessage(t *testing.T) {
	s, source := serveEvents(t)
	l := s.listen("")
	source.give <- []stream.Streamed[admission.Event]{{Position: 1, Item: event(1, "GATE")}}
	_, data, _ := strings.Cut(l.block(), "data: ")
	var streamed, message map[string]any
	require.NoError(t, json.Unmarshal([]byte(data), &streamed))
	text, err := json.Marshal(event(1, "GATE"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &message))
	for name, value := range message {
		require.Equal(t, value, streamed[name])
	}
	require.Len(t, streamed, len(message)+4)
}
