package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	model        = "MODEL"
	hook         = "register"
	revision     = "revision-1"
	identityGate = "PLATFORM_AGENT_IDENTITY_GATE"
	modelMissing = "the platform agent has no MODEL secret"
)

var errJudge = errors.New("the policies gave no verdict")

// platform is a row as the registry inserts it; change is applied to it.
func platform(change ...func(*admission.Workspace)) admission.Workspace {
	w := admission.Workspace{
		Name: "concierge", Kind: "platform", Status: new("provisioning"), Tier: new(int64(1)), DeliveryMode: "push",
	}
	for _, c := range change {
		c(&w)
	}
	return w
}

func status(s string) func(*admission.Workspace) {
	return func(w *admission.Workspace) { w.Status = &s }
}

func nullStatus(w *admission.Workspace) { w.Status = nil }

// ordinary is for tests that need several rows: the registry takes one platform row a database.
func ordinary(w *admission.Workspace) { w.Kind = "workspace" }

func deny(message string) admission.Violation {
	return admission.Violation{
		Rule: "platform_requires_model", Code: identityGate, Reason: "model_missing", Message: message,
		Severity: admission.Critical, Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		Answer: "platform agent identity incomplete",
	}
}

func allowed() admission.Verdict { return admission.NewVerdict(nil, revision) }

func denied(message string) admission.Verdict {
	return admission.NewVerdict([]admission.Violation{deny(message)}, revision)
}

// modelRule is the policy of these tests: a stored row needs its MODEL.
func modelRule(facts admission.Facts) admission.Verdict {
	if facts.Exists && !slices.Contains(facts.SecretKeys, model) {
		return denied(modelMissing)
	}
	return allowed()
}

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func decision(t require.TestingT, workspace uuid.UUID, verdict admission.Verdict) admission.Decision {
	id, err := uuid.NewV7()
	require.NoError(t, err)
	return admission.Decision{
		ID: id, At: time.Now().UTC().Truncate(time.Microsecond), Hook: hook, Caller: "registry",
		CallerProof: admission.Token, Trace: admission.Trace{RequestID: "req-" + id.String(), Parent: traceParent}, WorkspaceID: workspace, Kind: "platform", Verdict: verdict,
		Input:   []byte(`{"hook":"register","request":{"id":"` + workspace.String() + `","n":1.50,"é":"\u2028"}}`),
		Timings: admission.Timings{Facts: 1234 * time.Microsecond, Policy: 56 * time.Microsecond},
	}
}

// key is that of decision's caller.
func key(uid string) admission.RequestKey { return admission.RequestKey{Caller: "registry", UID: uid} }

// of makes d a decision of another caller.
func of(caller string, d admission.Decision) admission.Decision {
	d.Caller = caller
	return d
}

func withUID(d admission.Decision, uid, body string) admission.Decision {
	d.UID, d.Digest = uid, sha256.Sum256([]byte(body))
	return d
}

// judgement is a Judge by modelRule that remembers what it saw.
type judgement struct {
	of    admission.Decision
	calls atomic.Int64
	last  atomic.Pointer[admission.Facts]
}

func (j *judgement) judge(_ context.Context, facts admission.Facts) (admission.Judged, error) {
	j.calls.Add(1)
	j.last.Store(&facts)
	d := j.of
	d.Verdict = modelRule(facts)
	return admission.Judged{Decision: d}, nil
}

func neverJudged(t testing.TB) admission.Judge {
	return func(context.Context, admission.Facts) (admission.Judged, error) {
		t.Error("the facts had not changed, yet they were judged again")
		return admission.Judged{}, errJudge
	}
}

func facts(t testing.TB, s Store, id uuid.UUID) admission.Facts {
	t.Helper()
	f, err := s.Facts(t.Context(), id)
	require.NoError(t, err)
	return f
}

// register goes the gate's way through the store: facts, verdict, record.
func register(t testing.TB, s Store, d admission.Decision) (admission.Decision, error) {
	seen := facts(t, s, d.WorkspaceID)
	d.Verdict = modelRule(seen)
	if d.Verdict.Marking() == nil || !seen.Exists {
		return s.Record(t.Context(), d)
	}
	return mark(t.Context(), s, d, seen)
}

// mark records a decision that marks, and decides again by modelRule.
func mark(ctx context.Context, s Store, d admission.Decision, seen admission.Facts) (admission.Decision, error) {
	judged, err := s.RecordAndMark(ctx, d, seen, (&judgement{of: d}).judge)
	return judged.Decision, err
}

func mustRegister(t testing.TB, s Store, d admission.Decision) admission.Decision {
	t.Helper()
	recorded, err := register(t, s, d)
	require.NoError(t, err)
	return recorded
}

// requireNoEffects says that nothing of the workspace was touched since its row was before.
func requireNoEffects(t testing.TB, h Harness, id uuid.UUID, before Row) {
	t.Helper()
	require.Equal(t, before, h.Row(t, id))
	requireEvents(t, h, id, 0)
}

func requireEvents(t testing.TB, h Harness, id uuid.UUID, n int) {
	t.Helper()
	if structure, kept := h.StructureEvents(t, id); kept {
		require.Len(t, structure, n, "structure events")
	}
	outgoing := h.OutgoingEvents(t, id)
	require.Len(t, outgoing, n, "outgoing events")
	ids := make([]uuid.UUID, 0, n)
	for _, e := range outgoing {
		ids = append(ids, e.ID)
	}
	announced := make([]uuid.UUID, 0, n)
	for _, a := range h.Announced(t, id) {
		announced = append(announced, a.ID)
	}
	require.ElementsMatch(t, ids, announced, "what is in the ledger was handed to the outbox")
}

// requireSame compares field by field. No violations are no violations, be they nil or empty; an event that is
// read back in its answer has no sequence.
func requireSame(t testing.TB, want, got admission.Decision) {
	t.Helper()
	if want.Event != nil {
		event := *want.Event
		event.Sequence = 0
		want.Event = &event
	}
	if len(want.Verdict.Violations) == 0 && len(got.Verdict.Violations) == 0 {
		want.Verdict.Violations, got.Verdict.Violations = nil, nil
	}
	require.Equal(t, string(want.Input), string(got.Input), "the input, to the byte")
	require.Equal(t, want, got)
}
