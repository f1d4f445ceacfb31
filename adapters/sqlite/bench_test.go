package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// decisionsVariable says how many decisions the benchmarks of reading look for theirs among.
const decisionsVariable = "GATEHOUSE_BENCH_DECISIONS"

const (
	benchWorkspaces = 10_000
	benchCodes      = 20
)

// fillSQL makes decisions $1 to $2 of $3, evenly over the thirty days up to $4 (in milliseconds): of each hundred five
// denies and one error, with an input of about a kilobyte each.
const fillSQL = `
with recursive n (i) as (select $1 union all select i + 1 from n where i < $2),
row (i, ms, deals, workspace) as materialized (
    select i, $4 - 2592000000 + i * 2592000000 / $3, abs(random()) % 100, abs(random()) % 10000 from n)
insert into decisions (id, decided_at, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason, error_code,
                       error_detail, policy_revision, marked_failed, dry_run, violations, facts_us, policy_us, input)
select printf('%08x-%04x-7%03x-8000-%012x', ms >> 16, ms & 65535, i & 4095, i),
       strftime('%Y-%m-%dT%H:%M:%f', ms / 1000.0, 'unixepoch') || '000Z',
       iif(deals % 3 = 0, 'heartbeat', 'register'), 'registry', 'token',
       printf('00000000-0000-4000-8000-%012d', workspace), 'workspace', iif(deals = 99, null, deals >= 5),
       case when deals < 5 then 'CODE_' || (workspace % 20) when deals = 99 then 'policy_error' end,
       iif(deals < 5, 'reason', null), iif(deals = 99, 'policy_error', null), iif(deals = 99, 'no verdict', null),
       'revision', 0, 0,
       iif(deals < 5, json_array(json_object('rule', 'r', 'code', 'CODE_' || (workspace % 20), 'reason', 'reason',
           'message', 'It says no.', 'severity', 'high', 'enforcement', 'deny', 'status', 400, 'mark_failed', json('false'))), '[]'),
       800, 70, json_object('hook', 'register', 'request', json_object('id', workspace, 'url', $5))
from row`

// fill makes n decisions of the thirty days before now.
func fill(t testing.TB, s *sqlite.Store, n int, now time.Time) {
	t.Helper()
	const batch = 50_000
	for i := 1; i <= n; i += batch {
		_, err := s.Writer().ExecContext(t.Context(), fillSQL, i, min(i+batch-1, n), n, now.UnixMilli(), strings.Repeat("x", 1000))
		require.NoError(t, err)
	}
}

// filled gives a store with as many decisions as the environment says.
func filled(b *testing.B) (s *sqlite.Store, n int, now time.Time) {
	b.Helper()
	n = 20_000
	if asked := os.Getenv(decisionsVariable); asked != "" {
		var err error
		n, err = strconv.Atoi(asked)
		require.NoError(b, err)
	}
	s, now = openDemo(b, sqlite.Options{}), time.Now()
	fill(b, s, n, now)
	return s, n, now
}

// BenchmarkListing answers pages of fifty, each from somewhere else, as the API does.
func BenchmarkListing(b *testing.B) {
	s, n, now := filled(b)
	moment := func() time.Time { return now.Add(-time.Duration(rand.Int64N(int64(29 * 24 * time.Hour)))) }
	workspace := func() uuid.UUID {
		return uuid.MustParse(fmt.Sprintf("00000000-0000-4000-8000-%012d", rand.IntN(benchWorkspaces)))
	}
	code := func() string { return fmt.Sprintf("CODE_%d", rand.IntN(benchCodes)) }
	for _, c := range []struct {
		by     string
		filter func() ledger.Filter
	}{
		{"workspace", func() ledger.Filter { return ledger.Filter{WorkspaceID: workspace()} }},
		{"code", func() ledger.Filter { return ledger.Filter{Code: code()} }},
		{"code_until", func() ledger.Filter { return ledger.Filter{Code: code(), Until: moment()} }},
		{"time", func() ledger.Filter {
			until := moment()
			return ledger.Filter{Since: until.Add(-time.Hour), Until: until}
		}},
		{"workspace_and_time", func() ledger.Filter {
			return ledger.Filter{WorkspaceID: workspace(), Since: moment()}
		}},
		{"hook_until", func() ledger.Filter { return ledger.Filter{Hook: "heartbeat", Until: moment()} }},
		{"denies_until", func() ledger.Filter { return ledger.Filter{Allowed: new(false), Until: moment()} }},
		{"errors_until", func() ledger.Filter { return ledger.Filter{Failed: new(true), Until: moment()} }},
		{"nothing", func() ledger.Filter { return ledger.Filter{} }},
	} {
		b.Run(c.by, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				query := ledger.Query{Filter: c.filter(), Limit: 50}
				start := time.Now()
				_, err := s.Decisions(b.Context(), query)
				took = append(took, time.Since(start))
				require.NoError(b, err)
			}
			slices.Sort(took)
			b.ReportMetric(float64(n), "decisions")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkReadAll reads all decisions from the oldest on, as a replay does.
func BenchmarkReadAll(b *testing.B) {
	s, n, _ := filled(b)
	for _, page := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("pages_of_%d", page), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				query := ledger.Query{OldestFirst: true, Limit: page}
				read := 0
				for {
					found, err := s.Decisions(b.Context(), query)
					require.NoError(b, err)
					read += len(found)
					if len(found) < page {
						break
					}
					query.After = found[len(found)-1].Decision.ID
				}
				require.Equal(b, n, read)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}

// BenchmarkRecord is the way that every answer waits for.
func BenchmarkRecord(b *testing.B) {
	input := jsontext.Value(`{"hook":"register","request":{"url":"` + strings.Repeat("x", 1000) + `"}}`)
	record := func(b *testing.B, s *sqlite.Store) {
		d := allow(uuid.New())
		d.UID, d.Input = d.ID.String(), input
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute) // as a request has one
		defer cancel()
		_, err := s.Record(ctx, d)
		require.NoError(b, err)
	}
	b.Run("alone", func(b *testing.B) {
		s := openDemo(b, sqlite.Options{})
		for b.Loop() {
			record(b, s)
		}
	})
	b.Run("64_at_once", func(b *testing.B) {
		s := openDemo(b, sqlite.Options{})
		b.SetParallelism(32) // times GOMAXPROCS, 2 on the reference machine
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				record(b, s)
			}
		})
	})
}

// BenchmarkFacts is what every review reads first. There are as many workspaces as a small registry has.
func BenchmarkFacts(b *testing.B) {
	s := openDemo(b, sqlite.Options{})
	for range 256 {
		id := uuid.New()
		require.NoError(b, s.PutWorkspace(b.Context(), id, admission.Workspace{Name: "agent", Kind: "workspace", DeliveryMode: "push"}))
		require.NoError(b, s.PutSecretKey(b.Context(), id, "MODEL"))
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Facts(ctx, researcher)
		require.NoError(b, err)
	}
}

// BenchmarkRecorded is what a review with a uid asks first: whether it was answered before.
func BenchmarkRecorded(b *testing.B) {
	s := openDemo(b, sqlite.Options{})
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Recorded(ctx, admission.RequestKey{UID: "new"})
		require.ErrorIs(b, err, admission.ErrNotRecorded)
	}
}
