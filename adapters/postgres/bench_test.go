package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// BenchmarkRecord is the ledger's own share of a review: one decision made durable, alone and with others.
func BenchmarkRecord(b *testing.B) {
	h := newHarness(b, testenv.DatabaseURL(b, testenv.RegistryCurrent))
	record := func() {
		d := allowedDecision(b, uuid.New())
		d.UID = d.ID.String()
		_, err := h.store.Record(context.Background(), d)
		if err != nil {
			b.Error(err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			record()
		}
	})
	b.Run("16_at_once", func(b *testing.B) {
		b.SetParallelism(8) // times GOMAXPROCS, 2 on the reference machine
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				record()
			}
		})
	})
}

const (
	// benchDecisions says how many decisions BenchmarkDecisions fills in.
	benchDecisions = "GATEHOUSE_BENCH_DECISIONS"
	benchDays      = 30
	benchSpaces    = 100_000 // workspaces that the decisions are of
)

// fillDaySQL makes the decisions of a day (1), so many (2), of so many workspaces (3), in a table (4). Their inputs have
// about 900 bytes. 5 % are denies, most of them of one code and few of another, 1 ‰ are errors, and a fourth has a uid.
const fillDaySQL = `
with made as (
    select
        n, at, md5(n::text || '%[1]s') as noise, random() as luck,
        md5('workspace' || floor(random() * %[3]d))::uuid as workspace_id,
        (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
            || substr(md5(n::text), 1, 3) || '8' || substr(md5('%[1]s' || n), 1, 15))::uuid as id
    from (select n, '%[1]s'::timestamptz + n * (interval '1 day' / %[2]d) as at from generate_series(0, %[2]d - 1) n) times
),
uids as (
    insert into gatehouse.request_uids (uid, caller, digest, decision_id, decided_at)
    select noise, 'registry', decode(noise || noise, 'hex'), id, at from made where mod(n, 4) = 0
)
insert into %[4]s (
    id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason, policy_revision,
    marked_failed, violations, input, facts_us, policy_us, error_code, error_detail
)
select
    id, at, case when mod(n, 4) = 0 then noise end, case when mod(n, 3) = 0 then 'register' else 'heartbeat' end, 'registry', 'token',
    workspace_id, 'workspace',
    case when luck < 0.001 then null else luck > 0.05 end,
    case when luck < 0.001 then 'facts_unavailable' when luck < 0.0011 then 'RARE' when luck < 0.05 then 'URL_NOT_ALLOWED' end,
    case when luck between 0.001 and 0.05 then 'private_address' end, 'sha256:' || repeat('0123456789abcdef', 4), false,
    case when luck between 0.001 and 0.05 then json_build_array(json_build_object(
        'rule', 'url_allowed', 'code', case when luck < 0.0011 then 'RARE' else 'URL_NOT_ALLOWED' end, 'reason', 'private_address',
        'message', 'the address is private', 'severity', 'high', 'enforcement', 'deny', 'status', 400, 'mark_failed', false
    )) else '[]' end,
    format('{"hook":"register","dry_run":false,"caller_proof":"token","request":{"id":"%%1$s","kind":"workspace",'
        '"url":"https://agent-%%2$s.example.com:8443/a2a","delivery_mode":"push","agent_card":{"name":"agent %%2$s",'
        '"url":"https://agent-%%2$s.example.com:8443/a2a","sha256":"%%3$s%%3$s"}},"facts":{"exists":true,"workspace":'
        '{"name":"agent %%2$s","kind":"workspace","status":"online","tier":2,"runtime":"python","role":"helper",'
        '"parent_id":null,"workspace_access":"read_only","budget_limit":null,"monthly_spend":0,"delivery_mode":"push"},'
        '"secret_keys":{"API_KEY":true,"MODEL":true},"global_secret_keys":{}},"url":{"valid":true,"scheme":"https",'
        '"host":"agent-%%2$s.example.com","ip":"","port":8443,"userinfo":false},"deployment":{"saas":false}}',
        workspace_id, n, noise)::json,
    300, 200, case when luck < 0.001 then 'facts_unavailable' end, case when luck < 0.001 then 'the facts cannot be read' end
from made`

// BenchmarkDecisions fills a month of decisions in and looks for some of them, as the API and replay do. Its figures
// are p50-ms and p99-ms. The default is a size for any run; the promise is of GATEHOUSE_BENCH_DECISIONS=10000000,
// which takes 15 GB.
func BenchmarkDecisions(b *testing.B) {
	total := 30_000
	if asked := os.Getenv(benchDecisions); asked != "" {
		var err error
		total, err = strconv.Atoi(asked)
		require.NoError(b, err)
	}
	h := newHarness(b, testenv.DatabaseURL(b, testenv.RegistryCurrent))
	today := time.Now().UTC().Truncate(24 * time.Hour)
	fill(b, h, today, total)
	sample := sampleOf(b, h)

	page := func(filter ledger.Filter) ledger.Query {
		return ledger.Query{Filter: filter, Limit: 50}
	}
	for _, look := range []struct {
		name  string
		query func(some ledger.Decision) ledger.Query
	}{
		{"newest", func(ledger.Decision) ledger.Query { return page(ledger.Filter{}) }},
		{"workspace", func(some ledger.Decision) ledger.Query {
			return page(ledger.Filter{WorkspaceID: some.Decision.WorkspaceID})
		}},
		{"code", func(ledger.Decision) ledger.Query {
			return page(ledger.Filter{Code: "URL_NOT_ALLOWED"})
		}},
		{"rare_code", func(ledger.Decision) ledger.Query {
			return page(ledger.Filter{Code: "RARE"})
		}},
		{"unknown_code", func(ledger.Decision) ledger.Query {
			return page(ledger.Filter{Code: "NONE"})
		}},
		{"code_of_an_hour", func(some ledger.Decision) ledger.Query {
			return page(ledger.Filter{Code: "URL_NOT_ALLOWED", Since: some.Decision.At, Until: some.Decision.At.Add(time.Hour)})
		}},
		{"time", func(some ledger.Decision) ledger.Query {
			return page(ledger.Filter{Since: some.Decision.At, Until: some.Decision.At.Add(time.Hour)})
		}},
		{"denies", func(ledger.Decision) ledger.Query {
			return page(ledger.Filter{Allowed: new(false)})
		}},
		{"errors", func(ledger.Decision) ledger.Query {
			return page(ledger.Filter{Failed: new(true)})
		}},
		{"uid", func(some ledger.Decision) ledger.Query {
			return page(ledger.Filter{UID: some.Decision.UID})
		}},
		{"a_page_further_on", func(some ledger.Decision) ledger.Query {
			query := page(ledger.Filter{Hook: "register"})
			query.After = some.Decision.ID
			return query
		}},
	} {
		b.Run(look.name, func(b *testing.B) {
			measure(b, func() error {
				_, err := h.store.Decisions(b.Context(), look.query(sample[rand.IntN(len(sample))]))
				return err
			})
		})
	}
	b.Run("id", func(b *testing.B) {
		measure(b, func() error {
			_, err := h.store.Decision(b.Context(), sample[rand.IntN(len(sample))].Decision.ID)
			return err
		})
	})
	b.Run("ledger", func(b *testing.B) {
		measure(b, func() error {
			_, err := h.store.DecisionsAfter(b.Context(), rand.Int64N(int64(total)), 50)
			return err
		})
	})
	b.Run("end_of_ledger", func(b *testing.B) {
		measure(b, func() error {
			_, err := h.store.LastDecisionSeq(b.Context())
			return err
		})
	})
	b.Run("stream_in_pages_of_5000", func(b *testing.B) { stream(b, h) })
}

// fill puts total decisions into the partitions of a month that ends today. Indexes come last, when they are made
// sooner.
func fill(b *testing.B, h *harness, today time.Time, total int) {
	b.Helper()
	h.exec(b, "alter table gatehouse.decisions detach partition gatehouse.decisions_before")
	h.exec(b, "drop table gatehouse.decisions_before")
	days := make(chan time.Time)
	var filling sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		filling.Go(func() {
			for day := range days {
				fillDay(b, h, day, total/benchDays)
			}
		})
	}
	for n := range benchDays {
		days <- today.AddDate(0, 0, n+1-benchDays)
	}
	close(days)
	filling.Wait()
	h.exec(b, "analyze gatehouse.decisions")
	h.exec(b, "vacuum analyze gatehouse.request_uids")
}

func fillDay(b *testing.B, h *harness, day time.Time, n int) {
	table := "gatehouse.decisions_" + day.Format("20060102")
	first, next := admission.FirstDecisionID(day), admission.FirstDecisionID(day.AddDate(0, 0, 1))
	for _, statement := range []string{
		"create table " + table + " (like gatehouse.decisions including defaults)",
		fmt.Sprintf(fillDaySQL, day.Format(time.RFC3339), n, benchSpaces, table),
		fmt.Sprintf("alter table gatehouse.decisions attach partition %s for values from ('%s') to ('%s')", table, first, next),
	} {
		_, err := h.registry.Exec(b.Context(), statement)
		if err != nil {
			b.Error(err)
			return
		}
	}
}

// sampleOf are some decisions of all partitions that have a uid.
func sampleOf(b *testing.B, h *harness) []ledger.Decision {
	b.Helper()
	var sample []ledger.Decision
	for _, id := range collect(b, h, pgx.RowTo[uuid.UUID], `
select decision_id from (select decision_id from gatehouse.request_uids tablesample system (5)) sampled order by random() limit 1000`) {
		d, err := h.store.Decision(b.Context(), id)
		require.NoError(b, err)
		sample = append(sample, d)
	}
	return sample
}

// measure reports the median and the 99th percentile of looks.
func measure(b *testing.B, look func() error) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		err := look()
		took = append(took, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	percentile := func(p int) float64 { return float64(took[len(took)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(percentile(50), "p50-ms")
	b.ReportMetric(percentile(99), "p99-ms")
}

// stream reads pages as replay does, from the beginning again once there are no more.
func stream(b *testing.B, h *harness) {
	query := ledger.Query{OldestFirst: true, Limit: 5000}
	n := 0
	for b.Loop() {
		page, err := h.store.Decisions(b.Context(), query)
		if err != nil {
			b.Fatal(err)
		}
		n += len(page)
		query.After = uuid.Nil
		if len(page) == query.Limit {
			query.After = page[len(page)-1].Decision.ID
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "decisions/s")
}

// BenchmarkWorkspacesAfter lists workspaces with their facts, as the audit does.
func BenchmarkWorkspacesAfter(b *testing.B) {
	h := newHarness(b, testenv.DatabaseURL(b, testenv.RegistryCurrent))
	h.exec(b, `insert into workspaces (id, name, runtime, url) select gen_random_uuid(), 'agent ' || n, 'python', 'https://agent.example.com/'
from generate_series(1, 50000) n`)
	h.exec(b, `insert into workspace_secrets (workspace_id, key, encrypted_value) select id, 'MODEL', '\x00' from workspaces`)
	h.exec(b, "analyze workspaces, workspace_secrets")
	h.PutGlobalSecret(b, "API_KEY")
	var after uuid.UUID
	n := 0
	for b.Loop() {
		page, err := h.store.WorkspacesAfter(b.Context(), after, 1000)
		if err != nil {
			b.Fatal(err)
		}
		n += len(page)
		after = uuid.Nil
		if len(page) > 0 {
			after = page[len(page)-1].ID
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "workspaces/s")
}
