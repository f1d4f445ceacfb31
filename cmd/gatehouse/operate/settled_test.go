package operate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/server/failurelog"
)

// What an export takes for settled is settled for all that records decisions.
func TestExportsWaitForTheLatestRecord(t *testing.T) {
	t.Parallel()
	const clocks = 2 * time.Minute
	require.Greater(t, decisionlog.SettledAfter, failurelog.MaxAge+failurelog.Patience+auditRequestTimeout+clocks)
}
