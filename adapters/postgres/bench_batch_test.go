//go:build linux

package postgres_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// BenchmarkBatch is what recording decisions costs by the size of their batch, with a uid each and without: in all, and
// of the server's processor, for each decision. Linux tells the latter.
func BenchmarkBatch(b *testing.B) {
	for _, uids := range []bool{false, true} {
		for _, size := range []int{1, 4, 8, 16, 64} {
			b.Run(fmt.Sprintf("uids=%t/size=%d", uids, size), func(b *testing.B) {
				h := newHarness(b, testenv.DatabaseURL(b, testenv.RegistryCurrent))
				store := open(b, h.url, func(o *postgres.Options) { o.MaxConns = 1 })
				var server int
				require.NoError(b, store.Pool().QueryRow(b.Context(), "select pg_backend_pid()").Scan(&server))
				batch := make([]admission.Decision, size)
				used := processorTime(b, server)
				rounds := 0
				for b.Loop() {
					for i := range batch {
						batch[i] = allowedDecision(b, uuid.New())
						if uids {
							batch[i].UID = batch[i].ID.String()
						}
					}
					err := store.RecordBatch(b.Context(), batch)
					require.NoError(b, err)
					rounds++
				}
				used = processorTime(b, server) - used
				each := float64(rounds * size)
				b.ReportMetric(float64(b.Elapsed().Microseconds())/each, "µs/decision")
				b.ReportMetric(float64(used.Microseconds())/each, "server-µs/decision")
			})
		}
	}
}

// processorTime is what a process has used, to the nanosecond, unlike /proc/PID/stat.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	require.NoError(b, err)
	used, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
	require.NoError(b, err)
	return time.Duration(used)
}
