package sqlite_test

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestFactsOfTheDemo(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	for _, c := range []struct {
		id         uuid.UUID
		workspace  string
		secretKeys []string
	}{
		{concierge, `{"name":"concierge","kind":"platform","status":"provisioning","tier":1,"runtime":null,"role":null,
			"url":"https://concierge.example.com","parent_id":null,"workspace_access":null,"workspace_dir":null,
			"budget_limit":null,"monthly_spend":null,"delivery_mode":"push","last_sample_error":null}`, []string{"MODEL"}},
		{modelless, `{"name":"concierge without a model","kind":"platform","status":"provisioning","tier":1,
			"runtime":null,"role":null,"url":"https://nameless.example.com","parent_id":null,"workspace_access":null,
			"workspace_dir":null,"budget_limit":null,"monthly_spend":null,"delivery_mode":"push",
			"last_sample_error":null}`, []string{}},
		{researcher, `{"name":"researcher","kind":"workspace","status":"online","tier":2,"runtime":"claude-code",
			"role":"research","url":"https://researcher.example.com",
			"parent_id":"00000000-0000-4000-8000-000000000001","workspace_access":"read_only",
			"workspace_dir":"/workspaces/research","budget_limit":5000,"monthly_spend":1200,"delivery_mode":"push",
			"last_sample_error":null}`, []string{"ANTHROPIC_API_KEY"}},
		{spender, `{"name":"big spender","kind":"workspace","status":"online","tier":2,"runtime":"langgraph",
			"role":null,"url":"https://spender.example.com","parent_id":"00000000-0000-4000-8000-000000000001",
			"workspace_access":null,"workspace_dir":null,"budget_limit":5000,"monthly_spend":5400,
			"delivery_mode":"push","last_sample_error":null}`, []string{}},
		{retired, `{"name":"retired","kind":"workspace","status":"removed","tier":3,"runtime":"crewai","role":null,
			"url":"https://retired.example.com","parent_id":"00000000-0000-4000-8000-000000000001",
			"workspace_access":null,"workspace_dir":null,"budget_limit":null,"monthly_spend":null,
			"delivery_mode":"poll","last_sample_error":null}`, []string{}},
	} {
		facts, err := s.Facts(t.Context(), c.id)
		require.NoError(t, err)
		require.True(t, facts.Exists)
		require.JSONEq(t, c.workspace, string(facts.Workspace))
		require.Equal(t, c.secretKeys, facts.SecretKeys)
		require.Empty(t, facts.GlobalSecretKeys)
	}
}

func TestFactsOfAWorkspaceThatIsNotStored(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	facts, err := s.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.Equal(t, admission.Facts{
		Workspace: []byte("{}"), SecretKeys: []string{}, GlobalSecretKeys: []string{},
	}, facts)
}

func TestLoadDemoLeavesAloneWhatIsThere(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	require.NoError(t, s.DeleteSecretKey(t.Context(), concierge, "MODEL"))
	require.NoError(t, s.DeleteWorkspace(t.Context(), retired))

	n, err := s.LoadDemo(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	facts, err := s.Facts(t.Context(), concierge)
	require.NoError(t, err)
	require.Empty(t, facts.SecretKeys, "a secret that was taken away does not come back")
}

// ownQuery is what an operator may write: columns in another order, members and secrets from elsewhere.
const ownQuery = `
select json_array('LICENCE') as global_secret_keys, json_array('b', 'a', 'b') as secret_keys,
       count(*) as "exists", json_object('kind', max(kind), 'quota', 7) as workspace
from workspaces where id = $1`

func TestFactsQueryOfAnOperator(t *testing.T) {
	s := openDemo(t, sqlite.Options{FactsQuery: ownQuery})
	facts, err := s.Facts(t.Context(), concierge)
	require.NoError(t, err)
	require.True(t, facts.Exists)
	require.JSONEq(t, `{"kind":"platform","quota":7}`, string(facts.Workspace))
	require.Equal(t, []string{"a", "b"}, facts.SecretKeys)
	require.Equal(t, []string{"LICENCE"}, facts.GlobalSecretKeys)

	facts, err = s.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.False(t, facts.Exists)
	require.Equal(t, "{}", string(facts.Workspace))
	require.NoError(t, s.CheckFacts(t.Context()))
}

// TestOperatorsFactsQueryEndsWithItsReview asks one that never ends, more often than there are connections.
func TestOperatorsFactsQueryEndsWithItsReview(t *testing.T) {
	const endless = `
		with recursive n (i) as (select 1 union all select i + 1 from n)
		select max(i) as "exists", '{}' as workspace, '[]' as secret_keys, '[]' as global_secret_keys from n where $1 is not null`
	s := openDemo(t, sqlite.Options{FactsQuery: endless})
	for range 2 * max(4, runtime.GOMAXPROCS(0)) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := s.Facts(ctx, concierge)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

func TestCheckFacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	require.NoError(t, openDemo(t, sqlite.Options{Path: path}).CheckFacts(t.Context()))

	onlyKnown := `select 1 as "exists", json_object('kind', kind) as workspace, '[]' as secret_keys,
		'[]' as global_secret_keys from workspaces where id = $1`
	err := open(t, sqlite.Options{Path: path, FactsQuery: onlyKnown}).CheckFacts(t.Context())
	require.ErrorContains(t, err, "checking the facts query: reading facts: the facts query gave no row")
}

func TestBadFactsQuery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	openDemo(t, sqlite.Options{Path: path})
	const wrongColumns = "it must give exists, workspace, secret_keys and global_secret_keys, each once"
	for _, c := range []struct{ name, query, says string }{
		{"syntax", `selekt 1`, "syntax error"},
		{"unknown column", `select 1 as "exists", "kindd" as workspace, '[]' as secret_keys, '[]' as global_secret_keys
			from workspaces`, `no such column: "kindd"`},
		{"second parameter", `select $1, $2`, "missing named argument"},
		{"column missing", `select 1 as "exists", '{}' as workspace, '[]' as secret_keys`, wrongColumns},
		{"column misspelt", `select 1 as "exists", '{}' as workspace, '[]' as secrets, '[]' as global_secret_keys`,
			"the facts query gives the columns exists, workspace, secrets, global_secret_keys; " + wrongColumns},
		{"column twice", `select 1 as "exists", '{}' as workspace, '[]' as secret_keys, '[]' as secret_keys`, wrongColumns},
		{"column too many", `select 1 as "exists", '{}' as workspace, '[]' as secret_keys, '[]' as global_secret_keys,
			2 as more`, wrongColumns},
		{"no row", ownQuery + ` group by id having false`, "gave no row"},
		{"two rows", `select 1 as "exists", '{"kind":"workspace"}' as workspace, '[]' as secret_keys,
			'[]' as global_secret_keys from (values (1), (2))`, "more than one row"},
		{"exists 2", row(`2`, `'{"kind":"workspace"}'`, `'[]'`), "exists that is not 0 or 1"},
		{"exists null", row(`null`, `'{"kind":"workspace"}'`, `'[]'`), "exists that is not 0 or 1"},
		{"exists text", row(`'yes'`, `'{"kind":"workspace"}'`, `'[]'`), "exists"},
		{"workspace null", row(`1`, `null`, `'[]'`), "a workspace that is no JSON"},
		{"workspace broken", row(`1`, `'{"kind":'`, `'[]'`), "a workspace that is no JSON"},
		{"workspace array", row(`1`, `'[]'`, `'[]'`), "workspace is not an object"},
		{"no kind", row(`1`, `'{"name":"x"}'`, `'[]'`), "the stored workspace has no kind"},
		{"keys null", row(`1`, `'{"kind":"workspace"}'`, `null`), "a secret_keys that is no JSON array of texts"},
		{"keys object", row(`1`, `'{"kind":"workspace"}'`, `'{"MODEL":1}'`), "a secret_keys that is no JSON array of texts"},
		{"keys JSON null", row(`1`, `'{"kind":"workspace"}'`, `'null'`), "a secret_keys that is no JSON array of texts"},
		{"keys with null", row(`1`, `'{"kind":"workspace"}'`, `'[null]'`), "a secret_keys that is no JSON array of texts"},
		{"keys numbers", row(`1`, `'{"kind":"workspace"}'`, `'[1]'`), "a secret_keys that is no JSON array of texts"},
		{"writes", `insert into workspace_secrets (workspace_id, key) values ($1, 'MODEL') returning
			1 as "exists", '{"kind":"platform"}' as workspace, '["MODEL"]' as secret_keys, '[]' as global_secret_keys`,
			"attempt to write a readonly database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, sqlite.Options{Path: path, FactsQuery: c.query})
			_, err := s.Facts(t.Context(), modelless)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func row(exists, workspace, secretKeys string) string {
	return `select ` + exists + ` as "exists", ` + workspace + ` as workspace, ` + secretKeys + ` as secret_keys,
		'[]' as global_secret_keys`
}
