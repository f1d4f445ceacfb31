package audit_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

func (m *memory) enforcing(r *rules) *audit.Audit {
	return m.on(r, func(o *audit.Options) { o.Gate = m.gate() })
}

func TestEnforcingAuditDeniesOnlyWhatMarks(t *testing.T) {
	m := newMemory(named(t, "good", "nameless", "spender", "loud", "broken")...)
	run, err := m.enforcing(&rules{revision: "r1"}).Run(t.Context())
	require.NoError(t, err)
	require.True(t, run.Enforce)
	require.Equal(t, []int64{5, 2, 1, 1, 1}, []int64{run.Evaluated, run.Denied, run.Warned, run.Failed, run.Marked})

	require.Len(t, m.ledger, 1)
	uid := "audit:" + run.ID.String() + ":" + id(2).String()
	d := m.ledger[uid]
	require.Equal(t, "audit", d.Caller)
	require.Equal(t, admission.Token, d.CallerProof)
	require.Equal(t, "register", d.Hook)
	require.True(t, d.MarkedFailed)
	require.Equal(t, "NAMELESS", d.Event.Payload.Code)
	require.JSONEq(t, `{"id": "`+id(2).String()+`", "kind": "workspace"}`, requestOf(t, d))

	finding := m.findings[run.ID][0]
	require.Equal(t, d.ID, finding.DecisionID)
	require.True(t, finding.Marked)
	require.True(t, finding.Denied)
}

func requestOf(t *testing.T, d admission.Decision) string {
	in, err := admission.ReadInput(d.Input)
	require.NoError(t, err)
	return string(in.Request)
}

// The workspace was mended after its page was read and before the deny. Nothing is denied for facts of before.
func TestEnforcingAuditReadsTheFactsAgain(t *testing.T) {
	m := newMemory(stored(t, 1, `{"kind": "workspace", "name": "nameless", "url": "http://old.example.com"}`))
	r := &rules{}
	r.before = func(admission.Input) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.rows[0] = stored(t, 1, `{"kind": "workspace", "name": "good", "url": "https://new.example.com"}`)
	}
	run, err := m.enforcing(r).Run(t.Context())
	require.NoError(t, err)
	require.Zero(t, run.Denied)
	require.Empty(t, m.findings[run.ID])
	require.Len(t, r.asked, 2)
	require.Equal(t, "old.example.com", r.asked[0].URL.Host)
	require.Equal(t, "new.example.com", r.asked[1].URL.Host)
	for _, d := range m.ledger {
		require.True(t, d.Verdict.Allowed())
		require.Contains(t, requestOf(t, d), "https://new.example.com")
	}
}

func TestEnforcingAuditReportsADenyThatCannotBeRecorded(t *testing.T) {
	m := newMemory(named(t, "nameless", "nameless")...)
	gate := m.gate()
	gate.Ledger = away{m}
	run, err := m.on(&rules{}, func(o *audit.Options) { o.Gate = gate }).Run(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, run.Failed)
	require.Zero(t, run.Denied)
	finding := m.findings[run.ID][0]
	require.Equal(t, admission.CodeRecordFailed, finding.Error)
	require.Equal(t, "NAMELESS", finding.Code)
	require.False(t, finding.Denied)
}

// away is a ledger that can be read only.
type away struct{ *memory }

func (away) RecordAndMark(context.Context, admission.Decision, admission.Facts, admission.Judge) (admission.Judged, error) {
	return admission.Judged{}, errAway
}

// A killed process had denied a workspace without saving its finding. The process that resumes counts the deny and does not
// repeat it.
func TestEnforcingAuditDeniesOnceAfterAKill(t *testing.T) {
	m := newMemory(named(t, "nameless", "nameless", "nameless")...)
	r := &rules{revision: "r1"}
	r.before = func(in admission.Input) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		if len(m.ledger) == 2 {
			m.fail = errAway // as if it were killed before the page is saved
		}
	}
	_, err := m.enforcing(r).Run(t.Context())
	require.ErrorIs(t, err, errAway)
	require.Zero(t, m.runs[0].Evaluated)
	before := len(m.ledger)
	require.GreaterOrEqual(t, before, 2)
	first := m.ledger["audit:"+m.runs[0].ID.String()+":"+id(1).String()]

	m.fail, r.before = nil, nil
	run, err := m.enforcing(r).Run(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, run.Marked)
	require.Len(t, m.ledger, 3)
	require.Equal(t, first.ID, m.findings[run.ID][0].DecisionID)
}

// A run may be interrupted anywhere, with any number of workers. In the end it has seen each workspace once, and its result
// is that of one uninterrupted run.
func TestInterruptedAuditsAddUpToOne(t *testing.T) {
	words := []string{"good", "good", "nameless", "spender", "loud", "quiet", "broken", "nameless loud", "spender quiet"}
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom(words), 0, 40).Draw(rt, "names")
		enforce := rapid.Bool().Draw(rt, "enforce")
		once := newMemory(named(rt, names...)...)
		want, err := once.on(&rules{revision: "r1"}, func(o *audit.Options) {
			if enforce {
				o.Gate = once.gate()
			}
		}).Run(rt.Context())
		require.NoError(rt, err)

		m := newMemory(named(rt, names...)...)
		var got audit.Run
		for done := false; !done; {
			ctx, stop := context.WithCancel(rt.Context())
			turns := rapid.IntRange(1, 25).Draw(rt, "turns")
			lose := rapid.IntRange(0, 4).Draw(rt, "lose") == 0
			m.lost = make(chan struct{})
			turn := make(chan struct{}, turns)
			got, err = m.on(&rules{revision: "r1"}, func(o *audit.Options) {
				o.Parallel = rapid.IntRange(1, 4).Draw(rt, "parallel")
				o.Rate = rapid.SampledFrom([]int{0, 1e6}).Draw(rt, "rate")
				o.Evaluator.Turns = turnFunc(func(ctx context.Context) error {
					select {
					case turn <- struct{}{}:
						return ctx.Err()
					default:
					}
					if lose {
						m.mutex.Lock()
						select {
						case <-m.lost:
						default:
							close(m.lost)
						}
						m.mutex.Unlock()
					} else {
						stop()
					}
					<-ctx.Done()
					return ctx.Err()
				})
				if enforce {
					o.Gate = m.gate()
				}
			}).Run(ctx)
			stop()
			done = err == nil
		}
		require.Len(rt, m.runs, 1)
		require.Equal(rt, comparable(want), comparable(got))
		require.Equal(rt, findingsOf(once), findingsOf(m))
		require.Len(rt, m.ledger, len(once.ledger))
	})
}

// comparable is a run without what differs in every run.
func comparable(run audit.Run) audit.Run {
	run.ID, run.StartedAt, run.UpdatedAt, run.FinishedAt, run.Worked = id(0), time.Time{}, time.Time{}, nil, 0
	if len(run.Violations) == 0 {
		run.Violations = nil
	}
	return run
}

func findingsOf(m *memory) []audit.Finding {
	found := slices.Clone(m.findings[m.runs[0].ID])
	for i := range found {
		found[i].RunID, found[i].DecisionID = id(0), id(0)
	}
	return found
}
