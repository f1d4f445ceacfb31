package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// archive is a source of so many denies, which it gives one at a time once it may. It says what it was asked.
type archive struct {
	count   int
	may     chan struct{} // nil: at once
	failing bool
	asked   ledger.Query
}

func (a *archive) Decisions(ctx context.Context, q ledger.Query) ([]ledger.Decision, error) {
	if q.OldestFirst { // how far back there is something to read
		return nil, nil
	}
	a.asked = q
	if a.may != nil {
		select {
		case <-a.may:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if a.failing {
		return nil, errHidden
	}
	page := make([]ledger.Decision, min(a.count, q.Limit))
	a.count -= len(page)
	for i := range page {
		page[i].Decision = admission.Decision{
			ID: uuid.New(), At: time.Now().Add(-time.Hour), Hook: "register", WorkspaceID: uuid.MustParse(workspaceID),
			Input: jsontext.Value(`{"hook":"register"}`), Verdict: admission.NewVerdict([]admission.Violation{identityGate}, "sha256:0011"),
		}
	}
	return page, nil
}

// lenient allows everything.
type lenient struct{}

func (lenient) HasHook(string) bool          { return true }
func (lenient) ReadPointers(string) []string { return nil }
func (lenient) Evaluate(context.Context, admission.Input, time.Time) (admission.Verdict, error) {
	return admission.Verdict{Revision: candidateRevision}, nil
}

// candidates gives the same for everything, and an error for files that are none.
type candidates struct{ err error }

func (c candidates) ReplayLive() (replay.Candidate, error) { return c.candidate("live") }

func (c candidates) ReplayShadow() (replay.Candidate, error) { return c.candidate("shadow") }

func (c candidates) ReplayFiles(_ context.Context, files map[string]string) (replay.Candidate, error) {
	if _, found := files["broken.rego"]; found {
		return replay.Candidate{}, admission.Malformed("the candidate is refused: broken.rego:1:1: rego_parse_error")
	}
	return c.candidate("candidate")
}

func (c candidates) candidate(source string) (replay.Candidate, error) {
	return replay.Candidate{Rules: lenient{}, Revision: candidateRevision, Source: source}, c.err
}

func replaying(t *testing.T, records *archive, change func(*httpapi.Options)) *service {
	t.Helper()
	s := full(t, func(o *httpapi.Options) {
		o.Replays = resources.ReplayOptions{RunsOptions: replay.RunsOptions{Records: records, Now: time.Now, Logger: o.Logger}, Policies: candidates{}}
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(s.server.Drain)
	return s
}

func (s *service) replay(body string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/replays", body)
}

func (s *service) replayAt(location string) replay.RunStatus {
	s.t.Helper()
	got := s.send(http.MethodGet, location, "")
	require.Equal(s.t, 200, got.status, got.body)
	return readReplay(s.t, got)
}

func readReplay(t *testing.T, got answered) replay.RunStatus {
	t.Helper()
	var shown replay.RunStatus
	require.NoError(t, json.Unmarshal([]byte(got.body), &shown), got.body)
	return shown
}

// ended waits for a replay to end.
func (s *service) ended(location string) replay.RunStatus {
	s.t.Helper()
	var shown replay.RunStatus
	require.Eventually(s.t, func() bool {
		shown = s.replayAt(location)
		return shown.State != replay.RunRunning
	}, patience, 5*time.Millisecond)
	return shown
}

// replayOf is the path of a replay that an author began and that has ended.
func (s *service) replayOf(authorToken string) string {
	s.t.Helper()
	begun := s.send(http.MethodPost, "/v1/replays", `{"candidate": {"live": true}}`, "Authorization", "Bearer "+authorToken)
	require.Equal(s.t, 202, begun.status, begun.body)
	location := begun.header.Get("Location")
	s.send(http.MethodDelete, location, "", "Authorization", "Bearer "+authorToken)
	return location
}

func TestReplayRunsAndReports(t *testing.T) {
	records := &archive{count: 150}
	s := replaying(t, records, nil)
	got := s.replay(`{"candidate": {"shadow": true}, "code": "A", "hook": "register", "workspace_id": "` + workspaceID + `",
		"since": "2026-03-01T00:00:00Z", "until": "2026-03-08T00:00:00Z", "limit": 100, "examples": 2}`)
	require.Equal(t, 202, got.status, got.body)
	started := readReplay(t, got)
	require.Nil(t, started.Report)
	require.Equal(t, "/v1/replays/"+started.ID.String(), got.header.Get("Location"))

	shown := s.ended(got.header.Get("Location"))
	require.Equal(t, replay.RunFinished, shown.State)
	require.EqualValues(t, 100, shown.Progress.Read)
	require.InDelta(t, 1, shown.Progress.Fraction, 0)
	require.NotNil(t, shown.FinishedAt)
	require.Equal(t, "shadow", shown.Candidate.Source)
	require.EqualValues(t, 100, shown.Report.Count(admission.DenyToAllow))
	require.Len(t, shown.Report.Flips[0].Examples, 2)
	require.Equal(t, ledger.Filter{
		Hook: "register", Code: "A", WorkspaceID: uuid.MustParse(workspaceID),
		Since: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC),
	}, records.asked.Filter)

	var list resources.ReplayList
	require.NoError(t, json.Unmarshal([]byte(s.send(http.MethodGet, "/v1/replays", "").body), &list))
	require.Len(t, list.Replays, 1)
	require.Nil(t, list.Replays[0].Report)
}

func TestReplayGoesBackAWeekByDefault(t *testing.T) {
	records := &archive{}
	s := replaying(t, records, nil)
	got := s.replay(`{"candidate": {"files": {"a.rego": "package a"}}}`)
	require.Equal(t, 202, got.status)
	require.Equal(t, replay.RunFinished, s.ended(got.header.Get("Location")).State)
	require.WithinDuration(t, time.Now().Add(-7*24*time.Hour), records.asked.Since, patience)
}

func TestReplayRunsOneAtATimeAndCanBeCancelled(t *testing.T) {
	records := &archive{count: 1 << 30, may: make(chan struct{}, 1)}
	records.may <- struct{}{}
	s := replaying(t, records, nil)
	first := s.replay(`{"candidate": {"live": true}}`)
	require.Equal(t, 202, first.status)
	location := first.header.Get("Location")
	require.Eventually(t, func() bool { return s.replayAt(location).Progress.Read == 64 }, patience, 5*time.Millisecond)
	require.Equal(t, replay.RunRunning, s.replayAt(location).State)
	requireProblem(t, s.replay(`{"candidate": {"live": true}}`), 409, admission.CodeReplayRunning)

	got := s.send(http.MethodDelete, location, "")
	require.Equal(t, 200, got.status)
	shown := readReplay(t, got)
	require.Equal(t, replay.RunCancelled, shown.State)
	require.EqualValues(t, 64, shown.Report.Evaluated, "what was done until then")
	require.Equal(t, shown, readReplay(t, s.send(http.MethodDelete, location, "")), "it stays as it is")

	require.Equal(t, 202, s.replay(`{"candidate": {"live": true}}`).status)
}

func TestDrainEndsReplays(t *testing.T) {
	s := replaying(t, &archive{may: make(chan struct{})}, nil)
	got := s.replay(`{"candidate": {"live": true}}`)
	require.Equal(t, 202, got.status)
	s.server.Drain()
	require.Equal(t, replay.RunCancelled, s.replayAt(got.header.Get("Location")).State)
	requireProblem(t, s.replay(`{"candidate": {"live": true}}`), 503, admission.CodeNotReady)
}

func TestReplayFailsWhereRecordsCannotBeRead(t *testing.T) {
	s := replaying(t, &archive{failing: true}, nil)
	got := s.replay(`{"candidate": {"live": true}}`)
	shown := s.ended(got.header.Get("Location"))
	require.Equal(t, replay.RunFailed, shown.State)
	require.Equal(t, "the recorded decisions cannot be read", shown.Error)
	require.NotContains(t, s.send(http.MethodGet, got.header.Get("Location"), "").body, "hunter2")
}

func TestReplaysKeepTheLastRuns(t *testing.T) {
	s := replaying(t, &archive{}, nil)
	var locations []string
	for range 22 {
		got := s.replay(`{"candidate": {"live": true}}`)
		require.Equal(t, 202, got.status, got.body)
		locations = append(locations, got.header.Get("Location"))
		s.ended(locations[len(locations)-1])
	}
	var list resources.ReplayList
	require.NoError(t, json.Unmarshal([]byte(s.send(http.MethodGet, "/v1/replays", "").body), &list))
	require.Len(t, list.Replays, 20)
	require.Equal(t, locations[21], "/v1/replays/"+list.Replays[0].ID.String(), "the newest first")
	requireProblem(t, s.send(http.MethodGet, locations[1], ""), 404, admission.CodeNotFound)
	s.replayAt(locations[2])
}

func TestReplayRefusals(t *testing.T) {
	s := replaying(t, &archive{}, nil)
	for body, says := range map[string]string{
		`{}`:                             "candidate is one of",
		`{"candidate": {}}`:              "candidate is one of",
		`{"candidate": {"live": false}}`: "candidate is one of",
		`{"candidate": {"live": true, "shadow": true}}`:                        "candidate is one of",
		`{"candidate": {"live": true, "files": {}}}`:                           "candidate is one of",
		`{"candidate": {"files": {"broken.rego": ""}}}`:                        "broken.rego:1:1: rego_parse_error",
		`{"candidate": {"live": true}, "since": "yesterday"}`:                  "since",
		`{"candidate": {"live": true}, "limit": -1}`:                           "limit",
		`{"candidate": {"live": true}, "examples": 101}`:                       "examples",
		`{"candidate": {"live": true}, "workspace_id": "x"}`:                   "workspace_id",
		`{"candidate": {"live": true}, "more": 1}`:                             "more",
		`{"candidate": {"live": true}`:                                         "",
		`{"candidate": {"files": {"a.rego": "package a", "a.rego": "twice"}}}`: "",
	} {
		require.Contains(t, requireProblem(t, s.replay(body), 400, admission.CodeMalformedRequest), says, body)
	}
	require.Equal(t, 415, s.send(http.MethodPost, "/v1/replays", "{}", "Content-Type", "text/plain").status)
	for _, id := range []string{"x", uuid.NewString()} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			requireProblem(t, s.send(method, "/v1/replays/"+id, ""), 404, admission.CodeNotFound)
		}
	}
	for code, status := range map[admission.Code]int{admission.CodeNoCandidate: 409, admission.CodeNotReady: 503} {
		s = replaying(t, &archive{}, func(o *httpapi.Options) {
			o.Replays.Policies = candidates{&admission.Error{Code: code, Detail: "none"}}
		})
		requireProblem(t, s.replay(`{"candidate": {"shadow": true}}`), status, code)
	}
	s = replaying(t, &archive{}, func(o *httpapi.Options) {
		o.Replays.Policies = candidates{fmt.Errorf("compiling: %w", context.DeadlineExceeded)}
	})
	requireProblem(t, s.replay(`{"candidate": {"files": {}}}`), 504, admission.CodeDeadlineExceeded)
	s = replaying(t, &archive{}, func(o *httpapi.Options) { o.MaxBatchBytes = 16 })
	require.Equal(t, 413, s.replay(`{"candidate": {"live": true}}`).status)
}

func TestReplaysAreForAuthors(t *testing.T) {
	s := replaying(t, &archive{}, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{token(t, "ada", auth.RoleAuthor, authorToken), token(t, "reg", auth.RoleRegistry, registryToken)})
	})
	for sent, status := range map[string]int{authorToken: 202, registryToken: 403} {
		got := s.send(http.MethodPost, "/v1/replays", `{"candidate": {"live": true}}`, "Authorization", "Bearer "+sent)
		require.Equal(t, status, got.status, got.body)
		if status == 202 {
			require.Equal(t, "ada", readReplay(t, got).Caller)
		}
		require.Equal(t, min(status, 403) == 403, s.send(http.MethodGet, "/v1/replays", "", "Authorization", "Bearer "+sent).status == 403)
	}
	require.Equal(t, 401, s.replay(`{"candidate": {"live": true}}`).status)
}
