package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

var auditTests = map[string]func(*testing.T, Harness){
	"before the first run there is nothing": func(t *testing.T, h Harness) {
		require.Empty(t, audits(t, h.Store(), 10))
		require.Empty(t, findings(t, h.Store(), audit.Query{RunID: uuid.New(), Limit: 10}))
		require.NoError(t, h.Store().PruneAudits(t.Context(), 1))
	},
	"a run is read as it was saved last": func(t *testing.T, h Harness) {
		run := auditRun(t)
		require.NoError(t, h.Store().SaveAudit(t.Context(), run, nil))
		require.Equal(t, []audit.Run{run}, audits(t, h.Store(), 10))

		run.State, run.FinishedAt, run.Cursor = audit.Finished, new(run.UpdatedAt.Add(time.Minute)), uuid.New()
		run.UpdatedAt, run.Worked, run.Evaluated, run.Denied, run.Warned = *run.FinishedAt, 90*time.Second, 1<<40, 3, 4
		run.Failed, run.Marked, run.Violations = 5, 6, map[string]int64{identityGate: 7, "é": 8}
		require.NoError(t, h.Store().SaveAudit(t.Context(), run, nil))

		require.Equal(t, []audit.Run{run}, audits(t, h.Store(), 10))
	},
	"what the verdicts of a run depend on is kept": func(t *testing.T, h Harness) {
		run := auditRun(t)
		for _, deployment := range []*admission.Deployment{nil, {SaaS: true}, {}} {
			run.Deployment, run.FactsRevision, run.Candidate = deployment, audit.FactsRevision("select é"), !run.Candidate
			require.NoError(t, h.Store().SaveAudit(t.Context(), run, nil))
			require.Equal(t, []audit.Run{run}, audits(t, h.Store(), 10))
		}
	},
	"runs are read newest first": func(t *testing.T, h Harness) {
		first, second, third := auditRun(t), auditRun(t), auditRun(t)
		for _, run := range []audit.Run{second, third, first} {
			require.NoError(t, h.Store().SaveAudit(t.Context(), run, nil))
		}

		require.Equal(t, []audit.Run{third, second}, audits(t, h.Store(), 2))
	},
	"findings that are saved again stay as they were": func(t *testing.T, h Harness) {
		run := auditRun(t)
		saved := []audit.Finding{finding(run, identityGate), finding(run, "OTHER")}
		saved[0].Marked, saved[0].DecisionID = true, uuid.New()
		saved[1].Denied, saved[1].Code, saved[1].Violations, saved[1].Error = false, "", nil, admission.CodePolicyError
		require.NoError(t, h.Store().SaveAudit(t.Context(), run, saved[:1]))
		again := saved[0]
		again.Marked, again.DecisionID = false, uuid.Nil // a run that goes on finds the row marked already

		require.NoError(t, h.Store().SaveAudit(t.Context(), run, []audit.Finding{again, saved[1]}))

		require.Equal(t, ordered(saved), findings(t, h.Store(), audit.Query{RunID: run.ID, Limit: 10}))
	},
	"findings are read in pages, of one code or of all": func(t *testing.T, h Harness) {
		run, other := auditRun(t), auditRun(t)
		var saved, ofCode []audit.Finding
		for i := range 50 {
			f := finding(run, fmt.Sprintf("CODE_%d", i%3))
			saved = append(saved, f)
			if i%3 == 1 {
				ofCode = append(ofCode, f)
			}
		}
		require.NoError(t, h.Store().SaveAudit(t.Context(), run, saved))
		require.NoError(t, h.Store().SaveAudit(t.Context(), other, []audit.Finding{finding(other, "CODE_1")}))

		for _, page := range []int{1, 7, 50, 100} {
			require.Equal(t, ordered(saved), findings(t, h.Store(), audit.Query{RunID: run.ID, Limit: page}))
			require.Equal(t, ordered(ofCode), findings(t, h.Store(), audit.Query{RunID: run.ID, Code: "CODE_1", Limit: page}))
		}
		require.Empty(t, findings(t, h.Store(), audit.Query{RunID: run.ID, Code: "NONE", Limit: 10}))
	},
	"old runs go with their findings": func(t *testing.T, h Harness) {
		var runs []audit.Run
		for range 5 {
			run := auditRun(t)
			require.NoError(t, h.Store().SaveAudit(t.Context(), run, []audit.Finding{finding(run, identityGate)}))
			runs = append(runs, run)
		}

		require.NoError(t, h.Store().PruneAudits(t.Context(), 2))

		require.Equal(t, []audit.Run{runs[4], runs[3]}, audits(t, h.Store(), 10))
		for i, run := range runs {
			require.Len(t, findings(t, h.Store(), audit.Query{RunID: run.ID, Limit: 10}), max(i-2, 0)-max(i-3, 0))
		}
	},
	"runs of candidates push out none of the live policies": func(t *testing.T, h Harness) {
		var runs []audit.Run
		for i := range 6 {
			run := auditRun(t)
			run.Candidate = i >= 3
			require.NoError(t, h.Store().SaveAudit(t.Context(), run, nil))
			runs = append(runs, run)
		}

		require.NoError(t, h.Store().PruneAudits(t.Context(), 2))

		require.Equal(t, []audit.Run{runs[5], runs[4], runs[2], runs[1]}, audits(t, h.Store(), 10))
	},
}

func auditRun(t testing.TB) audit.Run {
	t.Helper()
	id, err := uuid.NewV7()
	require.NoError(t, err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	return audit.Run{
		ID: id, Hook: hook, State: audit.Running, Enforce: true, Revision: revision,
		StartedAt: now, UpdatedAt: now, Violations: map[string]int64{},
		NotJudged: []audit.NotJudged{{Rule: "has_a_card", Code: "CARD_MISSING", Reads: []string{"input.request.agent_card"}}},
	}
}

func finding(run audit.Run, code string) audit.Finding {
	violation := deny("it says \"no\" – \u2028")
	violation.Code = code
	return audit.Finding{
		RunID: run.ID, WorkspaceID: uuid.New(), Kind: "platform", Status: "online", Denied: true, Code: code,
		Violations: []admission.Violation{violation},
	}
}

func ordered(all []audit.Finding) []audit.Finding {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b audit.Finding) int { return bytes.Compare(a.WorkspaceID[:], b.WorkspaceID[:]) })
	return all
}

func audits(t testing.TB, s Store, limit int) []audit.Run {
	t.Helper()
	runs, err := s.Audits(t.Context(), limit)
	require.NoError(t, err)
	return runs
}

// findings reads all that a query asks for, page by page. No violations are nil.
func findings(t testing.TB, s Store, query audit.Query) []audit.Finding {
	t.Helper()
	var all []audit.Finding
	for {
		page, err := s.AuditFindings(t.Context(), query)
		require.NoError(t, err)
		for _, f := range page {
			if len(f.Violations) == 0 {
				f.Violations = nil
			}
			all = append(all, f)
		}
		if len(page) < query.Limit {
			return all
		}
		query.After = page[len(page)-1].WorkspaceID
	}
}

var workspacesTests = map[string]func(*testing.T, Harness){
	"a database without workspaces lists none": func(t *testing.T, h Harness) {
		require.Empty(t, workspaces(t, h.Store(), 10))
		require.Zero(t, count(t, h.Store()))
	},
	"workspaces are listed in order of ids, with the facts that a review would see": func(t *testing.T, h Harness) {
		const n = 120
		known := make([]uuid.UUID, n)
		for i := range known {
			known[i] = uuid.New()
			h.PutWorkspace(t, known[i], anyWorkspace(i == 0))
			for _, key := range []string{model, "ALPHA", "Zürich", "model"} {
				if rand.IntN(3) == 0 {
					h.PutSecret(t, known[i], key)
				}
			}
		}
		h.PutGlobalSecret(t, "GLOBAL")
		h.PutGlobalSecret(t, "ANOTHER")
		slices.SortFunc(known, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })

		for _, page := range []int{1, 7, n, n + 1} {
			listed := workspaces(t, h.Store(), page)
			require.Len(t, listed, n)
			for i, workspace := range listed {
				require.Equal(t, known[i], workspace.ID)
				require.Equal(t, facts(t, h.Store(), known[i]), workspace.Facts)
			}
		}
		require.EqualValues(t, n, count(t, h.Store()))
	},
}

// anyWorkspace is a row of which any member that may be NULL may be. There is one platform row a database.
func anyWorkspace(onlyPlatform bool) admission.Workspace {
	w := admission.Workspace{Name: "Zoë \"<&>\" \u2028", Kind: "workspace", DeliveryMode: "push"}
	if onlyPlatform {
		w.Kind = "platform"
	}
	some := func() bool { return rand.IntN(2) == 0 }
	if some() {
		w.Status = new([]string{"online", "failed", "removed"}[rand.IntN(3)])
	}
	if some() {
		w.Tier, w.MonthlySpend = new(rand.Int64N(5)), new(rand.Int64())
	}
	if some() {
		w.Runtime, w.Role, w.URL = new("python"), new(""), new("https://agent.example.com/")
	}
	if some() {
		w.WorkspaceAccess, w.WorkspaceDir = new("read_write"), new("/srv/w")
	}
	if some() {
		w.BudgetLimit, w.LastSampleError = new(rand.Int64()), new("late")
	}
	return w
}

// workspaces reads all of them, page by page.
func workspaces(t testing.TB, s Store, page int) []audit.StoredWorkspace {
	t.Helper()
	var all []audit.StoredWorkspace
	var after uuid.UUID
	for {
		found, err := s.WorkspacesAfter(t.Context(), after, page)
		require.NoError(t, err)
		all = append(all, found...)
		if len(found) < page {
			return all
		}
		after = found[len(found)-1].ID
	}
}

func count(t testing.TB, s Store) int64 {
	t.Helper()
	n, err := s.CountWorkspaces(t.Context())
	require.NoError(t, err)
	return n
}
