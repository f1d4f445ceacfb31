package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func factsQuery(sql string) func(*postgres.Options) {
	return func(o *postgres.Options) { o.FactsQuery = sql }
}

func TestRegistryWithoutKindsIsAnErrorAndNeverNotPlatform(t *testing.T) {
	t.Parallel()
	store := open(t, testenv.DatabaseURL(t, testenv.RegistryBase))

	_, err := store.Facts(t.Context(), uuid.New())
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "42703", refused.Code)

	require.ErrorContains(t, store.CheckFacts(t.Context()), "--facts-query-file")
	require.Error(t, store.FactsReady(t.Context()))
}

func TestOperatorsFactsQueryFitsARegistryWithoutKinds(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryBase)
	h := newHarness(t, url, factsQuery(`
select array(select key from workspace_secrets where workspace_id = $1) as secret_keys,
       null::text[] as global_secret_keys,
       count(*) > 0 as exists,
       json_build_object('kind', case when max(name) = 'concierge' then 'platform' else 'workspace' end) as workspace
from workspaces where id = $1::uuid`))
	id := uuid.New()
	h.exec(t, "insert into workspaces (id, name) values ($1, 'concierge')", id)
	h.PutSecret(t, id, "OTHER")

	require.NoError(t, h.store.FactsReady(t.Context()))
	facts, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "platform", facts.Kind())
	require.Equal(t, []string{"OTHER"}, facts.SecretKeys)
	unknown, err := h.store.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.False(t, unknown.Exists)

	marked, err := h.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
}

func TestFactsQueryThatBreaksItsContractIsRefused(t *testing.T) {
	t.Parallel()
	const (
		yes       = "true as exists"
		workspace = `'{"kind":"workspace"}'::json as workspace`
		keys      = "array['A'] as secret_keys"
		global    = "array['B'] as global_secret_keys"
		where     = "where $1::uuid is not null"
	)
	query := func(parts ...string) string {
		columns := strings.Join(parts[:len(parts)-1], ", ")
		return "select " + columns + " " + parts[len(parts)-1]
	}
	tests := map[string]struct {
		sql, reason string
		runs        bool // CheckFacts cannot know, only a run can
	}{
		"no parameter": {sql: query(yes, workspace, keys, global, ""), reason: "exactly one parameter"},
		"a second parameter": {
			sql:    query(yes, workspace, keys, global, where+" and $2::text = ''"),
			reason: "exactly one parameter",
		},
		"parameter is text": {
			sql:    query(yes, workspace, keys, global, "where $1::text <> ''"),
			reason: "exactly one parameter",
		},
		"syntax":        {sql: "select from where $1", reason: "the database refuses the facts query"},
		"unknown table": {sql: "select * from nowhere where id = $1", reason: "the database refuses the facts query"},
		"two statements": {
			sql:    query(yes, workspace, keys, global, where+"; select 1"),
			reason: "the database refuses the facts query",
		},
		"too few columns": {sql: query(yes, where), reason: "gives 1 columns"},
		"misnamed column": {
			sql:    query(yes, workspace, "array['A'] as keys", global, where),
			reason: `gives a column "keys"`,
		},
		"column twice": {sql: query(yes, workspace, keys, keys, where), reason: `"secret_keys" twice`},
		"wrong type": {
			sql:    query("'yes' as exists", workspace, keys, global, where),
			reason: `"exists" of the facts query must be boolean`,
		},
		"no row": {
			sql:    query(yes, workspace, keys, global, "where $1::uuid is null"),
			reason: "gave no row", runs: true,
		},
		"two rows": {
			sql:    query(yes, workspace, keys, global, "from generate_series(1, 2) "+where),
			reason: "more than one row", runs: true,
		},
		"exists is NULL": {
			sql:    query("null::boolean as exists", workspace, keys, global, where),
			reason: "NULL", runs: true,
		},
		"a key is NULL": {
			sql:    query(yes, workspace, "array[null::text] as secret_keys", global, where),
			reason: "NULL", runs: true,
		},
		"no kind": {
			sql:    query(yes, "'{}'::json as workspace", keys, global, where),
			reason: "no kind", runs: true,
		},
		"workspace is NULL": {
			sql:    query(yes, "null::json as workspace", keys, global, where),
			reason: "not an object", runs: true,
		},
		"fails while it runs": {
			sql:    query("1/(case when $1::uuid is null then 1 else 0 end) > 0 as exists", workspace, keys, global, ""),
			reason: "division by zero", runs: true,
		},
	}
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := open(t, url, factsQuery(test.sql))

			check := store.CheckFacts(t.Context())
			_, run := store.Facts(t.Context(), uuid.New())

			require.ErrorContains(t, store.FactsReady(t.Context()), test.reason)
			if test.runs {
				require.NoError(t, check)
				require.ErrorContains(t, run, test.reason)
				return
			}
			require.ErrorContains(t, check, test.reason)
		})
	}
}

func TestBuiltInFactsQueryKeepsItsContract(t *testing.T) {
	t.Parallel()
	store := open(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))

	require.NoError(t, store.CheckFacts(t.Context()))
}

// A workspace that the look-up of many does not give back has no known facts, which are not the facts of one that does not
// exist or has no secrets. Its neighbours in the same statement have theirs.
func TestFactsBatchWithoutAWorkspaceIsAnError(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	h.store.ForgetWorkspaces()
	ids := h.putWorkspaces(t, 3)
	h.exec(t, "update workspaces set name = 'forgotten' where id = $1", ids[1])

	found, err := h.store.FactsBatch(t.Context(), ids)
	require.NoError(t, err)
	require.NoError(t, found[0])
	require.ErrorContains(t, found[1], "gave no row")
	require.NoError(t, found[2])

	_, err = h.store.WorkspacesAfter(t.Context(), uuid.Nil, 10)
	require.ErrorContains(t, err, "gave no row", "an audit does not pass over it")

	decisions := denials(t, ids)
	marked, errs := h.markAll(t, decisions, func(i int) admission.Judge { return judgeAs(decisions[i]) })
	require.True(t, marked[0].MarkedFailed)
	require.Equal(t, admission.CodeFactsUnavailable, admission.AsError(errs[1]).Code)
	h.requireUntouched(t, ids[1])
	require.True(t, marked[2].MarkedFailed)
}
