package allocations

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkStage times the stages of a review one by one; benchstat compares two runs by their names.
func BenchmarkStage(b *testing.B) {
	stages, closeStages, err := newStages(b.Context(), b.TempDir())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, closeStages()) })
	for _, stage := range stages {
		b.Run(stage.Name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				err := stage.Run(n)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestEveryStageRuns(t *testing.T) {
	stages, closeStages, err := newStages(t.Context(), t.TempDir())
	require.NoError(t, err)
	for _, stage := range stages {
		require.NoError(t, stage.Run(1), stage.Name)
	}
	require.NoError(t, closeStages())
}
