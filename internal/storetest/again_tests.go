package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var againTests = map[string]func(*testing.T, Harness){
	// A ledger may decide again on another goroutine than the review's, and still be at it when the review has been
	// answered. The race detector sees whether the two share anything.
	"reviews that are answered while they are decided again share nothing with it": func(t *testing.T, h Harness) {
		const reviews = 64
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		stale := facts(t, h.Store(), id)
		h.PutSecret(t, id, newSecret)
		answered := &answeredReviews{enough: reviews / 2, reached: make(chan struct{})}
		slow := &slowAgain{until: answered.reached, begun: make(chan struct{})}
		gate := &admission.Gate{
			Facts: staleFacts(stale), Policy: slow, Ledger: h.Store(), Failures: answered, Observer: answered, Now: time.Now,
			Limits: admission.Limits{Facts: time.Second, Policy: time.Second, Request: 200 * time.Millisecond},
		}

		var asking sync.WaitGroup
		for range reviews {
			asking.Go(func() {
				_, err := gate.Review(context.WithoutCancel(t.Context()), admission.Review{
					Hook: hook, WorkspaceID: id, CallerProof: admission.Token, Workspace: jsontext.Value(`{}`),
				})
				if err == nil {
					t.Error("a review was decided that could not be decided again")
				}
			})
		}
		asking.Wait()

		<-slow.begun
		require.Len(t, answered.outcomes, reviews)
		for _, outcome := range answered.outcomes {
			require.Contains(t, outcome.Stages, admission.StagePolicy)
			require.Contains(t, outcome.Stages, admission.StageLedger)
		}
		requireEvents(t, h, id, 0)
		require.Equal(t, "provisioning", h.Row(t, id).Status)
	},
	"a judge that panics is an error of its decision alone": func(t *testing.T, h Harness) {
		requireFailsAlone(t, h, admission.CodeInternal, func(context.Context, admission.Facts) (admission.Judged, error) {
			panic("a builtin divides by zero")
		})
	},
	"a judge that takes long is an error of its decision alone, and soon": func(t *testing.T, h Harness) {
		slow := admission.Judge(func(ctx context.Context, _ admission.Facts) (admission.Judged, error) {
			<-ctx.Done()
			return admission.Judged{}, fmt.Errorf("evaluating: %w", ctx.Err())
		})
		requireFailsAlone(t, h, admission.CodePolicyError, slow.Within(50*time.Millisecond))
	},
	"what a judge has found comes back, with its error too": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		d := decision(t, id, denied(modelMissing))
		found := admission.Judged{Decision: d, Evaluated: admission.Input{Hook: hook}}
		for _, failure := range []error{errJudge, nil} {
			got, err := h.Store().RecordAndMark(t.Context(), d, admission.Facts{}, func(context.Context, admission.Facts) (admission.Judged, error) {
				return found, failure
			})
			require.ErrorIs(t, err, failure)
			require.Equal(t, found.Evaluated, got.Evaluated)
		}
	},
}

// newSecret is a secret that is not in stale facts.
const newSecret = "NEW"

// requireFailsAlone marks many workspaces at once, of which every fifth cannot be decided again.
func requireFailsAlone(t *testing.T, h Harness, code admission.Code, fails admission.Judge) {
	t.Helper()
	decisions := make([]admission.Decision, 30)
	for i := range decisions {
		id := uuid.New()
		h.PutWorkspace(t, id, platform(ordinary))
		decisions[i] = decision(t, id, denied("an older reason"))
	}
	marked, errs := make([]admission.Judged, len(decisions)), make([]error, len(decisions))
	var marking sync.WaitGroup
	for i, d := range decisions {
		judge := (&judgement{of: d}).judge
		if i%5 == 0 {
			judge = fails
		}
		marking.Go(func() { marked[i], errs[i] = h.Store().RecordAndMark(t.Context(), d, admission.Facts{}, judge) })
	}
	marking.Wait()
	for i, d := range decisions {
		if i%5 == 0 {
			require.Equal(t, code, admission.AsError(errs[i]).Code, "%v", errs[i])
			require.Equal(t, "provisioning", h.Row(t, d.WorkspaceID).Status)
			require.Empty(t, h.Decisions(t, d.WorkspaceID))
			continue
		}
		require.NoError(t, errs[i])
		require.True(t, marked[i].MarkedFailed)
	}
}

// staleFacts are the same of every workspace, whatever is stored.
type staleFacts admission.Facts

func (f staleFacts) Facts(context.Context, uuid.UUID) (admission.Facts, error) {
	return admission.Facts(f), nil
}

// slowAgain denies. On facts that are not stale it fails, but only after some reviews have been answered.
type slowAgain struct {
	until <-chan struct{}
	once  sync.Once
	begun chan struct{}
}

func (s *slowAgain) Current() admission.Ruleset { return s }

func (s *slowAgain) HasHook(string) bool { return true }

func (s *slowAgain) Evaluate(_ context.Context, in admission.Input, _ time.Time) (admission.Verdict, error) {
	if slices.Contains(in.Facts.SecretKeys, newSecret) {
		s.once.Do(func() { close(s.begun) })
		<-s.until
		return admission.Verdict{}, errJudge
	}
	return denied(modelMissing), nil
}

func (s *slowAgain) Mask(_ context.Context, _ admission.Decision, in admission.Input) (kept admission.RecordedInput, err error) {
	kept.JSON, err = in.JSON()
	return kept, err
}

// answeredReviews hears of reviews, and of when enough of them have been answered.
type answeredReviews struct {
	enough  int
	reached chan struct{}

	mutex    sync.Mutex
	outcomes []admission.Outcome
}

func (a *answeredReviews) Failed(admission.FailedReview) {}

func (a *answeredReviews) Reviewed(_ context.Context, o admission.Outcome) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.outcomes = append(a.outcomes, o)
	if len(a.outcomes) == a.enough {
		close(a.reached)
	}
}
