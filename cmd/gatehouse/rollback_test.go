package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// A signed bundle that is older than the one that was live last is refused after a restart, too, wherever it comes from,
// unless an operator accepts it.
func TestARestartRefusesAnOlderSignedBundle(t *testing.T) {
	private, public := keyFiles(t)
	folder := smallFolder(t)
	older := bundled(t, "--policies", folder, "--revision", "older", "--signing-key", private)
	newer := bundled(t, "--policies", folder, "--revision", "newer", "--signing-key", private)
	shipped := filepath.Join(t.TempDir(), "policies.tar.gz")
	database := "--database-url=sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	args := []string{database, "--policies-key", public, "--policies-cache=none"}
	ship := func(bundle string) {
		archive, err := os.ReadFile(bundle)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(shipped, archive, 0o600))
	}
	live := func(more ...string) string {
		s := serveHere(t, append(append(more, args...), "--policies", shipped)...)
		defer s.stop()
		return policyStatus(t, s.url).Bundle.Revision
	}
	ship(newer)
	require.Equal(t, "newer", live(), "nothing was live before")
	require.Equal(t, "newer", live(), "the same again")

	ship(older)
	web := httptest.NewServer(&shelf{archive: read(t, older)})
	defer web.Close()
	for _, source := range []string{shipped, "file:" + shipped, web.URL + "/b.tar.gz"} {
		refused := command(t, "", append([]string{"serve", "--listen=127.0.0.1:0", "--policies", source}, args...)...)
		require.Equal(t, exitFailed, refused.code)
		require.Contains(t, refused.err, "rollback: the bundle was built at ")
		require.Contains(t, refused.err, "revision newer, signed by ")
		require.Contains(t, refused.err, "start with --allow-rollback to accept it")
		require.NotContains(t, refused.err, `"serving"`)
	}

	require.Equal(t, "older", live("--allow-rollback"))
	require.Equal(t, "older", live(), "what was accepted is what was live last")
	ship(newer)
	require.Equal(t, "newer", live())
	ship(bundled(t, "--policies", folder, "--revision", "newest", "--signing-key", private))
	require.Equal(t, "newest", live())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

// lateStore is away until it is there.
type lateStore struct {
	*sqlite.Store

	there atomic.Bool
}

func (s *lateStore) LastSigned(ctx context.Context) (*admission.ActivatedBundle, error) {
	if !s.there.Load() {
		return nil, errors.New("away")
	}
	return s.Store.LastSigned(ctx)
}

// A signed bundle answers nothing before the store, which was away at the start, has said what was live last; then it is
// live, or refused.
func TestSignedPoliciesWaitForAStoreThatIsAway(t *testing.T) {
	private, public := keyFiles(t)
	bundle := bundled(t, "--policies", smallFolder(t), "--revision", "r", "--signing-key", private)
	for name, test := range map[string]struct {
		before *admission.ActivatedBundle
		says   string // "" where it becomes live
	}{
		"nothing was live": {nil, ""},
		"an older one was": {&admission.ActivatedBundle{Revision: "q", BuiltAt: time.Now().Add(-time.Hour), SignedBy: "k"}, ""},
		"a newer one was":  {&admission.ActivatedBundle{Revision: "s", BuiltAt: time.Now().Add(time.Hour), SignedBy: "k"}, "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := inputSchema()
			require.NoError(t, err)
			c := &serveCommand{}
			c.Policies, c.PoliciesKey, c.PoliciesCache = bundle, []string{public}, "none"
			c.PoliciesMaxBytes, c.PoliciesMaxFiles = 1<<20, 100
			logger := slog.New(slog.DiscardHandler)
			engine := opa.NewEngine(schema, time.Now, c.engineOptions(newJournal(logger))...)
			policies, err := c.startFeed(t.Context(), engine, testReports(logger))
			require.NoError(t, err)
			file, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
			require.NoError(t, err)
			defer func() { require.NoError(t, file.Close()) }()
			require.NoError(t, file.Migrate(t.Context()))
			if test.before != nil {
				require.NoError(t, file.RecordActivation(t.Context(), admission.PolicyActivation{Activated: true, Bundle: test.before}))
			}
			store := &lateStore{Store: file}

			require.NoError(t, policies.recall(t.Context(), store))
			following := startBackground(t.Context(), policies.run)
			defer following.close()
			require.Nil(t, engine.Current(), "no review is decided")
			require.ErrorContains(t, livePolicies{engine: engine}.ready(t.Context(), false), "wait until the store says which were live last")
			_, revision := policies.named()
			require.NotEmpty(t, revision)

			store.there.Store(true)
			require.Eventually(t, func() bool { return engine.Status().Waiting == nil }, patience, 10*time.Millisecond)
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
