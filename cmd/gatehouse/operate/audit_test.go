package operate_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/operate"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
)

// audited runs the command and reads its JSON.
func audited(t *testing.T, database string, args ...string) operate.AuditReport {
	t.Helper()
	got := programtest.Command(t, "", append([]string{"audit", "--output", "json", "--database-url", database}, args...)...)
	require.Zero(t, got.Code, got.Err)
	var report operate.AuditReport
	require.NoError(t, json.Unmarshal([]byte(got.Out), &report), got.Out)
	return report
}

func TestAuditFindsDeniesAndChangesNothing(t *testing.T) {
	t.Parallel()
	database := programtest.DemoFile(t)
	report := audited(t, database)
	require.Equal(t, audit.Finished, report.Audit.State)
	require.Equal(t, []int64{5, 2, 0, 0, 0}, []int64{
		report.Audit.Evaluated, report.Audit.Denied, report.Audit.Warned, report.Audit.Failed, report.Audit.Marked,
	})
	require.Equal(t, cmdtest.DemoWithoutModel, report.Examples["PLATFORM_AGENT_IDENTITY_GATE"][0].WorkspaceID)
	path := strings.TrimPrefix(database, "sqlite:")
	var decisions, failed int
	cmdtest.Query(t, path, "select count(*) from decisions", &decisions)
	cmdtest.Query(t, path, "select count(*) from workspaces where status = 'failed'", &failed)
	require.Zero(t, decisions+failed)

	got := programtest.Command(t, "", "audit", "--database-url", database, "--fail-on-violation")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Out, "5 workspaces: 2 would be denied, 0 warned of, 0 without a verdict\n")
	require.Regexp(t, `(?m)^PLATFORM_AGENT_IDENTITY_GATE +1 +as `+cmdtest.DemoWithoutModel.String()+`$`, got.Out)

	lenient := cmdtest.CandidateFolder(t, "{PLATFORM_AGENT_IDENTITY_GATE: warn, BUDGET_EXCEEDED: audit, WORKSPACE_REMOVED: warn}")
	got = programtest.Command(t, "", "audit", "--database-url", database, "--policies", lenient, "--fail-on-violation")
	require.Zero(t, got.Code, got.Out)
	require.Contains(t, got.Out, "0 would be denied")
}

func TestAuditsAreListedAndShownWithoutAServer(t *testing.T) {
	t.Parallel()
	database := programtest.DemoFile(t)
	got := programtest.Command(t, "", "audit", "show", "--database-url", database)
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "no audit is kept")
	first := audited(t, database, "--examples", "0")
	require.Empty(t, first.Examples)
	second := audited(t, database)

	got = programtest.Command(t, "", "audit", "list", "--database-url", database, "--output", "json")
	var list resources.AuditList
	require.NoError(t, json.Unmarshal([]byte(got.Out), &list))
	require.Equal(t, []uuid.UUID{second.Audit.ID, first.Audit.ID}, []uuid.UUID{list.Audits[0].ID, list.Audits[1].ID})
	require.Regexp(t, `(?m)^`+first.Audit.ID.String()+` +\S+ +finished +no +5 +2 +0 +0 +0 `,
		programtest.Command(t, "", "audit", "list", "--database-url", database).Out)

	got = programtest.Command(t, "", "audit", "show", "--database-url", database, "--limit", "1")
	require.Regexp(t, `(?m)^`+cmdtest.DemoWithoutModel.String()+` +platform +provisioning +yes +no +PLATFORM_AGENT_IDENTITY_GATE +model_missing$`, got.Out)
	cursor := regexp.MustCompile(`--cursor (\S+)`).FindStringSubmatch(got.Out)
	require.NotNil(t, cursor, got.Out)
	got = programtest.Command(t, "", "audit", "show", first.Audit.ID.String(), "--database-url", database, "--cursor", cursor[1], "--output", "json")
	var page operate.AuditPage
	require.NoError(t, json.Unmarshal([]byte(got.Out), &page))
	require.Equal(t, first.Audit.ID, page.Audit.ID)
	require.Len(t, page.Findings, 1)
	got = programtest.Command(t, "", "audit", "show", "--database-url", database, "--code", "BUDGET_EXCEEDED")
	require.NotContains(t, got.Out, cmdtest.DemoWithoutModel.String())

	for says, args := range map[string][]string{
		"no audit has this id":              {"audit", "show", uuid.NewString()},
		"--limit is not a number from 1 to": {"audit", "show", "--limit=0"},
		"--cursor is not one":               {"audit", "show", "--cursor=x"},
		"must not be negative":              {"audit", "--rate=-1"},
	} {
		got = programtest.Command(t, "", append(args, "--database-url", database)...)
		require.Equal(t, cli.ExitFailed, got.Code, says)
		require.Contains(t, got.Err, says)
	}
}

// trail is all that a deny leaves behind, but for ids and times.
type trail struct {
	Status, LastError string
	Structure, Events []string
	Jobs, Decisions   []string
}

// trailOf reads it from a database of either kind.
func trailOf(t *testing.T, url string, id uuid.UUID) (found trail) {
	t.Helper()
	driver, schema, arguments := "pgx", "gatehouse.", "cast(args as text)"
	if path, isSQLite := strings.CutPrefix(url, "sqlite:"); isSQLite {
		driver, schema, arguments, url = "sqlite", "", "json(args)", path
	}
	db, err := sql.Open(driver, url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(),
		`select cast(status as text), coalesce(last_sample_error, '') from workspaces where id = $1`, id.String()).Scan(&found.Status, &found.LastError))
	texts := func(query string, args ...any) (all []string) {
		rows, err := db.QueryContext(t.Context(), query, args...)
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		for rows.Next() {
			var text string
			require.NoError(t, rows.Scan(&text))
			all = append(all, cmdtest.Normalize(text))
		}
		require.NoError(t, rows.Err())
		return all
	}
	found.Structure = texts(`select event_type || ' ' || cast(payload as text) from structure_events where workspace_id = $1`, id.String())
	found.Events = texts(`select message from `+schema+`events where workspace_id = $1`, id.String())
	found.Jobs = texts(`select kind || ' ' || queue || ' ' || ` + arguments + ` from ` + schema + `river_job order by id`)
	found.Decisions = texts(`
select hook || ' ' || caller_proof || ' ' || kind || ' ' || code || ' ' || cast(marked_failed as text) || ' ' ||
    cast(violations as text) || ' ' || coalesce(cast(event as text), '')
from `+schema+`decisions where workspace_id = $1`, id.String())
	return found
}

// auditStores are databases with a platform workspace that has no MODEL.
func auditStores(t *testing.T) map[string]func(t *testing.T) (database string, id uuid.UUID) {
	t.Helper()
	return map[string]func(t *testing.T) (string, uuid.UUID){
		"sqlite": func(t *testing.T) (string, uuid.UUID) { return programtest.DemoFile(t), cmdtest.DemoWithoutModel },
		"postgres": func(t *testing.T) (string, uuid.UUID) {
			database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
			cmdtest.NewRegistry(t, database).Exec(`
insert into workspaces (id, name, kind, url) values ($1, 'nameless', 'platform', 'https://nameless.example.com')`, cmdtest.DemoWithoutModel)
			return database, cmdtest.DemoWithoutModel
		},
	}
}

// What an audit denies is denied as a registry's own request is: the row, the registry's event, the ledger, the
// sinks' jobs and the record are the same, and happen once.
func TestEnforcingAuditDeniesAsALiveReviewDoes(t *testing.T) {
	t.Parallel()
	for name, open := range auditStores(t) {
		t.Run(name, func(t *testing.T) {
			live, id := open(t)
			s := programtest.Serve(t, "--database-url", live, "--sinks", cmdtest.AwaySink)
			s.WaitReady()
			status, answer := s.Send(http.MethodPost, "/v1/admission/register", fmt.Sprintf(
				`{"workspace": {"id": %q, "url": "https://nameless.example.com", "kind": "platform", "delivery_mode": "push"}}`, id), "")
			require.Equal(t, 200, status)
			require.True(t, cmdtest.ParseAnswer(t, answer).MarkedFailed)
			require.Zero(t, s.Stop())
			want := trailOf(t, live, id)
			require.Equal(t, "failed", want.Status)
			require.Len(t, want.Jobs, 1)

			database, id := open(t)
			report := audited(t, database, "--enforce", "--sinks", cmdtest.AwaySink)
			require.True(t, report.Audit.Enforce)
			require.EqualValues(t, 1, report.Audit.Marked)
			finding := report.Examples["PLATFORM_AGENT_IDENTITY_GATE"][0]
			require.True(t, finding.Marked)
			require.NotEqual(t, uuid.Nil, finding.DecisionID)
			require.Equal(t, want, trailOf(t, database, id))

			again := audited(t, database, "--enforce", "--sinks", cmdtest.AwaySink)
			require.Zero(t, again.Audit.Marked, "it is failed for this reason already")
			second := trailOf(t, database, id)
			require.Equal(t, want.Structure, second.Structure)
			require.Equal(t, want.Events, second.Events)
			require.Equal(t, want.Jobs, second.Jobs)
			require.Len(t, second.Decisions, 2)
		})
	}
}

func TestEnforcingAuditWithoutSinksSaysThatNobodyIsTold(t *testing.T) {
	t.Parallel()
	got := programtest.Command(t, "", "audit", "--enforce", "--database-url", programtest.DemoFile(t))
	require.Zero(t, got.Code)
	require.Contains(t, got.Err, "no sinks are given: nobody is told of workspaces that are marked failed")
	require.Contains(t, got.Out, "2 denied (1 marked failed now)")
}

// A row that an operator's facts query cannot make facts of is a finding, and hides no other.
func TestAuditFindsARowThatIsNoFacts(t *testing.T) {
	t.Parallel()
	queries := map[string]string{
		"sqlite": `
select w.id is not null as "exists", json_object('name', w.name, 'kind', nullif(w.kind, 'platform'), 'url', w.url) as workspace,
    '[]' as secret_keys, '[]' as global_secret_keys
from (select $1 as id) asked left join workspaces w on w.id = asked.id`,
		"postgres": `
select w.id is not null as "exists", json_build_object('name', w.name, 'kind', nullif(w.kind, 'platform'), 'url', w.url) as workspace,
    array[]::text[] as secret_keys, array[]::text[] as global_secret_keys
from (select $1::uuid as id) asked left join workspaces w on w.id = asked.id`,
	}
	for name, open := range auditStores(t) {
		t.Run(name, func(t *testing.T) {
			database, id := open(t)
			report := audited(t, database, "--facts-query-file", cmdtest.File(t, "facts.sql", queries[name]))
			require.Positive(t, report.Audit.Failed)
			got := programtest.Command(t, "", "audit", "show", "--database-url", database)
			require.Regexp(t, `(?m)^`+id.String()+` .* no +no +facts_unavailable`, got.Out)
		})
	}
}

func TestServeAuditsOnScheduleAndEveryReplicaShowsIt(t *testing.T) {
	t.Parallel()
	for name, open := range auditStores(t) {
		t.Run(name, func(t *testing.T) {
			database, id := open(t)
			args := []string{"--database-url", database, "--audit-interval", "1h", "--audit-enforce", "--sinks", cmdtest.AwaySink}
			gate := cmdtest.Start(t, args...).WaitReady()
			const violations = `gatehouse_audit_violations{code="PLATFORM_AGENT_IDENTITY_GATE"}`
			require.Eventually(t, func() bool { return gate.Metric(`gatehouse_audit_runs_total{result="finished"}`) == "1" }, cmdtest.Patience, cmdtest.Tick)
			require.Equal(t, "1", gate.Metric(cmdtest.Denials("register")))
			require.Equal(t, "1", gate.Metric(`gatehouse_decision_records_total{result="recorded"}`))
			found := trailOf(t, database, id)
			require.Equal(t, "failed", found.Status)
			require.Len(t, found.Jobs, 1)

			status, text := gate.Get("/v1/audits")
			require.Equal(t, 200, status)
			var list resources.AuditList
			require.NoError(t, json.Unmarshal([]byte(text), &list))
			require.Len(t, list.Audits, 1)
			require.EqualValues(t, 1, list.Audits[0].Marked)
			status, text = gate.Get("/v1/audits/" + list.Audits[0].ID.String() + "/findings?code=PLATFORM_AGENT_IDENTITY_GATE")
			require.Equal(t, 200, status)
			require.Contains(t, text, id.String())
			require.Contains(t, gate.Logged(), `"msg":"audit finished"`)
			gate.End()

			// One that comes later does not audit again, and shows the same.
			other := cmdtest.Start(t, args...).WaitReady()
			require.Equal(t, "1", other.Metric(violations))
			require.NotEqual(t, "0", other.Metric("gatehouse_audit_last_run_timestamp_seconds"))
			require.Equal(t, "0", other.Metric(`gatehouse_audit_runs_total{result="finished"}`))
		})
	}
}

func TestServeRefusesBadAuditSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"--audit-interval=-1s"}, {"--audit-rate=-1"}, {"--audit-enforce", "--dry-run"}} {
		got := programtest.Command(t, "", append([]string{"serve", "--listen=127.0.0.1:0"}, args...)...)
		require.Equal(t, cli.ExitFailed, got.Code)
		require.Contains(t, got.Err, "--audit-")
	}
}

// A process that audits is killed. The next one goes on where it was, and the sum is that of one look at everything.
func TestAuditSurvivesKill9(t *testing.T) {
	t.Parallel()
	const workspaces = 3000
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	fillRegistry(t, database, workspaces)
	platform := reg.Workspace("platform", "online")
	path, err := cmdtest.BuildProgram()
	require.NoError(t, err)
	migrated := programtest.Command(t, "", "migrate", "--database-url", database)
	require.Zero(t, migrated.Code, migrated.Err)

	killed := exec.Command(path, "audit", "--enforce", "--rate", "500", "--database-url", database, "--sinks", cmdtest.AwaySink)
	require.NoError(t, killed.Start())
	require.Eventually(t, func() bool {
		return reg.Count(`select coalesce(max(evaluated), 0) from gatehouse.audit_runs`) >= 500
	}, cmdtest.Patience, cmdtest.Tick)
	got := programtest.Command(t, "", "audit", "--database-url", database)
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "another audit of this database is running")
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	before := reg.Count(`select max(evaluated) from gatehouse.audit_runs`)
	require.Less(t, before, workspaces)

	var report operate.AuditReport
	require.Eventually(t, func() bool { // until the database has heard that its client is dead
		got = programtest.Command(t, "", "audit", "--enforce", "--sinks", cmdtest.AwaySink, "--output", "json", "--database-url", database)
		return got.Code == 0
	}, cmdtest.Patience, cmdtest.Tick)
	require.NoError(t, json.Unmarshal([]byte(got.Out), &report))
	require.Equal(t, 1, reg.Count(`select count(*) from gatehouse.audit_runs`), "it is the same audit")
	require.EqualValues(t, workspaces+1, report.Audit.Evaluated)
	require.EqualValues(t, 31, report.Audit.Denied)
	require.EqualValues(t, 1, report.Audit.Marked)
	require.Equal(t, 31, reg.Count(`select count(*) from gatehouse.audit_findings`))
	require.Equal(t, 1, reg.LedgerEvents(platform))
	require.Equal(t, 1, reg.Decisions(platform))
}

func TestAuditThatIsToldToStopSaysWhereTheNextGoesOn(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	fillRegistry(t, database, 1000)
	gate := cmdtest.Start(t, "--database-url", database, "--audit-interval", "1h", "--audit-rate", "100").WaitReady()
	require.Eventually(t, func() bool {
		return reg.Count(`select coalesce(max(evaluated), 0) from gatehouse.audit_runs`) >= 100
	}, cmdtest.Patience, cmdtest.Tick)
	gate.End()
	require.Contains(t, gate.Logged(), `"msg":"audit is interrupted"`)

	gate = cmdtest.Start(t, "--database-url", database, "--audit-interval", "1h", "--audit-rate", "0").WaitReady()
	require.Eventually(t, func() bool { return gate.Metric(`gatehouse_audit_runs_total{result="finished"}`) == "1" }, cmdtest.Patience, cmdtest.Tick)
	require.Equal(t, 1, reg.Count(`select count(*) from gatehouse.audit_runs where state = 'finished' and evaluated = 1000`))
}

// interrupted begins an audit and stops it after a workspace.
func interrupted(t *testing.T, database string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- program.Run(ctx, "devel", append([]string{"audit", "--rate", "1", "--database-url", database}, args...),
			cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	}()
	require.Eventually(t, func() bool {
		var evaluated int
		cmdtest.Query(t, strings.TrimPrefix(database, "sqlite:"), `select coalesce(max(evaluated), 0) from audit_runs where state = 'running'`, &evaluated)
		return evaluated > 0
	}, cmdtest.Patience, cmdtest.Tick)
	stop()
	require.Equal(t, cli.ExitFailed, <-ended)
}

// listed are the audits that are kept, newest first.
func listed(t *testing.T, database string) []map[string]any {
	t.Helper()
	got := programtest.Command(t, "", "audit", "list", "--database-url", database, "--output", "json")
	require.Zero(t, got.Code, got.Err)
	var list struct{ Audits []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(got.Out), &list))
	return list.Audits
}

const otherFacts = `
select w.id is not null as "exists", json_object('kind', w.kind) as workspace,
    '["MODEL"]' as secret_keys, '[]' as global_secret_keys
from (select $1 as id) asked left join workspaces w on w.id = asked.id`

// The verdicts of one audit depend on one deployment and one facts query.
func TestInterruptedAuditGoesOnOnlyWithTheSameSettings(t *testing.T) {
	t.Parallel()
	facts := []string{"--facts-query-file", cmdtest.File(t, "facts.sql", otherFacts)}
	for _, c := range []struct {
		before, now []string
		goesOn      bool
	}{
		{nil, nil, true}, {[]string{"--saas"}, []string{"--saas"}, true}, {facts, facts, true},
		{[]string{"--saas"}, nil, false}, {nil, []string{"--saas"}, false}, {facts, nil, false}, {nil, facts, false},
	} {
		t.Run(fmt.Sprint(c.before, c.now), func(t *testing.T) {
			database := programtest.DemoFile(t)
			interrupted(t, database, c.before...)
			audited(t, database, c.now...)
			runs := listed(t, database)
			if c.goesOn {
				require.Len(t, runs, 1, "it is the same audit")
				return
			}
			require.Len(t, runs, 2, "one audit has two kinds of verdicts")
			require.Equal(t, []any{"finished", 5.0, "abandoned"}, []any{runs[0]["state"], runs[0]["evaluated"], runs[1]["state"]})
		})
	}
}

func TestAuditsSayWhichDeploymentTheyAreFor(t *testing.T) {
	t.Parallel()
	database := programtest.DemoFile(t)
	here := audited(t, database).Audit.ID.String()
	saas := audited(t, database, "--saas").Audit.ID.String()
	runs := listed(t, database)
	require.Equal(t, []any{map[string]any{"saas": true}, map[string]any{"saas": false}}, []any{runs[0]["deployment"], runs[1]["deployment"]})
	require.Regexp(t, `^sha256:[0-9a-f]{16}$`, runs[0]["facts_revision"])
	require.Equal(t, runs[0]["facts_revision"], runs[1]["facts_revision"])
	table := programtest.Command(t, "", "audit", "list", "--database-url", database).Out
	require.Regexp(t, `(?m)^`+saas+` .* yes +sha256:`, table)
	require.Regexp(t, `(?m)^`+here+` .* no +sha256:`, table)
	for id, says := range map[string]string{saas: "saas yes, facts query sha256:", here: "saas no, facts query sha256:"} {
		require.Contains(t, programtest.Command(t, "", "audit", "show", id, "--database-url", database).Out, says)
	}
}

// What servers show of the last audit is what they would say themselves.
func TestLastAuditIsOneOfTheLivePolicies(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	gate := cmdtest.Start(t, "--demo", "--database-url", database).WaitReady()
	live := audited(t, database).Audit
	lenient := cmdtest.CandidateFolder(t, "{PLATFORM_AGENT_IDENTITY_GATE: warn, BUDGET_EXCEEDED: audit, WORKSPACE_REMOVED: warn}")
	candidate := audited(t, database, "--policies", lenient).Audit
	audited(t, database, "--saas")
	audited(t, database, "--facts-query-file", cmdtest.File(t, "facts.sql", otherFacts))

	require.Equal(t, "2", gate.Metric(`gatehouse_audit_workspaces{result="denied"}`))
	at, err := strconv.ParseFloat(gate.Metric("gatehouse_audit_last_run_timestamp_seconds"), 64)
	require.NoError(t, err)
	require.InDelta(t, float64(live.FinishedAt.UnixMicro())/1e6, at, 1e-3)

	status, text := gate.Get("/v1/audits")
	require.Equal(t, 200, status)
	var list struct {
		Audits []struct {
			ID        uuid.UUID `json:"id"`
			Candidate bool      `json:"candidate"`
		} `json:"audits"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	require.Len(t, list.Audits, 4, "all are kept")
	for _, run := range list.Audits {
		require.Equal(t, run.ID == candidate.ID, run.Candidate)
	}
	table := programtest.Command(t, "", "audit", "list", "--database-url", database).Out
	require.Regexp(t, `(?m)^`+candidate.ID.String()+` .* sha256:[0-9a-f]+ \(candidate\)$`, table)
	require.Regexp(t, `(?m)^`+live.ID.String()+` .* sha256:[0-9a-f]+$`, table)
	shown := programtest.Command(t, "", "audit", "show", candidate.ID.String(), "--database-url", database).Out
	require.Contains(t, shown, candidate.Revision+" (candidate)")
}

// An audit of candidates does not put off the one that a server owes.
func TestAuditOfCandidatesIsNotTheServersOwn(t *testing.T) {
	t.Parallel()
	database := programtest.DemoFile(t)
	audited(t, database, "--policies", cmdtest.CandidateFolder(t, "{PLATFORM_AGENT_IDENTITY_GATE: warn}"))
	gate := cmdtest.Start(t, "--database-url", database, "--audit-interval", "24h").WaitReady()
	require.Eventually(t, func() bool { return gate.Metric(`gatehouse_audit_runs_total{result="finished"}`) == "1" }, cmdtest.Patience, cmdtest.Tick)
	require.Len(t, listed(t, database), 2)
}

// A rule that asks for what only a request has would hold for every stored workspace. An audit says that it does not judge
// it, and does not mark the whole registry failed; a rule that stands beside it is enforced.
func TestAuditDoesNotEnforceRulesItCannotJudge(t *testing.T) {
	t.Parallel()
	database := programtest.DemoFile(t)
	folder := cmdtest.PolicyFolder(t, "register/has_a_card.rego", `package admission.register

# METADATA
# title: A workspace has a card
# description: A workspace without a card is found by nobody.
# custom: {code: CARD_MISSING, severity: high, status: 400, mark_failed: true}
deny contains {"reason": "card_missing", "message": "There is no card."} if not input.request.agent_card
`)
	report := audited(t, database, "--enforce", "--sinks", cmdtest.AwaySink, "--policies", folder)
	require.EqualValues(t, 5, report.Audit.Evaluated)
	require.EqualValues(t, 1, report.Audit.Marked, "the platform agent without its MODEL")
	require.NotContains(t, report.Audit.Violations, "CARD_MISSING")
	require.Contains(t, report.Audit.NotJudged, audit.NotJudged{Rule: "has_a_card", Code: "CARD_MISSING", Reads: []string{"input.request.agent_card"}})

	got := programtest.Command(t, "", "audit", "--database-url", database, "--policies", folder)
	require.Contains(t, got.Out, "not judged: has_a_card (CARD_MISSING) reads input.request.agent_card\n")
	got = programtest.Command(t, "", "audit", "--database-url", database)
	require.Regexp(t, `(?m)^not judged: `, got.Out)
}
