package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCutIsTheSetOfWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cut{high: 3}
		model := map[int64]bool{1: true, 2: true, 3: true}
		for _, seq := range rapid.SliceOfN(rapid.Int64Range(1, 40), 0, 30).Draw(t, "seqs") {
			c.add(seq, 1)
			model[seq] = true
		}
		watermark := int64(0)
		for model[watermark+1] {
			watermark++
		}
		require.Equal(t, watermark, c.watermark())
		for seq := int64(1); seq <= 45; seq++ {
			require.Equal(t, model[seq], c.has(seq), seq)
		}
		for i, g := range c.gaps {
			require.LessOrEqual(t, g.first, g.last)
			require.True(t, i == 0 || c.gaps[i-1].last+1 < g.first, "gaps are apart")
		}
	})
}

func TestGapIsSettledOnceItsWritersHaveEnded(t *testing.T) {
	c := cut{high: 1}
	c.add(3, 1)
	c.settle(1, nil)
	require.EqualValues(t, 1, c.watermark(), "who wrote was asked before the gap was found")
	c.settle(2, []string{"a", "b"})
	require.EqualValues(t, 1, c.watermark())
	c.add(5, 2)
	c.settle(3, []string{"b", "c"})
	require.EqualValues(t, 1, c.watermark())
	c.settle(4, []string{"c"})
	require.EqualValues(t, 3, c.watermark(), "c came later, and counts for the second gap")
	c.settle(5, []string{"d"})
	require.EqualValues(t, 5, c.watermark())
}
