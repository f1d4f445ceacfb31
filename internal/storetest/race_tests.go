package storetest

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var raceTests = map[string]func(*testing.T, Harness){
	"50 registers of one bad workspace make one mark and one event": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)

		answers := concurrently(t, 50, func() (admission.Decision, error) {
			d := decision(t, id, denied(modelMissing))
			return mark(t.Context(), h.Store(), d, seen)
		})

		marks := 0
		for _, answer := range answers {
			require.False(t, answer.Verdict.Allowed())
			if answer.MarkedFailed {
				marks++
			}
		}
		require.Equal(t, 1, marks)
		require.Len(t, h.Decisions(t, id), 50)
		requireEvents(t, h, id, 1)
	},
	"marks of many workspaces do not hinder each other": func(t *testing.T, h Harness) {
		ids := make([]uuid.UUID, 40)
		for i := range ids {
			ids[i] = uuid.New()
			h.PutWorkspace(t, ids[i], platform(ordinary))
		}
		var mu sync.Mutex
		next := 0

		answers := concurrently(t, len(ids), func() (admission.Decision, error) {
			mu.Lock()
			id := ids[next]
			next++
			mu.Unlock()
			return register(t, h.Store(), decision(t, id, allowed()))
		})

		for _, answer := range answers {
			require.True(t, answer.MarkedFailed)
			requireEvents(t, h, answer.WorkspaceID, 1)
		}
	},
	// The insert of a secret waits for the row's lock, and the marking transaction judges on facts that it reads
	// under that lock. So there are two orders. Either the secret is committed first, and then it is seen and
	// nothing is marked; or the mark is, and then the secret's own transaction finds the row failed.
	"a secret that is inserted while marking is seen, or comes after the mark": func(t *testing.T, h Harness) {
		for range rounds(200) {
			id := uuid.New()
			h.PutWorkspace(t, id, platform(ordinary))
			seen := facts(t, h.Store(), id)
			d := decision(t, id, denied(modelMissing))
			j := &judgement{of: d}
			var statusSeen string
			var got admission.Judged
			var err error

			var running sync.WaitGroup
			running.Go(func() { statusSeen = h.PutSecret(t, id, model) })
			running.Go(func() { got, err = h.Store().RecordAndMark(t.Context(), d, seen, j.judge) })
			running.Wait()

			require.NoError(t, err)
			if got.MarkedFailed {
				require.Equal(t, "failed", statusSeen, "a mark after the secret was committed")
				require.Equal(t, "failed", h.Row(t, id).Status)
				requireEvents(t, h, id, 1)
				continue
			}
			require.True(t, got.Verdict.Allowed(), "neither marked nor allowed")
			require.True(t, slices.Contains(j.last.Load().SecretKeys, model), "an allow without the secret")
			require.Equal(t, "provisioning", h.Row(t, id).Status)
			requireEvents(t, h, id, 0)
		}
	},
}
