package storetest

import (
	"context"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var markTests = map[string]func(*testing.T, Harness){
	"a mark fails the row and tells of it": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		before := h.Row(t, id)
		d := decision(t, id, denied(modelMissing))

		got, err := h.Store().RecordAndMark(t.Context(), d, facts(t, h.Store(), id), neverJudged(t))
		require.NoError(t, err)

		require.True(t, got.MarkedFailed)
		require.Equal(t, d.ID, got.ID)
		require.Equal(t, admission.EventPayload{Error: modelMissing, Code: identityGate, Reason: "model_missing"},
			got.Event.Payload)
		row := h.Row(t, id)
		require.Equal(t, "failed", row.Status)
		require.Equal(t, modelMissing, row.LastError)
		require.Greater(t, row.UpdatedAt, before.UpdatedAt)
		require.Equal(t, []uuid.UUID{d.ID}, h.Decisions(t, id))
		requireEvents(t, h, id, 1)
	},
	"the registry's own event carries the payload": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())

		got := mustRegister(t, h.Store(), decision(t, id, allowed()))

		structure, kept := h.StructureEvents(t, id)
		if !kept {
			return
		}
		require.Len(t, structure, 1)
		require.Equal(t, admission.ProvisionFailed, structure[0].Type)
		want, err := json.Marshal(got.Event.Payload)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(structure[0].Payload))
	},
	"a removed, paused or hibernated row is never marked": func(t *testing.T, h Harness) {
		for _, protected := range []string{"removed", "paused", "hibernated"} {
			id := uuid.New()
			h.PutWorkspace(t, id, platform(ordinary, status(protected)))
			before := h.Row(t, id)

			got := mustRegister(t, h.Store(), decision(t, id, allowed()))

			require.False(t, got.Verdict.Allowed())
			require.False(t, got.MarkedFailed)
			require.Nil(t, got.Event)
			require.Len(t, h.Decisions(t, id), 1)
			requireNoEffects(t, h, id, before)
		}
	},
	"every other status is marked, NULL too": func(t *testing.T, h Harness) {
		rows := []func(*admission.Workspace){nullStatus}
		for _, s := range []string{"provisioning", "online", "offline", "degraded", "awaiting_agent"} {
			rows = append(rows, status(s))
		}
		for _, change := range rows {
			id := uuid.New()
			h.PutWorkspace(t, id, platform(ordinary, change))

			got := mustRegister(t, h.Store(), decision(t, id, allowed()))

			require.True(t, got.MarkedFailed)
			require.Equal(t, "failed", h.Row(t, id).Status)
			requireEvents(t, h, id, 1)
		}
	},
	"a row that failed for the same reason is not marked again": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		mustRegister(t, h.Store(), decision(t, id, allowed()))
		before := h.Row(t, id)

		got := mustRegister(t, h.Store(), decision(t, id, allowed()))

		require.False(t, got.MarkedFailed)
		require.Equal(t, before, h.Row(t, id))
		requireEvents(t, h, id, 1)
		require.Len(t, h.Decisions(t, id), 2)
	},
	"a row that failed for another reason is marked again": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform(status("failed"), func(w *admission.Workspace) {
			w.LastSampleError = new("container exited")
		}))

		got := mustRegister(t, h.Store(), decision(t, id, allowed()))

		require.True(t, got.MarkedFailed)
		require.Equal(t, modelMissing, h.Row(t, id).LastError)
		requireEvents(t, h, id, 1)
	},
	"facts that changed are judged again, and an allow marks nothing": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		h.PutSecret(t, id, model)
		before := h.Row(t, id)
		d := decision(t, id, denied(modelMissing))
		j := &judgement{of: d}

		got, err := h.Store().RecordAndMark(t.Context(), d, seen, j.judge)
		require.NoError(t, err)

		require.EqualValues(t, 1, j.calls.Load())
		require.Equal(t, []string{model}, j.last.Load().SecretKeys)
		require.True(t, got.Verdict.Allowed())
		require.Equal(t, []uuid.UUID{d.ID}, h.Decisions(t, id))
		requireNoEffects(t, h, id, before)
	},
	"facts that changed and still deny mark the row": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		h.PutSecret(t, id, "OTHER")
		d := decision(t, id, denied("an older reason"))
		j := &judgement{of: d}

		got, err := h.Store().RecordAndMark(t.Context(), d, seen, j.judge)
		require.NoError(t, err)

		require.EqualValues(t, 1, j.calls.Load())
		require.True(t, got.MarkedFailed)
		require.Equal(t, modelMissing, h.Row(t, id).LastError)
	},
	"a judge that fails leaves nothing": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		h.PutSecret(t, id, "OTHER")
		before := h.Row(t, id)
		d := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")

		_, err := h.Store().RecordAndMark(t.Context(), d, seen,
			func(context.Context, admission.Facts) (admission.Judged, error) {
				return admission.Judged{}, errJudge
			})

		require.ErrorIs(t, err, errJudge)
		requireNothing(t, h, d, before)
	},
	"a context that ends while judging leaves nothing": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		h.PutSecret(t, id, "OTHER")
		before := h.Row(t, id)
		d := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
		ctx, cancel := context.WithCancel(t.Context())

		_, err := h.Store().RecordAndMark(ctx, d, seen,
			func(context.Context, admission.Facts) (admission.Judged, error) {
				cancel()
				return admission.Judged{Decision: d}, nil
			})

		require.Error(t, err)
		requireNothing(t, h, d, before)
	},
	"a context that has ended leaves nothing": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		before := h.Row(t, id)
		d := withUID(decision(t, id, denied(modelMissing)), "uid-1", "body")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		_, err := h.Store().RecordAndMark(ctx, d, seen, neverJudged(t))

		require.ErrorIs(t, err, context.Canceled)
		requireNothing(t, h, d, before)
	},
	"a row that is gone is recorded without effects": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		seen := facts(t, h.Store(), id)
		h.DeleteWorkspace(t, id)
		d := decision(t, id, denied(modelMissing))

		got, err := h.Store().RecordAndMark(t.Context(), d, seen,
			func(context.Context, admission.Facts) (admission.Judged, error) {
				return admission.Judged{Decision: d}, nil
			})
		require.NoError(t, err)

		require.False(t, got.MarkedFailed)
		require.Nil(t, got.Event)
		require.Equal(t, []uuid.UUID{d.ID}, h.Decisions(t, id))
		requireEvents(t, h, id, 0)
	},
	"a deny that marks nothing is only recorded": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		before := h.Row(t, id)
		violation := deny(modelMissing)
		violation.MarkFailed = false
		d := decision(t, id, admission.NewVerdict([]admission.Violation{violation}, revision))

		got, err := h.Store().Record(t.Context(), d)
		require.NoError(t, err)

		requireSame(t, d, got)
		requireNoEffects(t, h, id, before)
	},
}

// requireNothing says that a decision with a uid left nothing behind.
func requireNothing(t testing.TB, h Harness, d admission.Decision, before Row) {
	t.Helper()
	requireNoEffects(t, h, d.WorkspaceID, before)
	require.Empty(t, h.Decisions(t, d.WorkspaceID))
	_, err := h.Store().Recorded(t.Context(), d.RequestKey())
	require.ErrorIs(t, err, admission.ErrNotRecorded)
}
