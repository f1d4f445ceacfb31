package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

var recordTests = map[string]func(*testing.T, Harness){
	"an allow is read back field by field": func(t *testing.T, h Harness) {
		d := withUID(decision(t, uuid.New(), allowed()), "uid-1", "body")

		recorded, err := h.Store().Record(t.Context(), d)
		require.NoError(t, err)
		again, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.NoError(t, err)

		requireSame(t, d, recorded)
		requireSame(t, d, again)
	},
	"a deny is read back with every field of its violations": func(t *testing.T, h Harness) {
		warning := deny("line one\nline two: \"é\" \\ 日本")
		warning.Enforcement, warning.Severity, warning.MarkFailed, warning.Answer = admission.Warn, admission.Low, false, ""
		verdict := admission.NewVerdict([]admission.Violation{warning, deny(modelMissing)}, revision)
		d := withUID(decision(t, uuid.New(), verdict), "ünïcödé", "body")
		d.CallerProof, d.Caller, d.Kind = admission.Bootstrap, "", "other"

		_, err := h.Store().Record(t.Context(), d)
		require.NoError(t, err)
		again, err := h.Store().Recorded(t.Context(), d.RequestKey())
		require.NoError(t, err)

		requireSame(t, d, again)
	},
	"a mark is read back with its event": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())

		recorded := mustRegister(t, h.Store(), withUID(decision(t, id, allowed()), "uid-1", "body"))
		again, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.NoError(t, err)

		require.True(t, recorded.MarkedFailed)
		requireSame(t, recorded, again)
	},
	"a uid that was never recorded is ErrNotRecorded": func(t *testing.T, h Harness) {
		_, err := h.Store().Recorded(t.Context(), key("never"))

		require.ErrorIs(t, err, admission.ErrNotRecorded)
	},
	"decisions without a uid are not idempotent": func(t *testing.T, h Harness) {
		id := uuid.New()
		for range 3 {
			_, err := h.Store().Record(t.Context(), decision(t, id, allowed()))
			require.NoError(t, err)
		}

		require.Len(t, h.Decisions(t, id), 3)
		_, err := h.Store().Recorded(t.Context(), key(""))
		require.ErrorIs(t, err, admission.ErrNotRecorded)
	},
	"every one of many concurrent records is there": func(t *testing.T, h Harness) {
		const callers, each = 16, 25
		id := uuid.New()
		var recorded sync.Map
		var running sync.WaitGroup
		for c := range callers {
			running.Go(func() {
				for i := range each {
					d := decision(t, id, allowed())
					if i%2 == 0 {
						d = withUID(d, fmt.Sprintf("%d-%d", c, i), "body")
					}
					got, err := h.Store().Record(t.Context(), d)
					if err != nil || got.ID != d.ID {
						t.Errorf("recording: %v", err)
					}
					recorded.Store(d.ID, true)
				}
			})
		}
		running.Wait()

		rows := h.Decisions(t, id)
		require.Len(t, rows, callers*each)
		for _, row := range rows {
			require.Contains(t, keysOf(&recorded), row)
		}
	},
	"a context that has ended is an error and leaves no row": func(t *testing.T, h Harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d := withUID(decision(t, uuid.New(), allowed()), "uid-1", "body")

		_, err := h.Store().Record(ctx, d)

		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, h.Decisions(t, d.WorkspaceID))
		_, err = h.Store().Recorded(t.Context(), key("uid-1"))
		require.ErrorIs(t, err, admission.ErrNotRecorded)
	},
	"the message of an event is the registry's": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())

		d := mustRegister(t, h.Store(), decision(t, id, allowed()))

		outgoing := h.OutgoingEvents(t, id)
		require.Len(t, outgoing, 1)
		require.Equal(t, d.Event.ID, outgoing[0].ID)
		want, err := json.Marshal(d.Event)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(outgoing[0].Message))
	},
}

func keysOf(m *sync.Map) map[uuid.UUID]bool {
	keys := make(map[uuid.UUID]bool)
	m.Range(func(key, _ any) bool {
		keys[key.(uuid.UUID)] = true
		return true
	})
	return keys
}

var uidTests = map[string]func(*testing.T, Harness){
	"the same request again gets the first answer": func(t *testing.T, h Harness) {
		id := uuid.New()
		first := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
		_, err := h.Store().Record(t.Context(), first)
		require.NoError(t, err)

		again, err := h.Store().Record(t.Context(), withUID(decision(t, id, allowed()), "uid-1", "body"))
		require.NoError(t, err)

		requireSame(t, first, again)
		require.Len(t, h.Decisions(t, id), 1)
	},
	"another body under the same uid gets the first decision too": func(t *testing.T, h Harness) {
		first := withUID(decision(t, uuid.New(), allowed()), "uid-1", "body")
		_, err := h.Store().Record(t.Context(), first)
		require.NoError(t, err)
		other := withUID(decision(t, uuid.New(), allowed()), "uid-1", "another body")

		got, err := h.Store().Record(t.Context(), other)
		require.NoError(t, err)

		requireSame(t, first, got) // its digest tells the gate to answer 409
		require.Empty(t, h.Decisions(t, other.WorkspaceID))
	},
	"one of many concurrent records of a uid is the answer to all": func(t *testing.T, h Harness) {
		id := uuid.New()
		answers := concurrently(t, 50, func() (admission.Decision, error) {
			return h.Store().Record(t.Context(), withUID(decision(t, id, allowed()), "uid-1", "body"))
		})

		rows := h.Decisions(t, id)
		require.Len(t, rows, 1)
		for _, answer := range answers {
			require.Equal(t, rows[0], answer.ID)
		}
	},
	"one of many concurrent marks of a uid is the answer to all": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)

		answers := concurrently(t, 50, func() (admission.Decision, error) {
			d := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
			return mark(t.Context(), h.Store(), d, seen)
		})

		rows := h.Decisions(t, id)
		require.Len(t, rows, 1)
		for _, answer := range answers {
			require.Equal(t, rows[0], answer.ID)
			require.True(t, answer.MarkedFailed)
			require.NotNil(t, answer.Event)
		}
		requireEvents(t, h, id, 1)
	},
	"a uid that is marked and recorded at once is decided once": func(t *testing.T, h Harness) {
		for round := range rounds(20) {
			id, uid := uuid.New(), fmt.Sprintf("uid-%d", round)
			h.PutWorkspace(t, id, platform(ordinary))
			seen := facts(t, h.Store(), id)
			var turn sync.Mutex
			n := 0

			answers := concurrently(t, 2, func() (admission.Decision, error) {
				turn.Lock()
				n++
				marks := n == 1
				turn.Unlock()
				d := withUID(decision(t, id, denied(modelMissing)), uid, "body")
				if marks {
					return mark(t.Context(), h.Store(), d, seen)
				}
				d.Verdict = allowed()
				return h.Store().Record(t.Context(), d)
			})

			require.Equal(t, answers[0].ID, answers[1].ID)
			require.Len(t, h.Decisions(t, id), 1)
			events := 0
			if answers[0].MarkedFailed {
				events = 1
			}
			requireEvents(t, h, id, events)
			require.Equal(t, answers[0].MarkedFailed, h.Row(t, id).Status == "failed")
		}
	},
	"a uid belongs to its caller": func(t *testing.T, h Harness) {
		var first []admission.Decision
		for _, caller := range []string{"registry", "another registry", ""} {
			d := withUID(of(caller, decision(t, uuid.New(), allowed())), "1", "body of "+caller)
			recorded, err := h.Store().Record(t.Context(), d)
			require.NoError(t, err)
			require.Equal(t, d.ID, recorded.ID, "no other caller's answer")
			first = append(first, d)
		}
		for _, d := range first {
			recorded, err := h.Store().Recorded(t.Context(), d.RequestKey())
			require.NoError(t, err)
			requireSame(t, d, recorded)
			again, err := h.Store().Record(t.Context(), withUID(of(d.Caller, decision(t, uuid.New(), allowed())), "1", "another body"))
			require.NoError(t, err)
			requireSame(t, d, again)
		}
		_, err := h.Store().Recorded(t.Context(), admission.RequestKey{Caller: "Registry", UID: "1"})
		require.ErrorIs(t, err, admission.ErrNotRecorded)
		require.ElementsMatch(t, []uuid.UUID{first[0].ID, first[1].ID, first[2].ID}, ids(list(t, h.Store(), ledger.Filter{UID: "1"}, true, 10)))
	},
	"callers that claim the same uid at once are each decided once": func(t *testing.T, h Harness) {
		const callers, each = 3, 20
		stores := []Store{h.Store(), h.AnotherStore(t)}
		workspaces := make([]uuid.UUID, callers)
		seen := make([]admission.Facts, callers)
		for c := range callers {
			workspaces[c] = uuid.New()
			h.PutWorkspace(t, workspaces[c], platform(ordinary))
			seen[c] = facts(t, h.Store(), workspaces[c])
		}
		var turn atomic.Int64

		answers := concurrently(t, callers*each, func() (admission.Decision, error) {
			n := int(turn.Add(1)) - 1
			c := n % callers
			d := withUID(of(fmt.Sprint("caller ", c), decision(t, workspaces[c], denied(modelMissing))), "1", "body")
			store := stores[n/callers%2]
			if c == 0 {
				return store.Record(t.Context(), d)
			}
			marked, err := store.RecordAndMark(t.Context(), d, seen[c], (&judgement{of: d}).judge)
			return marked.Decision, err
		})

		decided := make(map[string]uuid.UUID)
		for _, answer := range answers {
			if before, known := decided[answer.Caller]; known {
				require.Equal(t, before, answer.ID)
			}
			decided[answer.Caller] = answer.ID
		}
		require.Len(t, decided, callers)
		for c, workspace := range workspaces {
			require.Len(t, h.Decisions(t, workspace), 1)
			requireEvents(t, h, workspace, min(c, 1))
		}
	},
	"a repeated mark acts no second time": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		first := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
		marked, err := h.Store().RecordAndMark(t.Context(), first, seen, neverJudged(t))
		require.NoError(t, err)
		h.PutWorkspace(t, id, platform(status("online")))
		before := h.Row(t, id)

		d := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
		again, err := h.Store().RecordAndMark(t.Context(), d, facts(t, h.Store(), id), neverJudged(t))
		require.NoError(t, err)

		requireSame(t, marked.Decision, again.Decision)
		require.Equal(t, before, h.Row(t, id))
		requireEvents(t, h, id, 1)
	},
}

// concurrently calls f n times at once.
func concurrently(t testing.TB, n int, f func() (admission.Decision, error)) []admission.Decision {
	t.Helper()
	answers := make([]admission.Decision, n)
	errs := make([]error, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			answers[i], errs[i] = f()
		})
	}
	close(start)
	running.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return answers
}
