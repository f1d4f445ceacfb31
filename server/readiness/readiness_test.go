package readiness_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/readiness"
)

// world is a set of components that a test breaks.
type world struct {
	*readiness.Readiness
	log bytes.Buffer

	mu        sync.Mutex
	err       map[readiness.Component]error
	asked     map[readiness.Component]int
	suspected map[readiness.Component]bool // at the last probe
	takes     atomic.Int64                 // a probe, in nanoseconds
}

func newWorld() *world {
	w := &world{
		err: map[readiness.Component]error{}, asked: map[readiness.Component]int{}, suspected: map[readiness.Component]bool{},
	}
	probe := func(c readiness.Component) readiness.Probe {
		return func(_ context.Context, suspected bool) error {
			if c != readiness.Policies {
				time.Sleep(time.Duration(w.takes.Load())) // whatever its context says, as a driver may
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked[c]++
			w.suspected[c] = suspected
			return w.err[c]
		}
	}
	w.Readiness = readiness.New(readiness.Options{
		Facts: probe(readiness.Facts), Ledger: probe(readiness.Ledger), Outbox: probe(readiness.Outbox),
		Policies: probe(readiness.Policies), Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	return w
}

func (w *world) breaks(c readiness.Component, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err[c] = err
}

// detail is what Check says, "" if all is well.
func (w *world) detail(t *testing.T) string {
	t.Helper()
	err := w.Check(t.Context())
	if err == nil {
		return ""
	}
	var coded *admission.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, admission.CodeNotReady, coded.Code)
	return coded.Detail
}

// inBubble runs a test by a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.Close()
		test(t, w)
	})
}

func denied() admission.Outcome {
	return admission.Outcome{Decision: admission.Decision{Event: &admission.Event{}}}
}

func failed(code admission.Code, stages ...admission.Stage) admission.Outcome {
	o := admission.Outcome{Err: &admission.Error{Code: code}, Stages: map[admission.Stage]time.Duration{}}
	for _, stage := range stages {
		o.Stages[stage] = time.Millisecond
	}
	return o
}

func TestReadinessProbesNothingWhileReviewsSucceed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for range 100 {
			w.Reviewed(t.Context(), denied())
			require.Empty(t, w.detail(t))
			time.Sleep(time.Second)
		}
		require.Zero(t, w.asked[readiness.Facts])
		require.Zero(t, w.asked[readiness.Ledger])
		require.Zero(t, w.asked[readiness.Outbox])
	})
}

// A dry run writes nothing, and a repeated answer was written earlier, so neither proves the ledger.
func TestReadinessTrustsReviewsOnlyForWhatTheyMet(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.breaks(readiness.Facts, errors.New("away"))
		w.breaks(readiness.Ledger, errors.New("away"))
		w.breaks(readiness.Outbox, errors.New("away"))
		w.Reviewed(t.Context(), admission.Outcome{Repeated: true})
		require.Equal(t, "not ready: facts (it does not work; the log says why), ledger (it does not work; the log says why), "+
			"outbox (it does not work; the log says why)", w.detail(t))
		w.Reviewed(t.Context(), admission.Outcome{Review: admission.Review{DryRun: true}})
		require.Equal(t, "not ready: ledger (it does not work; the log says why), outbox (it does not work; the log says why)", w.detail(t))
		w.Reviewed(t.Context(), admission.Outcome{})
		require.Equal(t, "not ready: outbox (it does not work; the log says why)", w.detail(t))
		w.Reviewed(t.Context(), denied())
		require.Empty(t, w.detail(t))
	})
}

func TestReadinessIsProbedRarelyHoweverOftenItIsAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.takes.Store(int64(50 * time.Millisecond))
		w.breaks(readiness.Ledger, errors.New("away"))
		var asking sync.WaitGroup
		for range 200 {
			asking.Go(func() {
				for range 100 {
					_ = w.Check(t.Context())
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		asking.Wait()
		require.LessOrEqual(t, w.asked[readiness.Facts], 6, "in ten seconds")
		require.GreaterOrEqual(t, w.asked[readiness.Facts], 4)
		require.LessOrEqual(t, w.asked[readiness.Ledger], 40)
	})
}

func TestReadinessProbesAsMuchAsTheReviewThatFailed(t *testing.T) {
	for name, test := range map[string]struct {
		outcome admission.Outcome
		suspect []readiness.Component
	}{
		"no facts":           {failed(admission.CodeFactsUnavailable, admission.StageFacts), []readiness.Component{readiness.Facts}},
		"late facts":         {failed(admission.CodeDeadlineExceeded, admission.StageFacts), []readiness.Component{readiness.Facts}},
		"not recorded":       {failed(admission.CodeRecordFailed, admission.StageLedger), []readiness.Component{readiness.Ledger, readiness.Outbox}},
		"ledger unavailable": {failed(admission.CodeLedgerUnavailable, admission.StageLedger), []readiness.Component{readiness.Ledger, readiness.Outbox}},
		"late record": {
			failed(admission.CodeDeadlineExceeded, admission.StageFacts, admission.StagePolicy, admission.StageLedger),
			[]readiness.Component{readiness.Ledger, readiness.Outbox},
		},
		"late verdict": {failed(admission.CodeDeadlineExceeded, admission.StageFacts, admission.StagePolicy), nil},
		"uid conflict": {failed(admission.CodeUIDConflict, admission.StageLedger), nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				require.Empty(t, w.detail(t))
				w.Reviewed(t.Context(), denied())
				time.Sleep(time.Second)
				require.Empty(t, w.detail(t))
				time.Sleep(100 * time.Millisecond)
				w.Reviewed(t.Context(), test.outcome)
				w.Reviewed(t.Context(), denied()) // others go on to succeed
				require.Empty(t, w.detail(t))
				var suspected []readiness.Component
				for _, c := range []readiness.Component{readiness.Facts, readiness.Ledger, readiness.Outbox} {
					if w.suspected[c] {
						suspected = append(suspected, c)
					}
				}
				require.Equal(t, test.suspect, suspected)
			})
		})
	}
}

// A disk may be too full for a row and not for an empty commit. A load balancer has stopped sending reviews, so only the probe
// can tell: it must try as much as a review does.
func TestReadinessSuspectsUntilAReviewSucceeds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Reviewed(t.Context(), failed(admission.CodeLedgerUnavailable, admission.StageLedger))
		time.Sleep(5 * time.Minute)
		require.Empty(t, w.detail(t))
		require.True(t, w.suspected[readiness.Ledger])
		w.Reviewed(t.Context(), denied())
		time.Sleep(time.Minute)
		require.Empty(t, w.detail(t))
		require.False(t, w.suspected[readiness.Ledger])
	})
}

func TestReadinessWaitsOnceForAProbeThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.takes.Store(int64(5 * time.Second))
		start := time.Now()
		const nothing = "not ready: facts (no answer in time), ledger (no answer in time), outbox (no answer in time)"
		require.Equal(t, nothing, w.detail(t))
		require.Less(t, time.Since(start), 900*time.Millisecond)
		again := time.Now()
		require.Equal(t, nothing, w.detail(t))
		require.Zero(t, time.Since(again))

		w.takes.Store(0)
		time.Sleep(5 * time.Second)
		require.Empty(t, w.detail(t))
		require.Equal(t, 3, strings.Count(w.log.String(), `"not ready"`))
	})
}

func TestReadinessLogsEachChangeOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ask := func() {
			for range 50 {
				_ = w.Check(t.Context())
				time.Sleep(200 * time.Millisecond)
			}
		}
		ask()
		require.Empty(t, w.log.String())
		w.breaks(readiness.Ledger, admission.LedgerUnavailable("the database is read-only", errors.New("dial db-1.internal")))
		ask()
		require.Equal(t, "not ready: ledger (the database is read-only)", w.detail(t))
		require.Equal(t, 1, strings.Count(w.log.String(), "\n"))
		require.Contains(t, w.log.String(), `msg="not ready" component=ledger reason="the database is read-only"`)
		require.Contains(t, w.log.String(), "db-1.internal")

		w.breaks(readiness.Ledger, admission.LedgerUnavailable("the disk is full", errors.New("full")))
		ask()
		require.Equal(t, 2, strings.Count(w.log.String(), "\n"), "another cause is a change")
		w.breaks(readiness.Ledger, nil)
		ask()
		require.Equal(t, 3, strings.Count(w.log.String(), "\n"))
		require.Contains(t, w.log.String(), `msg="ready again" component=ledger`)
	})
}

func TestStatesNameEveryComponentFromTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.breaks(readiness.Policies, errors.New("none"))
		works := map[readiness.Component]bool{}
		for _, state := range w.States(t.Context()) {
			works[state.Component] = state.Err == nil
		}
		require.Equal(t, map[readiness.Component]bool{
			readiness.Facts: true, readiness.Ledger: true, readiness.Outbox: true, readiness.Policies: false,
		}, works)
	})
}
