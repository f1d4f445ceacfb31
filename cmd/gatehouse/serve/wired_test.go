package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/journal"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/server/failurelog"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// serviceFor wires the service as serve does, without a listener and without log lines.
func serviceFor(b *testing.B, args ...string) http.Handler {
	b.Helper()
	c := parsed(b, args...)
	schema := flags.InputSchema()
	engine := opa.NewEngine(schema, time.Now, opa.Options{})
	require.NoError(b, engine.Load(b.Context(), c.Source()))
	logger := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return wired(b, c, engine, logger)
}

// serveOnce is a request without a network: a recorder that takes deadlines.
func serveOnce(handler http.Handler, body []byte) int {
	recorder := deadlineRecorder{httptest.NewRecorder()}
	request := httptest.NewRequest(http.MethodPost, "/v1/admission/register", bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		panic(fmt.Sprintf("%d %s", recorder.Code, recorder.Body))
	}
	return recorder.Code
}

type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetReadDeadline(time.Time) error { return nil }

func TestRefusedReloadKeepsPoliciesAndTokens(t *testing.T) {
	t.Parallel()
	schema := flags.InputSchema()
	var log bytes.Buffer // to be read when nobody writes any more
	c := &Command{LogFormat: "json", LogLevel: "info"}
	c.PoliciesPoll = time.Hour
	logger, flush := c.Logger(cli.Streams{Err: &log})
	defer flush()
	engine := opa.NewEngine(schema, time.Now, c.engineOptions(journal.New(logger)))
	live := livePolicies{engine: engine}
	require.ErrorContains(t, live.ready(t.Context(), false), "no policies")

	folder := cmdtest.PolicyFolder(t)
	c.Policies = folder
	c.TokensFile = cmdtest.File(t, "tokens.yaml", fmt.Sprintf("tokens: [{name: eu, role: registry, sha256: %s}]", cmdtest.Hashed(cmdtest.TestToken)))
	p := newProcess("devel", logger)
	policies, err := c.startFeed(t.Context(), p, engine)
	require.NoError(t, err)
	tokens, err := c.tokens(p.settings)
	require.NoError(t, err)
	following := background.Start(t.Context(), policies.run)
	defer following.Close()
	first := live.PolicyStatus()
	require.NoError(t, live.ready(t.Context(), false))
	require.Equal(t, folder, first.Source)
	require.True(t, live.HasCode("PLATFORM_AGENT_IDENTITY_GATE"))
	require.False(t, tokens.callers.Open())

	require.NoError(t, os.WriteFile(filepath.Join(folder, "broken.rego"), []byte("package a\n\nb if c(1)"), 0o600))
	require.NoError(t, os.WriteFile(c.TokensFile, []byte("tokens: []"), 0o600))
	policies.reload(t.Context())
	tokens.reload()
	require.Eventually(t, func() bool { return live.PolicyStatus().Refused != nil }, cmdtest.Patience, 5*time.Millisecond)
	second := live.PolicyStatus()
	require.Equal(t, first.Revision, second.Revision)
	require.True(t, second.Stale)
	require.Contains(t, second.Refused.Reason, "broken.rego:3:")
	require.GreaterOrEqual(t, live.PolicyState().Failures, int64(1))
	require.False(t, tokens.callers.Open(), "a file without tokens must not open the door")

	require.NoError(t, os.WriteFile(filepath.Join(folder, "broken.rego"), []byte("package admission.lib\n\nunused := 1\n"), 0o600))
	policies.reload(t.Context())
	tokens.reload()
	require.Eventually(t, func() bool { // the file may also be read while it is empty, before it is written
		status := live.PolicyStatus()
		return status.Refused == nil && status.Revision != first.Revision
	}, cmdtest.Patience, 5*time.Millisecond)

	following.Close()
	require.Contains(t, log.String(), "policies were refused; those that were live stay")
	require.Contains(t, log.String(), `"msg":"a setting could not be read again; what was good stays in use","setting":"tokens-file"`)
}

func TestRefusedEmbeddedPoliciesAreToldWhateverTheStoreDoes(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]string{
		"a store that opens": "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"), "none": "sqlite:",
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			c := parsed(t, "--database-url", database)
			engine := opa.NewEngine([]byte("no schema"), time.Now, opa.Options{})

			_, _, err := c.loadAndOpen(t.Context(), newProcess("devel", slog.New(slog.DiscardHandler)), engine, cli.Streams{Err: &said})
			require.EqualError(t, err, "the policies were refused")
			require.Contains(t, said.String(), "schema is invalid")
		})
	}
}

// stormServer is what serve wires, with an engine that the test loads.
func stormServer(t *testing.T, database string) (*opa.Engine, *httptest.Server) {
	t.Helper()
	c := parsed(t, "--database-url=sqlite:"+database, "--policy-timeout=10s", "--facts-timeout=10s", "--request-timeout=20s")
	schema := flags.InputSchema()
	engine := opa.NewEngine(schema, time.Now, opa.Options{})
	require.NoError(t, engine.Load(t.Context(), flags.Embedded()))
	web := httptest.NewServer(wired(t, c, engine, slog.New(slog.DiscardHandler)))
	t.Cleanup(web.Close)
	return engine, web
}

// wired is what serve makes of an engine, without a listener. It ends with the test.
func wired(t testing.TB, c *Command, engine *opa.Engine, logger *slog.Logger) http.Handler {
	t.Helper()
	p := newProcess("devel", logger)
	store, err := c.open(context.WithoutCancel(t.Context()), p)
	require.NoError(t, err)
	t.Cleanup(store.close)
	candidates := c.startRollout(t.Context(), p, engine, store)
	t.Cleanup(candidates.close)
	verifier := c.startVerifying(p, engine, candidates)
	t.Cleanup(verifier.Close)
	live := livePolicies{engine: engine}
	reviews := metrics.NewAdmission(p.registry, live)
	failures := failurelog.New(store, reviews, logger)
	keeping := background.Start(context.WithoutCancel(t.Context()), failures.Run)
	t.Cleanup(keeping.Close)
	evidence, err := c.followDecisions(t.Context(), p, store)
	require.NoError(t, err)
	t.Cleanup(evidence.close)
	ready := newReadiness(p, live, store)
	t.Cleanup(ready.Close)
	gate := c.gate(store, failures, candidates, observers{reviews, httpapi.ReviewLog{Logger: logger}, candidates, verifier, ready})
	gate.Policy = engine
	service, err := c.service(p, &gate, live, store, candidates, &auth.Authenticator{}, evidence, ready)
	require.NoError(t, err)
	return service
}

func TestVerifyShareIsAShare(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{-0.1, 1.1} {
		require.ErrorContains(t, evaluatorFlags{VerifyShare: share}.check(), "--verify-share must be from 0 to 1")
	}
}

// lateStore is away until it is there.
type lateStore struct {
	*sqlite.Store

	there atomic.Bool
}

func (s *lateStore) LastSigned(ctx context.Context) (*ledger.Bundle, error) {
	if !s.there.Load() {
		return nil, errors.New("away")
	}
	return s.Store.LastSigned(ctx)
}

// A signed bundle answers nothing before the store, which was away at the start, has said what was live last; then it is
// live, or refused.
func TestSignedPoliciesWaitForAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	private, public := cmdtest.KeyFiles(t)
	bundle := signedBundle(t, private)
	for name, test := range map[string]struct {
		before *ledger.Bundle
		says   string // "" where it becomes live
	}{
		"nothing was live": {nil, ""},
		"an older one was": {&ledger.Bundle{Revision: "q", BuiltAt: time.Now().Add(-time.Hour), SignedBy: "k"}, ""},
		"a newer one was":  {&ledger.Bundle{Revision: "s", BuiltAt: time.Now().Add(time.Hour), SignedBy: "k"}, "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			schema := flags.InputSchema()
			c := &Command{}
			c.Policies, c.PoliciesKey, c.PoliciesCache = bundle, []string{public}, "none"
			c.PoliciesMaxBytes, c.PoliciesMaxFiles = 1<<20, 100
			logger := slog.New(slog.DiscardHandler)
			engine := opa.NewEngine(schema, time.Now, c.engineOptions(journal.New(logger)))
			policies, err := c.startFeed(t.Context(), newProcess("devel", logger), engine)
			require.NoError(t, err)
			facts, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
			require.NoError(t, err)
			defer func() { require.NoError(t, facts.Close()) }()
			require.NoError(t, facts.Migrate(t.Context()))
			if test.before != nil {
				require.NoError(t, facts.RecordActivation(t.Context(), ledger.Activation{Activated: true, Bundle: test.before}))
			}
			store := &lateStore{Store: facts}

			policies.recall = recall.New(engine, store, logger)
			require.NoError(t, policies.recall.First(t.Context()))
			following := background.Start(t.Context(), policies.run, policies.recall.Run)
			defer following.Close()
			require.Nil(t, engine.Current(), "no review is decided")
			require.ErrorContains(t, livePolicies{engine: engine}.ready(t.Context(), false), "wait until the store says which were live last")
			_, revision := policies.named()
			require.NotEmpty(t, revision)

			store.there.Store(true)
			require.Eventually(t, func() bool { return engine.Status().Waiting == nil }, cmdtest.Patience, 10*time.Millisecond)
			if test.says == "" {
				require.NotNil(t, engine.Current())
				return
			}
			require.Nil(t, engine.Current())
			require.ErrorContains(t, engine.Status().Refused.Err, test.says)
			require.ErrorContains(t, livePolicies{engine: engine}.ready(t.Context(), false), "no policies are live")
		})
	}
}

// parsed is the command with these flags.
func parsed(t testing.TB, args ...string) *Command {
	t.Helper()
	var all struct {
		Serve Command `cmd:""`
	}
	parser, err := kong.New(&all, settings.Options()...)
	require.NoError(t, err)
	_, err = parser.Parse(append([]string{"serve"}, args...))
	require.NoError(t, err)
	return &all.Serve
}

// signedBundle is a bundle of one rule.
func signedBundle(t *testing.T, private string) string {
	t.Helper()
	key, err := sources.ReadSigningKey(private)
	require.NoError(t, err)
	read, err := check.Read(os.DirFS(cmdtest.SmallFolder(t)), sources.DefaultLimits)
	require.NoError(t, err)
	read.Tests = nil
	var archive bytes.Buffer
	pack := sources.Package{Files: read.All(), Revision: "r", BuiltAt: time.Now(), Key: &key}
	require.NoError(t, pack.Build(&archive))
	return cmdtest.File(t, "bundle.tar.gz", archive.String())
}
