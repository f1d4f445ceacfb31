package operate

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// tried are sets of policies of a history: what they read and what they keep out of records differs.
func tried(t *testing.T) []*snapshot.Snapshot {
	t.Helper()
	rule := func(name, code, condition string) []string {
		return []string{
			"lib/" + name + ".rego", "package admission.lib\n\n# METADATA\n# title: T\n# description: D.\n# custom: {code: " + code + ", severity: low, status: 400}\n" +
				name + " contains {\"reason\": \"r\", \"message\": sprintf(\"%v\", [input.request.name])} if " + condition + "\n",
			"register/" + name + ".rego", "package admission.register\n\nimport data.admission.lib\n\ndeny contains v if some v in lib." + name + "\n",
		}
	}
	with := func(files ...[]string) string {
		var all []string
		for _, file := range files {
			all = append(all, file...)
		}
		return cmdtest.PolicyFolder(t, all...)
	}
	mask := func(text string) []string { return []string{"mask.rego", "package system.log\n\n" + text} }
	folders := []string{
		cmdtest.PolicyFolder(t),
		cmdtest.CandidateFolder(t, "{"+cmdtest.IdentityGateCode+": audit}"),
		with(rule("contact", "CONTACT", "not input.request.agent_card.contact")),
		with(rule("named", "NAMED", `input.request.agent_card.name == "Scout"`)),
		with(rule("tokened", "TOKENED", "input.request.token"), mask(`mask contains "/input/request/token"`+"\n")),
		with(mask(`mask contains {"op": "upsert", "path": "/input/request/token", "value": "***"} if input.result.allowed` + "\n" +
			`mask contains "/input/request/agent_card/name" if not input.result.allowed` + "\n" + `mask contains "/input" if input.input.request.token == "all"` + "\n")),
		with(rule("timed", "TIMED", "time.now_ns() % 2000 == 0")),
	}
	schema := flags.InputSchema()
	snapshots := make([]*snapshot.Snapshot, len(folders))
	for i, folder := range folders {
		compiled, err := snapshot.New(t.Context(), snapshot.Directory(folder), schema)
		require.NoError(t, err)
		snapshots[i] = compiled
	}
	return snapshots
}

// recordingStore is a store with workspaces in it.
type recordingStore struct {
	admission.FactsReader
	admission.Ledger
	resources.DecisionReader
	workspaces []uuid.UUID
}

func sqliteRecorder(t *testing.T) recordingStore {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Migrate(t.Context()))
	r := recordingStore{FactsReader: store, Ledger: store, DecisionReader: store, workspaces: []uuid.UUID{uuid.New()}}
	for n, kind := range []string{"platform", "workspace", "workspace"} {
		id := uuid.New()
		require.NoError(t, store.PutWorkspace(t.Context(), id, admission.Workspace{
			Name: "w", Kind: kind, Status: new("provisioning"), Tier: new(int64(n)), DeliveryMode: "push",
		}))
		r.workspaces = append(r.workspaces, id)
	}
	require.NoError(t, store.PutSecretKey(t.Context(), r.workspaces[1], "OTHER"))
	require.NoError(t, store.PutSecretKey(t.Context(), r.workspaces[2], "MODEL"))
	return r
}

func postgresRecorder(t *testing.T) recordingStore {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	store, err := postgres.Open(t.Context(), postgres.Options{URL: url})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Migrate(t.Context()))
	registry, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, registry.Close(t.Context())) }()
	r := recordingStore{FactsReader: store, Ledger: store, DecisionReader: store, workspaces: []uuid.UUID{uuid.New()}}
	for n, kind := range []string{"platform", "workspace", "workspace"} {
		id := uuid.New()
		_, err = registry.Exec(t.Context(), `insert into workspaces (id, name, kind, tier) values ($1, 'w', $2, $3)`, id, kind, n)
		require.NoError(t, err)
		r.workspaces = append(r.workspaces, id)
	}
	for n, key := range map[int]string{1: "OTHER", 2: "MODEL"} {
		_, err = registry.Exec(t.Context(),
			`insert into workspace_secrets (workspace_id, key, encrypted_value) values ($1, $2, 'hunter2')`, r.workspaces[n], key)
		require.NoError(t, err)
	}
	return r
}

// decided is a review of a history: what evaluated it, and the input as it was before anything was masked.
type decided struct {
	by    *snapshot.Snapshot
	input admission.Input
	id    uuid.UUID
}

// history is an observer of a gate whose policies change.
type history struct {
	live *snapshot.Snapshot
	all  []decided
}

func (h *history) Current() admission.Ruleset { return h.live }

func (h *history) Reviewed(_ context.Context, o admission.Outcome) {
	h.all = append(h.all, decided{by: h.live, input: o.Input, id: o.Decision.ID})
}

func anyReview(t *rapid.T, workspaces []uuid.UUID) admission.Review {
	members := map[string]any{"id": rapid.SampledFrom(workspaces).Draw(t, "workspace")}
	card := rapid.SampledFrom([]any{
		nil, map[string]any{}, map[string]any{"name": "Scout"}, map[string]any{"name": "Other", "url": "u", "contact": "c"},
		map[string]any{"name": 1, "contact": "c"}, map[string]any{"url": []int{1}}, "Scout", []any{map[string]any{"name": "Scout"}},
	})
	for name, values := range map[string][]any{
		"kind": {"platform", "workspace", "", 7}, "url": {"https://a.example.com", "http://169.254.169.254/", "no url", nil},
		"name": {"w", "a\nb", nil, 1.50}, "token": {"hunter2", "all", false}, "tier": {1, 9, "x"}, "mcp_server_present": {true, false, nil},
	} {
		if rapid.Bool().Draw(t, "has "+name) {
			members[name] = rapid.SampledFrom(values).Draw(t, name)
		}
	}
	if rapid.Bool().Draw(t, "has card") {
		members["agent_card"] = card.Draw(t, "card")
	}
	proof := rapid.SampledFrom([]string{"token", "bootstrap", "install"}).Draw(t, "proof")
	body, err := json.Marshal(map[string]any{"workspace": members, "caller_proof": proof})
	require.NoError(t, err)
	review, err := decode.Review("register", body, decode.DefaultMaxDepth)
	require.NoError(t, err)
	return review
}

// one is a source of one decision.
type one struct{ ledger.Decision }

func (o one) Decisions(context.Context, ledger.Query) ([]ledger.Decision, error) {
	return []ledger.Decision{o.Decision}, nil
}

// Whatever was asked, and whichever policies decided it: its own policies say of the record what they said of the
// review, or their own mask hides what they read, and no policies say of the record what they would not have said of
// the review.
func TestReplayOfARecordGivesItsVerdict(t *testing.T) {
	t.Parallel()
	snapshots := tried(t)
	for name, open := range map[string]func(*testing.T) recordingStore{"sqlite": sqliteRecorder, "postgres": postgresRecorder} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			same, hidden := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				for _, d := range anyHistory(rt, store, snapshots) {
					recorded, err := store.Decision(t.Context(), d.id)
					require.NoError(rt, err)
					report := replayOne(rt, recorded, d.by)
					require.Empty(rt, report.Flips, "%s", recorded.Decision.Input)
					hidden += int(report.Skipped.RedactedTotal())
					same += int(report.Unchanged)
					other := rapid.SampledFrom(snapshots).Draw(rt, "candidate")
					requireSame(rt, recorded.Decision, other, d.input)
				}
			})
			require.Positive(t, same)
			require.Positive(t, hidden, "a mask of everything hides what is read")
		})
	}
}

func anyHistory(t *rapid.T, store recordingStore, snapshots []*snapshot.Snapshot) []decided {
	h := &history{}
	gate := &admission.Gate{
		Facts: store, Policy: h, Ledger: store, Observer: h, Failures: discarded{}, Now: time.Now,
		Limits: admission.Limits{Facts: cmdtest.Patience, Policy: cmdtest.Patience, Request: cmdtest.Patience}, DryRun: rapid.Bool().Draw(t, "dry server"),
	}
	for range rapid.IntRange(1, 6).Draw(t, "reviews") {
		h.live = rapid.SampledFrom(snapshots).Draw(t, "policies")
		_, err := gate.Review(context.Background(), anyReview(t, store.workspaces))
		require.NoError(t, err)
	}
	return h.all
}

type discarded struct{}

func (discarded) Failed(admission.FailedReview) {}

func replayOne(t *rapid.T, recorded ledger.Decision, by *snapshot.Snapshot) replay.Report {
	report, err := replay.Run(context.Background(), one{recorded}, ports.Replay(by), replay.Options{Parallel: 1, Examples: 1})
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Read)
	require.Zero(t, report.Skipped.Unreadable)
	pointers := recorded.Decision.Redaction.Pointers()
	if len(pointers) == 0 || len(pointers) == 1 && pointers[0] == admission.CardPointer {
		require.EqualValues(t, 1, report.Unchanged, "what is masked by default hides nothing from who decided: %v", recorded.Decision.Redaction)
	}
	return report
}

// requireSame holds that what a candidate can be shown of a record decides as the whole input does.
func requireSame(t *rapid.T, recorded admission.Decision, candidate *snapshot.Snapshot, whole admission.Input) {
	if _, hidden := recorded.Redaction.Hides(candidate.ReadPointers("register")); hidden {
		return
	}
	kept, err := admission.ReadInput(recorded.Input)
	require.NoError(t, err)
	onRecord, err := candidate.Evaluate(context.Background(), kept, recorded.At)
	require.NoError(t, err)
	onWhole, err := candidate.Evaluate(context.Background(), whole, recorded.At)
	require.NoError(t, err)
	require.Equal(t, onWhole, onRecord, "%s", recorded.Input)
}
