package operate_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/operate"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// fillRegistry puts so many ordinary workspaces with a secret each into a registry's database. One in a hundred has
// spent its budget.
func fillRegistry(t testing.TB, database string, n int) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	for _, statement := range []string{
		`
insert into workspaces (name, kind, status, url, tier, runtime, role, agent_card, budget_limit, monthly_spend)
select 'agent ' || i, 'workspace', 'online', 'https://agent-' || i || '.example.com', 2, 'claude-code', 'research',
    jsonb_build_object('name', 'agent ' || i), 5000, case when i % 100 = 0 then 6000 else 100 end
from generate_series(1, ` + strconv.Itoa(n) + `) i`,
		`insert into workspace_secrets (workspace_id, key, encrypted_value) select id, 'ANTHROPIC_API_KEY', '\x00' from workspaces`,
		`vacuum analyze workspaces, workspace_secrets`,
	} {
		_, err = connection.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	require.NoError(t, connection.Close(t.Context()))
}

// BenchmarkAudit is one audit of a Postgres database beside it. GATEHOUSE_AUDIT_WORKSPACES says how many workspaces
// that holds.
func BenchmarkAudit(b *testing.B) {
	workspaces := 2000
	if text := os.Getenv("GATEHOUSE_AUDIT_WORKSPACES"); text != "" {
		var err error
		workspaces, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	database := testenv.DatabaseURL(b, testenv.RegistryCurrent)
	fillRegistry(b, database, workspaces)
	for b.Loop() {
		var out, errs bytes.Buffer
		code := program.Run(b.Context(), "devel", []string{"audit", "--output", "json", "--database-url", database}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		require.Zero(b, code, errs.String())
		var report operate.AuditReport
		require.NoError(b, json.Unmarshal(out.Bytes(), &report))
		require.EqualValues(b, workspaces, report.Audit.Evaluated)
		require.EqualValues(b, workspaces/100, report.Audit.Denied)
	}
	b.ReportMetric(float64(workspaces)*float64(b.N)/b.Elapsed().Seconds(), "workspaces/s")
}
