package allocations

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheFileIsReadAsItIsWritten(t *testing.T) {
	counted := []stageAllocations{{"decode/review", 46}, {"mask", 3}}
	allowed, err := parse(format(counted))
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"decode/review": 46, "mask": 3}, allowed)

	for _, text := range []string{"mask", "mask three", "mask 3 4"} {
		_, err := parse(text)
		require.Error(t, err, text)
	}
}

func TestAStageThatAllocatesMoreFails(t *testing.T) {
	for name, row := range map[string]struct {
		allowed map[string]float64
		counted float64
		said    string
		fails   bool
	}{
		"the same":       {map[string]float64{"mask": 100}, 100, "", false},
		"within slack":   {map[string]float64{"mask": 100}, 105, "", false},
		"few more":       {map[string]float64{"mask": 3}, 5, "", false},
		"more":           {map[string]float64{"mask": 100}, 106, "MORE", true},
		"less":           {map[string]float64{"mask": 100}, 90, "make allocations", false},
		"a new stage":    {map[string]float64{}, 1, "NEW", true},
		"a stage is out": {map[string]float64{"mask": 1, "gone": 1}, 1, "gone             is in the file", true},
	} {
		var out strings.Builder
		err := compare(row.allowed, []stageAllocations{{"mask", row.counted}}, &out)
		require.Equal(t, row.fails, err != nil, name)
		require.Contains(t, out.String(), row.said, name)
	}
}

func TestWhatWasJustWrittenHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allocations.txt")
	require.NoError(t, run(t.Context(), path, true, nil))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "evaluate/allow")
	require.Error(t, run(t.Context(), filepath.Join(t.TempDir(), "nothing.txt"), false, nil))
}
