package sqlite_test

import (
	"crypto/sha256"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// statements of the version before decisions had a seq, as that version wrote them.
const (
	oldDecisionSQL = `
		insert into decisions (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code,
		                       reason, policy_revision, marked_failed, violations, event_id, event, input,
		                       facts_us, policy_us, dry_run)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`
	oldUIDSQL   = `insert into request_uids (uid, digest, decision_id, decided_at) values ($1, $2, $3, $4)`
	oldEventSQL = `
		insert into events (id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
		values ($1, $2, 1, $3, $4, $5, $6, $7)`
)

const oldTime = "2006-01-02T15:04:05.000000Z"

// TestDecisionsOfTheVersionBefore migrates rows of every shape that the version before wrote.
func TestDecisionsOfTheVersionBefore(t *testing.T) {
	s := open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	_, err := provider(t, s).UpTo(t.Context(), 4)
	require.NoError(t, err)
	old := oldDecisions(t)
	for _, i := range []int{2, 0, 3, 1, 4} { // rows lie in any order
		insertOld(t, s, old[i])
	}
	divergence, pair := oldDivergence(old[1])
	at := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	require.NoError(t, s.RecordDivergences(t.Context(), []shadow.Divergence{divergence}))
	require.NoError(t, s.AddShadowCounts(t.Context(), at, map[shadow.Pair]shadow.Counts{pair: {Evaluated: 2, Diverged: 1}}))
	shadow, err := s.ShadowSummary(t.Context(), pair, 1)
	require.NoError(t, err)
	events, err := s.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 1)

	require.NoError(t, s.Migrate(t.Context()))

	found, err := s.DecisionsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, found, len(old))
	for i, want := range old {
		require.Equal(t, ledger.Decision{Decision: undigested(want), Seq: int64(i + 1)}, found[i], "in order of ids")
		if want.UID != "" {
			recorded, err := s.Recorded(t.Context(), want.RequestKey())
			require.NoError(t, err)
			require.Equal(t, want, recorded)
		}
	}
	after, err := s.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, events, after)
	shadowAfter, err := s.ShadowSummary(t.Context(), pair, 1)
	require.NoError(t, err)
	require.Equal(t, shadow, shadowAfter)
	require.Equal(t, []string{"ok"}, texts(t, s, `select integrity_check from pragma_integrity_check`))

	again := allow(researcher)
	again.UID = old[0].UID
	recorded, err := s.Record(t.Context(), again)
	require.NoError(t, err)
	require.Equal(t, old[0].ID, recorded.ID, "what was answered stays the answer")
}

func TestMigratingBackAndForthKeepsTheAnswers(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	answered := []admission.Decision{allow(researcher), deny(retired)}
	answered[0].UID, answered[0].Digest = "uid", sha256.Sum256([]byte("body"))
	failed := allow(researcher)
	failed.Failed = &admission.Failure{Code: admission.CodePolicyError, Detail: "no verdict"}
	for _, d := range append(answered, failed) {
		_, err := s.Record(t.Context(), d)
		require.NoError(t, err)
	}

	_, err := provider(t, s).DownTo(t.Context(), 4)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))

	for _, d := range answered {
		read, err := s.Decision(t.Context(), d.ID)
		require.NoError(t, err)
		require.Equal(t, undigested(d), read.Decision)
	}
	recorded, err := s.Recorded(t.Context(), answered[0].RequestKey())
	require.NoError(t, err)
	require.Equal(t, answered[0], recorded)
	_, err = s.Decision(t.Context(), failed.ID)
	require.ErrorIs(t, err, ledger.ErrNoDecision, "the earlier version has no place for errors")
}

// A uid of before uids had callers is that of its decision's caller, and no other's.
func TestOldUIDsBelongToTheCallersOfTheirDecisions(t *testing.T) {
	s := open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	_, err := provider(t, s).UpTo(t.Context(), 7)
	require.NoError(t, err)
	old := oldDecisions(t)
	named, unnamed := old[0], old[3]
	unnamed.Caller = ""
	insertOld(t, s, named)
	insertOld(t, s, unnamed)
	_, err = s.Writer().ExecContext(t.Context(), oldUIDSQL, "of nothing", named.Digest[:], uuid.NewString(), named.At.Format(oldTime))
	require.NoError(t, err)

	require.NoError(t, s.Migrate(t.Context()))

	for _, want := range []admission.Decision{named, unnamed} {
		recorded, err := s.Recorded(t.Context(), want.RequestKey())
		require.NoError(t, err)
		require.Equal(t, want, recorded)
		again := allow(researcher)
		again.Caller, again.UID = want.Caller, want.UID
		recorded, err = s.Record(t.Context(), again)
		require.NoError(t, err)
		require.Equal(t, want.ID, recorded.ID, "what was answered stays the answer")
	}
	other := allow(researcher)
	other.Caller, other.UID = "another registry", named.UID
	_, err = s.Recorded(t.Context(), other.RequestKey())
	require.ErrorIs(t, err, admission.ErrNotRecorded)
	recorded, err := s.Record(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, other.ID, recorded.ID)
	require.Equal(t, []string{"uid 1", "uid 1", "uid 4"}, texts(t, s, `select uid from request_uids order by uid`))

	_, err = provider(t, s).DownTo(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, []string{named.ID.String(), unnamed.ID.String()}, texts(t, s, `select decision_id from request_uids order by uid`))
	require.NoError(t, s.Migrate(t.Context()))
	recorded, err = s.Recorded(t.Context(), named.RequestKey())
	require.NoError(t, err)
	require.Equal(t, named, recorded)
}

func provider(t *testing.T, s *sqlite.Store) *goose.Provider {
	t.Helper()
	p, err := goose.NewProvider(goose.DialectSQLite3, s.Writer(), os.DirFS("migrations"),
		goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	return p
}

// oldDecisions are an allow with a uid, one without, a deny with a warning, a deny that marked its workspace, and a
// deny by a server that ran dry, in order of their ids.
func oldDecisions(t *testing.T) []admission.Decision {
	t.Helper()
	all := []admission.Decision{allow(researcher), allow(spender), deny(retired), deny(modelless), deny(concierge)}
	for i := range all {
		id, err := admission.NewDecisionID(all[i].At.Add(time.Duration(i) * time.Second))
		require.NoError(t, err)
		all[i].ID = id
		all[i].Input = []byte(`{"hook":"register","n":1.50,"é":"\u2028"}`)
	}
	all[0].UID, all[0].Digest = "uid 1", sha256.Sum256([]byte("body 1"))
	warning := all[2].Verdict.Violations[0]
	warning.Enforcement, warning.Declared, warning.Message = admission.Warn, admission.Deny, "line one\nline \"two\""
	all[2].Verdict = admission.NewVerdict([]admission.Violation{warning, all[2].Verdict.Violations[0]}, "revision")
	all[2].Hook, all[2].CallerProof, all[2].Caller, all[2].Kind = "heartbeat", admission.Bootstrap, "", "other"
	all[3].UID, all[3].Digest = "uid 4", sha256.Sum256([]byte("body 4"))
	require.NoError(t, all[3].Mark())
	all[4].DryRun, all[4].Unenforced = true, true
	return all
}

func insertOld(t *testing.T, s *sqlite.Store, d admission.Decision) {
	t.Helper()
	exec := func(statement string, args ...any) {
		_, err := s.Writer().ExecContext(t.Context(), statement, args...)
		require.NoError(t, err)
	}
	text := func(v any) string {
		marshalled, err := json.Marshal(v)
		require.NoError(t, err)
		return string(marshalled)
	}
	var uid, code, reason, eventID, event sql.NullString
	if d.UID != "" {
		uid = sql.NullString{String: d.UID, Valid: true}
		exec(oldUIDSQL, d.UID, d.Digest[:], d.ID.String(), d.At.Format(oldTime))
	}
	if denying := d.Verdict.Denying(); denying != nil {
		code, reason = sql.NullString{String: denying.Code, Valid: true}, sql.NullString{String: denying.Reason, Valid: true}
	}
	if d.Event != nil {
		eventID, event = sql.NullString{String: d.Event.ID.String(), Valid: true}, sql.NullString{String: text(d.Event), Valid: true}
		exec(oldEventSQL, d.Event.ID.String(), d.WorkspaceID.String(), d.Event.Event, d.ID.String(), d.Hook, event, d.At.Format(oldTime))
	}
	exec(oldDecisionSQL, d.ID.String(), d.At.Format(oldTime), uid, d.Hook, d.Caller, string(d.CallerProof),
		d.WorkspaceID.String(), d.Kind, d.Verdict.Allowed(), code, reason, d.Verdict.Revision, d.MarkedFailed,
		text(d.Verdict.Violations), eventID, event, string(d.Input), d.Timings.Facts.Microseconds(),
		d.Timings.Policy.Microseconds(), d.DryRun)
}

func oldDivergence(of admission.Decision) (shadow.Divergence, shadow.Pair) {
	pair := shadow.Pair{Live: "live", Candidate: "candidate"}
	return shadow.Divergence{
		ID: uuid.Must(uuid.NewV7()), At: of.At, Kind: admission.AllowToDeny, Rule: "rule", Code: "CODE",
		DecisionID: of.ID, WorkspaceID: of.WorkspaceID, Hook: of.Hook,
		Live: admission.Verdict{Revision: pair.Live}, Candidate: admission.Verdict{Revision: pair.Candidate},
	}, pair
}

// undigested is d as pages and look-ups by id give it.
func undigested(d admission.Decision) admission.Decision {
	d.Digest = [sha256.Size]byte{}
	return d
}
