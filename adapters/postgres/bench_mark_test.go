package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// BenchmarkMark is a deny with all of its effects, each time of another workspace.
func BenchmarkMark(b *testing.B) {
	h := newHarness(b, testenv.DatabaseURL(b, testenv.RegistryCurrent))
	ids := make([]uuid.UUID, 1024)
	for i := range ids {
		ids[i] = uuid.New()
		h.PutWorkspace(b, ids[i], admission.Workspace{Name: "bench", Kind: "workspace", DeliveryMode: "push"})
	}
	var n atomic.Int64
	mark := func() error {
		i := n.Add(1)
		d := deniedDecision(b, ids[i%int64(len(ids))])
		// A row that failed for the same reason would not be marked again.
		d.Verdict.Violations[0].Message = fmt.Sprintf("no MODEL, %d", i/int64(len(ids)))
		facts, err := h.store.Facts(b.Context(), d.WorkspaceID)
		if err != nil {
			return err
		}
		marked, err := h.store.RecordAndMark(b.Context(), d, facts, judgeAs(d))
		if err == nil && !marked.MarkedFailed {
			err = fmt.Errorf("workspace %s was not marked", d.WorkspaceID)
		}
		return err
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, mark())
		}
	})
	b.Run("16_at_once", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				err := mark()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
