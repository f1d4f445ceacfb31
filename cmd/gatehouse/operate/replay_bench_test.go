package operate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// recordedCopies make so many ($1) decisions of those that there are, one for each millisecond before a time ($2).
const (
	sqliteCopies = `
insert into decisions (id, decided_at, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason, policy_revision,
                       marked_failed, dry_run, violations, facts_us, policy_us, erased, masked, input)
with recursive n (i) as (select 1 union all select i + 1 from n where i < $1),
made as (select i, $2 - i as ms, 1 + i % (select max(seq) from decisions) as original from n)
select printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, i), strftime('%Y-%m-%dT%H:%M:%f', ms / 1000.0, 'unixepoch') || '000Z',
       hook, caller, caller_proof, workspace_id, kind, allowed, code, reason, policy_revision, 0, dry_run, violations, facts_us,
       policy_us, erased, masked, input
from made join decisions on seq = original`
	postgresCopies = `
insert into gatehouse.decisions (id, decided_at, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason, policy_revision,
                                 marked_failed, dry_run, violations, facts_us, policy_us, redaction, input)
with originals as materialized (select *, row_number() over (order by id) - 1 as number from gatehouse.decisions),
made as (select i, $2::bigint - i as ms, mod(i, (select count(*) from originals)) as number from generate_series(1, $1::bigint) i)
select (lpad(to_hex(ms), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid, to_timestamp(ms / 1000.0), hook, caller, caller_proof,
       workspace_id, kind, allowed, code, reason, policy_revision, false, dry_run, violations, facts_us, policy_us, redaction, input
from made join originals using (number)`
)

// BenchmarkReplay is a replay of recorded decisions with the policies that made them, read from a store: decisions/s,
// the processor time that each takes in this process, and its largest resident set, MB. The default is a size for any run; GATEHOUSE_BENCH_DECISIONS=1000000
// is what is promised.
func BenchmarkReplay(b *testing.B) {
	count := 20_000
	if asked := os.Getenv("GATEHOUSE_BENCH_DECISIONS"); asked != "" {
		var err error
		count, err = strconv.Atoi(asked)
		require.NoError(b, err)
	}
	b.Run("sqlite", func(b *testing.B) { benchmarkReplay(b, count, "sqlite:"+filepath.Join(b.TempDir(), "bench.db")) })
	b.Run("postgres", func(b *testing.B) { benchmarkReplay(b, count, testenv.DatabaseURL(b, testenv.RegistryCurrent)) })
}

func benchmarkReplay(b *testing.B, count int, databaseURL string) {
	snapshot := recordCopies(b, count, databaseURL)
	records, err := flags.Database{DatabaseURL: databaseURL, DatabaseMaxConns: 4}.Open(b.Context(), flags.StoreOptions{})
	require.NoError(b, err)
	defer func() { require.NoError(b, records.Close()) }()
	read, before := int64(0), used(b)
	for b.Loop() {
		report, err := replay.Run(b.Context(), records, ports.Replay(snapshot), replay.Options{Examples: 3})
		require.NoError(b, err)
		require.Empty(b, report.Flips)
		require.Equal(b, report.Read, report.Unchanged)
		require.GreaterOrEqual(b, report.Read, int64(count))
		read += report.Read
	}
	after := used(b)
	processor := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(processor)/1e3/float64(read), "cpu-µs/decision")
	b.ReportMetric(float64(after.Maxrss)/1024, "max-rss-MB")
}

func used(b *testing.B) (usage syscall.Rusage) {
	b.Helper()
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage
}

// recordCopies has some reviews decided by the embedded policies, and copies the records.
func recordCopies(b *testing.B, count int, databaseURL string) *snapshot.Snapshot {
	schema := flags.InputSchema()
	snapshot, err := snapshot.New(b.Context(), flags.Embedded(), schema)
	require.NoError(b, err)
	ledger, copies, closeStore := copying(b, databaseURL)
	gate := &admission.Gate{
		Facts: ledger, Policy: &history{live: snapshot}, Ledger: ledger, Observer: nobody{}, Now: time.Now,
		Limits: admission.Limits{Facts: cmdtest.Patience, Policy: cmdtest.Patience, Request: cmdtest.Patience},
	}
	for n := range 20 {
		kind := "workspace"
		if n%10 == 0 {
			kind = "platform" // which has no MODEL
		}
		review, err := decode.Review("register", fmt.Appendf(nil, `{"caller_proof": "install", "workspace": {
			"id": "00000000-0000-4000-8000-%012d", "kind": %q, "name": "agent %[1]d", "url": "https://agent-%[1]d.example.com:8443/a2a",
			"delivery_mode": "push", "agent_card": {"name": "agent %[1]d", "url": "https://agent-%[1]d.example.com", "skills": [1, 2, 3]}}}`, n, kind), 64)
		require.NoError(b, err)
		_, err = gate.Review(b.Context(), review)
		require.NoError(b, err)
	}
	copies(count)
	closeStore()
	return snapshot
}

type factsAndLedger interface {
	admission.FactsReader
	admission.Ledger
}

func copying(b *testing.B, databaseURL string) (store factsAndLedger, copies func(int), closeStore func()) {
	now := time.Now().UnixMilli()
	if path, isSQLite := (flags.Database{DatabaseURL: databaseURL}).SQLitePath(); isSQLite {
		store, err := sqlite.Open(b.Context(), sqlite.Options{Path: path})
		require.NoError(b, err)
		require.NoError(b, store.Migrate(b.Context()))
		return store, func(count int) {
			_, err := store.Writer().ExecContext(b.Context(), sqliteCopies, count, now)
			require.NoError(b, err)
		}, func() { require.NoError(b, store.Close()) }
	}
	opened, err := postgres.Open(b.Context(), postgres.Options{URL: databaseURL})
	require.NoError(b, err)
	require.NoError(b, opened.Migrate(b.Context()))
	return opened, func(count int) {
		connection, err := pgx.Connect(b.Context(), databaseURL)
		require.NoError(b, err)
		_, err = connection.Exec(b.Context(), postgresCopies, count, now)
		require.NoError(b, err)
		require.NoError(b, connection.Close(context.WithoutCancel(b.Context())))
	}, opened.Close
}
