package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

func TestAuditAsksAsIfTheWorkspaceRegistered(t *testing.T) {
	for row, want := range map[string]string{
		`{"kind": "platform", "url": "https://a.example.com", "delivery_mode": "push", "name": "a", "tier": 1}`: `"url": "https://a.example.com", "kind": "platform", "delivery_mode": "push"`,
		`{"kind": "workspace", "url": null, "delivery_mode": null}`:                                             `"kind": "workspace"`,
		`{"kind": "workspace", "id": "another"}`:                                                                `"kind": "workspace"`,
	} {
		r := &rules{}
		m := newMemory(stored(t, 1, row))
		_, err := m.on(r, func(o *audit.Options) { o.Deployment.SaaS = true }).Run(t.Context())
		require.NoError(t, err)
		require.Len(t, r.asked, 1)
		in := r.asked[0]
		require.JSONEq(t, `{"id": "`+id(1).String()+`", `+want+`}`, string(in.Request))
		require.Equal(t, admission.Input{
			Hook: "register", CallerProof: admission.Token, Request: in.Request, Facts: m.rows[0].Facts,
			URL: in.URL, Deployment: admission.Deployment{SaaS: true},
		}, in)
	}
	r := &rules{}
	_, err := newMemory(stored(t, 1, `{"kind": "workspace", "url": "http://2852039166/"}`)).on(r).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "169.254.169.254", r.asked[0].URL.IP)
}

func TestAuditRunCountsAndFindings(t *testing.T) {
	m := newMemory(named(t, "good", "nameless loud", "spender", "quiet loud", "quiet", "broken", "good")...)
	m.rows = append(m.rows,
		stored(t, 8, `{"kind": "workspace", "url": "\u0000"}`), // cannot have come as a request
		audit.StoredWorkspace{ID: id(9)},                       // cannot be read
	)
	run, err := m.on(&rules{revision: "r1"}).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, audit.Finished, run.State)
	require.NotNil(t, run.FinishedAt)
	require.Equal(t, "r1", run.Revision)
	require.Equal(t, []int64{9, 2, 2, 3, 0}, []int64{run.Evaluated, run.Denied, run.Warned, run.Failed, run.Marked})
	require.Equal(t, map[string]int64{"NAMELESS": 1, "SPENDER": 1, "LOUD": 2, "QUIET": 2}, run.Violations)
	require.Equal(t, run, m.runs[0])

	type told struct {
		workspace    uuid.UUID
		denied       bool
		code         string
		violations   int
		failed       admission.Code
		kind, status string
	}
	var all []told
	for _, f := range m.findings[run.ID] {
		require.Equal(t, run.ID, f.RunID)
		require.False(t, f.Marked)
		require.Zero(t, f.DecisionID)
		all = append(all, told{f.WorkspaceID, f.Denied, f.Code, len(f.Violations), f.Error, f.Kind, f.Status})
	}
	require.Equal(t, []told{
		{id(2), true, "NAMELESS", 2, "", "workspace", "online"},
		{id(3), true, "SPENDER", 1, "", "workspace", "online"},
		{id(4), false, "QUIET", 2, "", "workspace", "online"},
		{id(5), false, "QUIET", 1, "", "workspace", "online"},
		{id(6), false, "", 0, admission.CodePolicyError, "workspace", "online"},
		{id(8), false, "", 0, admission.CodeMalformedRequest, "workspace", ""},
		{id(9), false, "", 0, admission.CodeFactsUnavailable, "", ""},
	}, all)
}

func TestAuditRunUsesOneSnapshot(t *testing.T) {
	first, second := &rules{revision: "r1"}, &rules{revision: "r2"}
	live := first
	first.before = func(admission.Input) { live = second }
	m := newMemory(named(t, "a", "b", "c")...)
	run, err := m.on(nil, func(o *audit.Options) { o.Policies = func() audit.Ruleset { return live } }).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "r1", run.Revision)
	require.Len(t, first.asked, 3)
	require.Empty(t, second.asked)
}

func TestAuditNeedsPoliciesOfTheHook(t *testing.T) {
	m := newMemory()
	_, err := m.on(nil, func(o *audit.Options) { o.Policies = func() audit.Ruleset { return nil } }).Run(t.Context())
	require.ErrorContains(t, err, "no policies are active")
	_, err = m.on(nil, func(o *audit.Options) { o.Policies = func() audit.Ruleset { return heartbeats{&rules{}} } }).Run(t.Context())
	require.ErrorContains(t, err, "no policy defines the hook register")
	require.Empty(t, m.runs)
	require.False(t, m.held)
}

type heartbeats struct{ *rules }

func (heartbeats) HasHook(string) bool { return false }

// stopAt ends ctx when the rules are asked about a workspace.
func (r *rules) stopAt(stop context.CancelFunc, n int) {
	r.before = func(in admission.Input) {
		if strings.Contains(string(in.Request), id(n).String()) {
			stop()
		}
	}
}

func TestAuditResumesAnInterruptedRun(t *testing.T) {
	m := newMemory(named(t, "nameless", "good", "nameless", "good", "nameless")...)
	r := &rules{revision: "r1"}
	ctx, stop := context.WithCancel(t.Context())
	r.stopAt(stop, 4)
	first, err := m.on(r).Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, audit.Running, first.State)
	require.EqualValues(t, 3, first.Evaluated)
	require.Equal(t, id(3), m.runs[0].Cursor)
	require.Len(t, m.findings[first.ID], 2)

	r.before = nil
	second, err := m.on(r).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	require.Equal(t, first.StartedAt, second.StartedAt)
	require.Equal(t, audit.Finished, second.State)
	require.EqualValues(t, 5, second.Evaluated)
	require.Equal(t, map[string]int64{"NAMELESS": 3}, second.Violations)
	require.Len(t, m.findings[first.ID], 3)
	require.Greater(t, second.Worked, first.Worked)

	third, err := m.on(r).Run(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first.ID, third.ID, "a run that is finished stays so")
}

func TestAuditAbandonsARunOfOtherSettings(t *testing.T) {
	for name, change := range map[string]func(*memory, *rules, *audit.Options){
		"other policies":                 func(_ *memory, r *rules, _ *audit.Options) { r.revision = "r2" },
		"other effect":                   func(m *memory, _ *rules, o *audit.Options) { o.Gate = m.gate() },
		"other place":                    func(_ *memory, _ *rules, o *audit.Options) { o.Deployment.SaaS = true },
		"other facts":                    func(_ *memory, _ *rules, o *audit.Options) { o.FactsRevision = "f2" },
		"asked to":                       func(_ *memory, _ *rules, o *audit.Options) { o.Fresh = true },
		"of before its setting was kept": func(m *memory, _ *rules, _ *audit.Options) { m.runs[0].Deployment = nil },
	} {
		m := newMemory(named(t, "a", "b", "c", "d")...)
		r := &rules{revision: "r1"}
		ctx, stop := context.WithCancel(t.Context())
		r.stopAt(stop, 3)
		first, err := m.on(r).Run(ctx)
		require.ErrorIs(t, err, context.Canceled)
		r.before = nil
		second, err := m.on(r, func(o *audit.Options) { change(m, r, o) }).Run(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, first.ID, second.ID, name)
		require.EqualValues(t, 4, second.Evaluated, name)
		require.Equal(t, audit.Abandoned, m.runs[1].State, name)
		require.EqualValues(t, 2, m.runs[1].Evaluated, name)
	}
}

func TestAuditRunsInOneProcessAtATime(t *testing.T) {
	m := newMemory(named(t, "a", "b", "c")...)
	r := &rules{}
	r.before = func(admission.Input) {
		_, err := m.on(&rules{}).Run(context.Background())
		if err != audit.ErrBusy { //nolint:errorlint // it is returned as it is
			panic(err)
		}
	}
	_, err := m.on(r).Run(t.Context())
	require.NoError(t, err)
	require.Len(t, r.asked, 3)
}

func TestAuditStopsWhenItsLockIsLost(t *testing.T) {
	m := newMemory(named(t, "a", "b", "c")...)
	r := &rules{revision: "r1"}
	var lost context.Context
	r.before = func(admission.Input) {
		if lost == nil {
			lost = context.Background()
			close(m.lost)
		}
	}
	results := &results{}
	// The rest of the page waits for a turn that does not come before the loss was heard of.
	waited := false
	_, err := m.on(r, func(o *audit.Options) {
		o.Meter = results
		o.Evaluator.Turns = turnFunc(func(ctx context.Context) error {
			if waited {
				<-ctx.Done()
			}
			waited = true
			return ctx.Err()
		})
	}).Run(t.Context())
	require.ErrorIs(t, err, audit.ErrLost)
	require.Equal(t, 1, m.saves, "its beginning")
	require.Zero(t, m.runs[0].Evaluated)
	require.Equal(t, []string{audit.Interrupted}, results.all)
}

// results note what became of runs.
type results struct{ all []string }

func (r *results) AuditRan(result string) { r.all = append(r.all, result) }

func TestAuditFailsAndResumesWhereTheStoreWasAway(t *testing.T) {
	m := newMemory(named(t, "a", "b", "c")...)
	r := &rules{revision: "r1"}
	r.before = func(admission.Input) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.fail = errAway
	}
	results := &results{}
	meter := func(o *audit.Options) { o.Meter = results }
	first, err := m.on(r, meter).Run(t.Context())
	require.ErrorIs(t, err, errAway)
	_, err = m.on(r, meter).Run(t.Context())
	require.ErrorIs(t, err, errAway)

	m.fail, r.before = nil, nil
	second, err := m.on(r, meter).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	require.EqualValues(t, 3, second.Evaluated)
	require.Equal(t, []string{audit.Failed, audit.Failed, string(audit.Finished)}, results.all)
}

func TestAuditPrunesOldRuns(t *testing.T) {
	m := newMemory()
	for range audit.Kept + 3 {
		_, err := m.on(&rules{}).Run(t.Context())
		require.NoError(t, err)
	}
	require.Len(t, m.runs, audit.Kept)
}

func TestSettingLastIgnoresCandidatesAndOtherSettings(t *testing.T) {
	m := newMemory(named(t, "a")...)
	here := audit.Setting{Deployment: admission.Deployment{SaaS: true}, FactsRevision: "f1"}
	ran := func(change func(*audit.Options)) audit.Run {
		run, err := m.on(&rules{revision: "r1"}, func(o *audit.Options) { o.Setting = here }, change).Run(t.Context())
		require.NoError(t, err)
		return run
	}
	require.Nil(t, here.Last(m.runs))
	live := ran(func(*audit.Options) {})
	for range audit.Kept + 3 {
		require.True(t, ran(func(o *audit.Options) { o.Candidate = true }).Candidate)
	}
	ran(func(o *audit.Options) { o.Deployment.SaaS = false })
	ran(func(o *audit.Options) { o.FactsRevision = "f2" })
	require.Equal(t, live, *here.Last(m.runs), "and it is kept")
	require.LessOrEqual(t, len(m.runs), audit.Most)

	live = ran(func(*audit.Options) {})
	require.Equal(t, live, *here.Last(m.runs))
	m.runs[0].State = audit.Abandoned
	require.NotEqual(t, live.ID, here.Last(m.runs).ID)
}

func TestAuditRunOfACandidateBecomesLiveOnResume(t *testing.T) {
	m := newMemory(named(t, "a", "b", "c")...)
	r := &rules{revision: "r1"}
	ctx, stop := context.WithCancel(t.Context())
	r.stopAt(stop, 3)
	first, err := m.on(r, func(o *audit.Options) { o.Candidate = true }).Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, first.Candidate)
	r.before = nil
	second, err := m.on(r).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	require.False(t, m.runs[0].Candidate)
}

func TestAuditToleratesWorkspacesThatComeAndGo(t *testing.T) {
	m := newMemory(named(t, "a", "b", "c", "d", "e")...)
	r := &rules{}
	r.before = func(admission.Input) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.rows = append(m.rows[:0:0], stored(t, 1, `{"kind": "workspace", "name": "nameless"}`), stored(t, 7, `{"kind": "workspace"}`))
	}
	run, err := m.on(r, func(o *audit.Options) { o.Rate, o.Gate = 1000, m.gate() }).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, audit.Finished, run.State)
	require.LessOrEqual(t, run.Evaluated, int64(6))
}

func TestAuditEvaluationsHaveADeadline(t *testing.T) {
	m := newMemory(named(t, "hanging", "nameless")...)
	run, err := m.on(&rules{}, func(o *audit.Options) { o.Evaluator.Timeout = time.Millisecond }).Run(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, run.Failed)
	require.EqualValues(t, 1, run.Denied)
	require.Equal(t, admission.CodePolicyError, m.findings[run.ID][0].Error)
}

// disagreeing are rules whose evaluators disagree on workspaces called "nameless".
type disagreeing struct{ *rules }

func (d disagreeing) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	verdict, err := d.rules.Evaluate(ctx, in, at)
	if err == nil && !verdict.Allowed() {
		err = &admission.Disagreement{Rules: []string{"named"}}
	}
	return verdict, err
}

func (d disagreeing) OfStored(context.Context, string, []string) (audit.Stored, error) {
	return audit.Stored{Rules: d}, nil
}

// Where the fast path and OPA disagree on a workspace, the audit has no verdict on it and enforces nothing. It goes on with
// the others, and fails in the end.
func TestAuditFailsWhereEvaluatorsDisagree(t *testing.T) {
	m := newMemory(named(t, "a", "nameless", "c")...)
	run, err := m.on(disagreeing{&rules{revision: "r1"}}, func(o *audit.Options) { o.Gate = m.gate() }).Run(t.Context())
	require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
	require.ErrorContains(t, err, "no verdict on 1 workspaces")
	require.ErrorContains(t, err, "evaluators disagree on rule named")
	require.Equal(t, audit.Finished, run.State)
	require.EqualValues(t, 3, run.Evaluated)
	require.EqualValues(t, 1, run.Failed)
	require.Zero(t, run.Denied)
	require.Zero(t, run.Marked)
	require.Equal(t, admission.CodePolicyError, m.findings[run.ID][0].Error)
}

// A removed workspace never registers again. If it were judged, it would be a violation in every audit.
func TestAuditHoldsRemovedWorkspacesToNothing(t *testing.T) {
	m := newMemory(
		stored(t, 1, `{"kind": "workspace", "name": "nameless", "status": "removed"}`),
		stored(t, 2, `{"kind": "workspace", "name": "nameless", "status": "paused"}`),
	)
	run, err := m.on(&rules{revision: "r1"}, func(o *audit.Options) { o.Gate = m.gate() }).Run(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, run.Evaluated)
	require.EqualValues(t, 1, run.Denied)
	require.Equal(t, map[string]int64{"NAMELESS": 1}, run.Violations)
	require.Len(t, m.findings[run.ID], 1)
}
