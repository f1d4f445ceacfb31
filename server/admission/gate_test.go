package admission_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const register = `{"workspace": {"id": "` + workspaceID + `", "url": "https://agent.example.com"}}`

func named(uid string) string {
	return `{"uid": "` + uid + `", "workspace": {"id": "` + workspaceID + `", "url": "https://agent.example.com"}}`
}

func TestGateDenyGoesThroughEveryStageInOrder(t *testing.T) {
	f := newFixture(t)
	f.gate.Deployment = admission.Deployment{SaaS: true}
	one := review(t, named("r-1"))
	one.Caller = "registry"
	decision, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.Equal(t, []string{"policy", "recorded r-1", "facts", "evaluate", "record and mark", "observed"}, f.lines)

	require.False(t, decision.Verdict.Allowed())
	require.True(t, decision.MarkedFailed)
	require.Equal(t, "no MODEL", decision.Event.Payload.Error)
	require.Equal(t, "r1", decision.Verdict.Revision)
	require.Equal(t, "platform", decision.Kind)
	require.Equal(t, "registry", decision.Caller)
	require.Equal(t, "register", decision.Hook)
	require.Equal(t, admission.Token, decision.CallerProof)
	require.Equal(t, workspaceID, decision.WorkspaceID.String())
	require.Equal(t, one.Digest(), decision.Digest)
	require.EqualValues(t, 7, decision.ID.Version())
	require.Equal(t, time.UTC, decision.At.Location())
	require.Zero(t, decision.At.Nanosecond()%1000, "every store keeps microseconds")
	require.Contains(t, string(decision.Input), `"saas":true`)
	require.Equal(t, []admission.Decision{decision}, f.ledger.decisions)

	stages := f.observer.outcomes[0].Stages
	require.Contains(t, stages, admission.StageFacts)
	require.Contains(t, stages, admission.StagePolicy)
	require.Contains(t, stages, admission.StageLedger)
	require.False(t, f.observer.outcomes[0].Repeated)
}

func TestGateRecordsAllows(t *testing.T) {
	f := newFixture(t)
	f.facts = facts(t, platformRow, "MODEL")
	decision, err := f.review(t.Context(), t, review(t, register))
	require.Nil(t, err)
	require.True(t, decision.Verdict.Allowed())
	require.Nil(t, decision.Event)
	require.Equal(t, []string{"policy", "facts", "evaluate", "record", "observed"}, f.lines)
	require.Equal(t, []admission.Decision{decision}, f.ledger.decisions)
	require.Zero(t, decision.Digest, "without a uid there is nothing to compare")
}

func TestGateMarksOnlyStoredRowsOfMarkingDenies(t *testing.T) {
	unmarked := modelMissing
	unmarked.MarkFailed = false
	warning := modelMissing
	warning.Enforcement = admission.Warn
	for name, test := range map[string]struct {
		violations []admission.Violation
		row        string
		call       string
	}{
		"an allow":                        {nil, platformRow, "record"},
		"a deny that does not mark":       {[]admission.Violation{unmarked}, platformRow, "record"},
		"a warning that would mark":       {[]admission.Violation{warning}, platformRow, "record"},
		"a deny of a row that is not":     {[]admission.Violation{modelMissing}, "", "record"},
		"a deny that marks":               {[]admission.Violation{modelMissing}, platformRow, "record and mark"},
		"a deny that marks, among others": {[]admission.Violation{unmarked, modelMissing, warning}, platformRow, "record and mark"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.facts = facts(t, test.row)
			f.rules.evaluate = func(context.Context, admission.Input) ([]admission.Violation, error) { return test.violations, nil }
			decision, err := f.review(t.Context(), t, review(t, register))
			require.Nil(t, err)
			require.Contains(t, f.lines, test.call)
			require.Len(t, f.ledger.decisions, 1)
			require.Equal(t, test.call == "record and mark", decision.MarkedFailed)
		})
	}
}

func TestGateAnswersEveryFaultWithItsCode(t *testing.T) {
	fails := func(call string) func(*fixture) {
		return func(f *fixture) {
			f.ledger.before = func(_ context.Context, at string) error {
				if at == call {
					return failing(at)
				}
				return nil
			}
		}
	}
	hangs := func(call string) func(*fixture) {
		return func(f *fixture) {
			f.ledger.before = func(ctx context.Context, at string) error {
				if at == call {
					return hang(ctx)
				}
				return nil
			}
		}
	}
	factsAre := func(read func(ctx context.Context) error) func(*fixture) {
		return func(f *fixture) {
			f.gate.Facts = factsFunc(func(ctx context.Context, _ uuid.UUID) (admission.Facts, error) {
				return f.facts, read(ctx)
			})
		}
	}
	verdictIs := func(evaluate func(ctx context.Context) error) func(*fixture) {
		return func(f *fixture) {
			f.rules.evaluate = func(ctx context.Context, _ admission.Input) ([]admission.Violation, error) {
				return nil, evaluate(ctx)
			}
		}
	}
	both := func(first, second func(*fixture)) func(*fixture) {
		return func(f *fixture) { first(f); second(f) }
	}
	longer := func(f *fixture) { f.gate.Limits.Facts, f.gate.Limits.Policy = time.Hour, time.Hour }
	allowed := func(f *fixture) { f.facts = facts(t, platformRow, "MODEL") }
	errNow := func(context.Context) error { return failing("") }

	for name, test := range map[string]struct {
		arrange func(*fixture)
		code    admission.Code
		after   time.Duration
	}{
		"no policies":                    {func(f *fixture) { f.gate.Policy = policyFunc(func() admission.Ruleset { return nil }) }, admission.CodeNotReady, 0},
		"the recorded answer unreadable": {fails("recorded"), admission.CodeRecordFailed, 0},
		"the recorded answer hangs":      {hangs("recorded"), admission.CodeDeadlineExceeded, limits.Request},
		"facts unreadable":               {factsAre(errNow), admission.CodeFactsUnavailable, 0},
		"facts past their deadline":      {factsAre(hang), admission.CodeFactsUnavailable, limits.Facts},
		"facts past the request's":       {both(longer, factsAre(hang)), admission.CodeDeadlineExceeded, limits.Request},
		"no verdict":                     {verdictIs(errNow), admission.CodePolicyError, 0},
		"the verdict past its deadline":  {verdictIs(hang), admission.CodePolicyError, limits.Policy},
		"the verdict past the request's": {both(longer, verdictIs(hang)), admission.CodeDeadlineExceeded, limits.Request},
		"an allow that is not recorded":  {both(allowed, fails("record")), admission.CodeRecordFailed, 0},
		"a record past the deadline":     {both(allowed, hangs("record")), admission.CodeDeadlineExceeded, limits.Request},
		"a deny that is not recorded":    {fails("record and mark"), admission.CodeRecordFailed, 0},
		"a mark past the deadline":       {hangs("record and mark"), admission.CodeDeadlineExceeded, limits.Request},
		"a fault that has a code already": {factsAre(func(context.Context) error {
			return fmt.Errorf("pool: %w", &admission.Error{Code: admission.CodeOverloaded})
		}), admission.CodeOverloaded, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				test.arrange(f)
				start := time.Now()
				_, err := f.review(t.Context(), t, review(t, named("r-1")))
				require.NotNil(t, err)
				require.Equal(t, test.code, err.Code)
				require.NotContains(t, err.Detail, "10.0.0.7", "what happened is for the log")
				require.Equal(t, test.after, time.Since(start))
				require.Equal(t, test.after, f.observer.outcomes[0].Total)
				require.Empty(t, f.ledger.decisions, "nothing is half done")
			})
		})
	}
}

func TestGateRefusesUnknownHooksBeforeReading(t *testing.T) {
	f := newFixture(t)
	one, err := decode.Review("reboot", []byte(named("r-1")), decode.DefaultMaxDepth)
	require.NoError(t, err)
	_, coded := f.review(t.Context(), t, one)
	require.Equal(t, admission.CodeUnknownHook, coded.Code)
	require.Equal(t, []string{"policy", "observed"}, f.lines)
	require.Empty(t, f.observer.outcomes[0].Stages)
}

func TestGateWritesNothingOfADryRun(t *testing.T) {
	for name, keys := range map[string][]string{"deny": nil, "allow": {"MODEL"}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			first, err := f.review(t.Context(), t, review(t, named("r-1")))
			require.Nil(t, err)
			f.lines, f.facts = nil, facts(t, platformRow, keys...)

			one := review(t, `{"uid": "r-1", "dry_run": true, "workspace": `+withID("")+`}`)
			decision, err := f.review(t.Context(), t, one)
			require.Nil(t, err, "another body under the uid of a dry run is no conflict")
			require.Equal(t, []string{"policy", "facts", "evaluate", "observed"}, f.lines)
			require.Equal(t, name == "allow", decision.Verdict.Allowed())
			require.True(t, decision.DryRun)
			require.False(t, decision.MarkedFailed)
			require.Nil(t, decision.Event)
			require.NotEqual(t, first.ID, decision.ID)
			require.Len(t, f.ledger.decisions, 1)
		})
	}
}

func TestGateRepeatsTheAnswerOfAUID(t *testing.T) {
	f := newFixture(t)
	first, err := f.review(t.Context(), t, review(t, named("r-1")))
	require.Nil(t, err)

	f.facts, f.lines = facts(t, platformRow, "MODEL"), nil
	second, err := f.review(t.Context(), t, review(t, named("r-1")))
	require.Nil(t, err)
	require.Equal(t, first, second, "although it would be allowed now")
	require.Equal(t, []string{"policy", "recorded r-1", "observed"}, f.lines, "nothing is read or evaluated again")
	require.True(t, f.observer.outcomes[1].Repeated)

	third, err := f.review(t.Context(), t, review(t, named("r-2")))
	require.Nil(t, err)
	require.True(t, third.Verdict.Allowed())
}

func TestGateRepeatsTheAnswerOfARespeltBody(t *testing.T) {
	f := newFixture(t)
	first, err := f.review(t.Context(), t, review(t, `{"uid": "r-1", "workspace": `+withID(`"url": "https://a.example", "tier": 1`)+`}`))
	require.Nil(t, err)
	for _, workspace := range []string{
		`{"tier": 1, "url": "https://a.example", "id": "` + workspaceID + `"}`,
		withID(`"url": "https://a.example", "tier": 1.0`),
		withID(`"\u0075rl": "https:\/\/\u0061.example", "tier": 10e-1`),
	} {
		again, err := f.review(t.Context(), t, review(t, `{"workspace": `+workspace+`, "uid": "r-1"}`))
		require.Nil(t, err, workspace)
		require.Equal(t, first, again)
	}
	_, err = f.review(t.Context(), t, review(t, `{"uid": "r-1", "workspace": `+withID(`"url": "https://a.example", "tier": 2`)+`}`))
	require.NotNil(t, err)
	require.Equal(t, admission.CodeUIDConflict, err.Code)
}

// A uid that was answered before an upgrade gets the same answer after it, although its digest was made by the earlier version.
func TestGateRepeatsAnswersOfEarlierVersions(t *testing.T) {
	f := newFixture(t)
	workspace := withID(`"url":"https://a.example"`)
	compact := jsontext.Value(workspace)
	require.NoError(t, compact.Compact())
	before := admission.Decision{
		ID: uuid.New(), UID: "r-1", Digest: sha256.Sum256(fmt.Appendf(nil, "8:register5:token%d:%s", len(compact), compact)),
	}
	f.ledger.decisions = append(f.ledger.decisions, before)
	again, err := f.review(t.Context(), t, review(t, `{"uid": "r-1", "workspace": `+workspace+`}`))
	require.Nil(t, err)
	require.Equal(t, before.ID, again.ID)
}

func TestGateKeepsUIDsOfCallersApart(t *testing.T) {
	f := newFixture(t)
	one, other := review(t, named("1")), review(t, `{"uid": "1", "workspace": `+withID("")+`}`)
	one.Caller, other.Caller = "eu", "us"
	first, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	second, err := f.review(t.Context(), t, other)
	require.Nil(t, err)
	require.NotEqual(t, first.ID, second.ID)
	again, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.Equal(t, first, again)
}

func TestGateRefusesAUIDWithAnotherBody(t *testing.T) {
	f := newFixture(t)
	_, err := f.review(t.Context(), t, review(t, named("r-1")))
	require.Nil(t, err)
	for _, body := range []string{
		`{"uid": "r-1", "workspace": ` + withID("") + `}`,
		`{"uid": "r-1", "caller_proof": "install", "workspace": {"id": "` + workspaceID + `", "url": "https://agent.example.com"}}`,
	} {
		_, err = f.review(t.Context(), t, review(t, body))
		require.NotNil(t, err)
		require.Equal(t, admission.CodeUIDConflict, err.Code)
	}
	require.Len(t, f.ledger.decisions, 1)
	require.Empty(t, f.failures, "what the caller got wrong is no fault to record")
	require.Equal(t, admission.EndedRefused, f.observer.outcomes[2].Ending())
}

// Two requests of one uid may both find nothing recorded. The ledger keeps one of them, and both get its answer.
func TestGateGivesOneAnswerInARaceOfOneUID(t *testing.T) {
	for name, test := range map[string]struct {
		winner string
		keys   []string
		code   admission.Code
	}{
		"denied, same body":     {named("r-1"), nil, ""},
		"allowed, same body":    {named("r-1"), []string{"MODEL"}, ""},
		"denied, another body":  {`{"uid": "r-1", "workspace": ` + withID("") + `}`, nil, admission.CodeUIDConflict},
		"allowed, another body": {`{"uid": "r-1", "workspace": ` + withID("") + `}`, []string{"MODEL"}, admission.CodeUIDConflict},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.facts = facts(t, platformRow, test.keys...)
			var won admission.Decision
			f.rules.evaluate = func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
				f.rules.evaluate = requireModel
				var err error
				won, err = f.gate.Review(ctx, review(t, test.winner))
				require.NoError(t, err)
				f.observer.outcomes = nil
				return requireModel(ctx, in)
			}
			decision, err := f.gate.Review(t.Context(), review(t, named("r-1")))
			require.Len(t, f.ledger.decisions, 1)
			require.Len(t, f.observer.outcomes, 1)
			if test.code != "" {
				require.Equal(t, test.code, admission.AsError(err).Code)
				return
			}
			require.NoError(t, err)
			require.Equal(t, won, decision)
			require.True(t, f.observer.outcomes[0].Repeated)
		})
	}
}

func TestGateRecordsThoughTheCallerHangsUp(t *testing.T) {
	for name, keys := range map[string][]string{"deny": nil, "allow": {"MODEL"}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.facts = facts(t, platformRow, keys...)
			ctx, hangUp := context.WithCancel(t.Context())
			f.rules.evaluate = func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
				hangUp()
				return requireModel(ctx, in)
			}
			decision, err := f.review(ctx, t, review(t, register))
			require.Nil(t, err)
			require.Equal(t, keys == nil, decision.MarkedFailed)
			require.Len(t, f.ledger.decisions, 1)
		})
	}
}

// A caller that hangs up is no fault of the gate.
func TestGateRecordsNothingOfAbandonedReviews(t *testing.T) {
	f := newFixture(t)
	ctx, hangUp := context.WithCancel(t.Context())
	f.gate.Facts = factsFunc(func(ctx context.Context, _ uuid.UUID) (admission.Facts, error) {
		hangUp()
		return admission.Facts{}, hang(ctx)
	})
	_, err := f.review(ctx, t, review(t, register))
	require.Equal(t, admission.CodeAbandoned, err.Code)
	require.Empty(t, f.ledger.decisions)
	require.Empty(t, f.failures)
	require.Equal(t, admission.EndedAlone, f.observer.outcomes[0].Ending())
}

func TestGateDeadlineHoldsForTheLedgerAfterAHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, hangUp := context.WithCancel(t.Context())
		f.ledger.before = func(ctx context.Context, _ string) error {
			hangUp()
			require.NoError(t, ctx.Err())
			return hang(ctx)
		}
		start := time.Now()
		_, err := f.review(ctx, t, review(t, register))
		require.Equal(t, admission.CodeDeadlineExceeded, err.Code)
		require.Equal(t, limits.Request, time.Since(start))
	})
}

func TestGateKeepsAShorterDeadlineOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.ledger.before = func(ctx context.Context, _ string) error { return hang(ctx) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := f.review(ctx, t, review(t, register))
		require.Equal(t, admission.CodeDeadlineExceeded, err.Code)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestGateDecidesAgainOnNewFacts(t *testing.T) {
	f := newFixture(t)
	seeded := facts(t, platformRow, "MODEL")
	f.ledger.row = &seeded
	decision, err := f.review(t.Context(), t, review(t, named("r-1")))
	require.Nil(t, err)
	require.True(t, decision.Verdict.Allowed())
	require.False(t, decision.MarkedFailed)
	require.Nil(t, decision.Event)
	require.Contains(t, string(decision.Input), `"secret_keys":["MODEL"]`, "the record has what was judged last")
	require.Equal(t, "r-1", decision.UID)
	require.Equal(t, []admission.Decision{decision}, f.ledger.decisions)
	require.Equal(t, []string{"policy", "recorded r-1", "facts", "evaluate", "record and mark", "evaluate", "observed"}, f.lines)
}

func TestGateDecidesAgainBySameRevision(t *testing.T) {
	f := newFixture(t)
	other := facts(t, `{"kind": "platform", "status": "provisioning"}`)
	f.ledger.row = &other
	f.ledger.before = func(context.Context, string) error {
		f.rules = ruleset{revision: "r2", evaluate: func(context.Context, admission.Input) ([]admission.Violation, error) { return nil, nil }}
		return nil
	}
	// The fixture's rulesets look up what they evaluate when they do, so take one of its own here.
	f.gate.Policy = policyFunc(func() admission.Ruleset {
		f.log("policy")
		return f.rules
	})
	decision, err := f.review(t.Context(), t, review(t, register))
	require.Nil(t, err)
	require.Equal(t, "r1", decision.Verdict.Revision)
	require.False(t, decision.Verdict.Allowed())
	require.Contains(t, string(decision.Input), "provisioning")
	require.Equal(t, 1, count(f.lines, "policy"), "the policies that are live are asked for once")
}

func TestGateKeepsTheCodeOfAFaultWhileDecidingAgain(t *testing.T) {
	for name, evaluate := range map[string]func(context.Context) error{
		"no verdict":                  func(context.Context) error { return errors.New("undefined") },
		"the verdict past a deadline": hang,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				other := facts(t, `{"kind": "platform", "status": "provisioning"}`)
				f.ledger.row = &other
				f.ledger.before = func(context.Context, string) error {
					f.rules.evaluate = func(ctx context.Context, _ admission.Input) ([]admission.Violation, error) {
						return nil, evaluate(ctx)
					}
					return nil
				}
				_, err := f.review(t.Context(), t, review(t, register))
				require.NotNil(t, err)
				require.Equal(t, admission.CodePolicyError, err.Code)
				require.Empty(t, f.ledger.decisions)
			})
		})
	}
}

func TestGateTimesEvaluationsWithoutTheirWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		turns := semaphore.NewWeighted(1)
		f.gate.Turns = admission.Holding{Weighted: turns}
		f.rules.evaluate = func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
			time.Sleep(200 * time.Millisecond) // of the bubble's own time; limits.Policy is 250 ms
			require.NoError(t, ctx.Err())
			return requireModel(ctx, in)
		}
		start := time.Now()
		var reviews sync.WaitGroup
		for range 5 {
			gate := *f.gate
			gate.Observer = &observer{journal: &f.journal}
			reviews.Go(func() {
				_, err := gate.Review(t.Context(), review(t, register))
				require.NoError(t, err)
			})
		}
		reviews.Wait()
		require.Equal(t, time.Second, time.Since(start))
		require.True(t, turns.TryAcquire(1), "every turn is given back")
	})
}

func TestGateDeadlineHoldsWhileWaitingForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.facts = facts(t, platformRow, "MODEL")
		turns := semaphore.NewWeighted(1)
		f.gate.Turns = admission.Holding{Weighted: turns}
		require.True(t, turns.TryAcquire(1))
		start := time.Now()
		_, err := f.review(t.Context(), t, review(t, register))
		require.Equal(t, admission.CodeDeadlineExceeded, err.Code)
		require.Equal(t, limits.Request, time.Since(start))
		require.NotContains(t, f.lines, "evaluate")
		require.Empty(t, f.ledger.decisions)
	})
}

func TestGateTimesEveryStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.gate.Facts = factsFunc(func(context.Context, uuid.UUID) (admission.Facts, error) {
			time.Sleep(3 * time.Millisecond) // of the bubble's own time
			return f.facts, nil
		})
		f.rules.evaluate = func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
			time.Sleep(5 * time.Millisecond)
			return requireModel(ctx, in)
		}
		f.ledger.before = func(context.Context, string) error {
			time.Sleep(7 * time.Millisecond)
			return nil
		}
		decision, err := f.review(t.Context(), t, review(t, named("r-1")))
		require.Nil(t, err)
		require.Equal(t, admission.Timings{Facts: 3 * time.Millisecond, Policy: 5 * time.Millisecond}, decision.Timings)
		require.Equal(t, map[admission.Stage]time.Duration{
			admission.StageFacts:  3 * time.Millisecond,
			admission.StagePolicy: 5 * time.Millisecond,
			admission.StageLedger: 14 * time.Millisecond, // looked the uid up, and recorded
		}, f.observer.outcomes[0].Stages)
		require.Equal(t, 22*time.Millisecond, f.observer.outcomes[0].Total)
	})
}

func count(lines []string, line string) int {
	n := 0
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}

// Deciding again holds the locks of workspaces, so it is given up sooner than other evaluations.
func TestGateDecidesAgainInAFifthOfTheTimeOfAnEvaluation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		other := facts(t, `{"kind": "platform", "status": "provisioning"}`)
		f.ledger.row = &other
		var locked time.Duration
		f.ledger.before = func(context.Context, string) error {
			f.rules.evaluate = func(ctx context.Context, _ admission.Input) ([]admission.Violation, error) {
				began := time.Now()
				defer func() { locked = time.Since(began) }()
				return nil, hang(ctx)
			}
			return nil
		}
		_, err := f.review(t.Context(), t, review(t, register))
		require.NotNil(t, err)
		require.Equal(t, "the policies gave no verdict in the time that a workspace may be locked", err.Detail)
		require.Equal(t, f.gate.Limits.Policy/5, locked)
	})
}
