package testenv

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeApt knows no package before its lists are fetched.
type fakeApt struct {
	fetched   bool
	installed atomic.Bool
	calls     []string
}

func (f *fakeApt) run(_ context.Context, args ...string) error {
	if slices.Contains(args, "update") {
		f.calls = append(f.calls, "update")
		f.fetched = true
		return nil
	}
	f.calls = append(f.calls, "install "+args[len(args)-1])
	if !f.fetched {
		return errors.New("unable to locate package")
	}
	f.installed.Store(true)
	return nil
}

func installerFor(t *testing.T, fake *fakeApt) apt {
	t.Helper()
	return apt{
		run:           fake.run,
		log:           io.Discard,
		lockPath:      t.TempDir(),
		clusterConfig: filepath.Join(t.TempDir(), "postgresql-common", "createcluster.conf"),
	}
}

func TestInstallFetchesPackageListsOnlyAfterAFailure(t *testing.T) {
	fake := &fakeApt{}
	installer := installerFor(t, fake)
	absent := func() bool { return false }

	require.NoError(t, installer.install(t.Context(), "redis-server", absent))
	require.NoError(t, installer.install(t.Context(), "prometheus", absent))

	require.Equal(t, []string{
		"install redis-server", "update", "install redis-server", "install prometheus",
	}, fake.calls)
}

func TestConcurrentInstallationsRunAptOnce(t *testing.T) {
	fake := &fakeApt{fetched: true}
	installer := installerFor(t, fake)
	errs := make([]error, 4)

	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			errs[i] = installer.install(t.Context(), "redis-server", fake.installed.Load)
		})
	}
	group.Wait()

	require.NoError(t, errors.Join(errs...))
	require.Equal(t, []string{"install redis-server"}, fake.calls)
}

func TestInstallDeclinesDebiansClusterUnlessSomebodyDecided(t *testing.T) {
	installer := installerFor(t, &fakeApt{fetched: true})
	absent := func() bool { return false }

	require.NoError(t, installer.install(t.Context(), "postgresql", absent))
	written, err := os.ReadFile(installer.clusterConfig)
	require.NoError(t, err)
	require.Equal(t, "create_main_cluster = false\n", string(written))

	decided := "create_main_cluster = true\n"
	require.NoError(t, os.WriteFile(installer.clusterConfig, []byte(decided), 0o600))
	require.NoError(t, installer.install(t.Context(), "postgresql", absent))
	kept, err := os.ReadFile(installer.clusterConfig)
	require.NoError(t, err)
	require.Equal(t, decided, string(kept))
}
