package testenv

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// bareMachine has no programs and may not install any.
func bareMachine() finder {
	return finder{
		lookPath: func(program string) (string, error) {
			return "", &exec.Error{Name: program, Err: exec.ErrNotFound}
		},
		glob: func(string) ([]string, error) { return nil, nil },
	}
}

func folderWith(t *testing.T, folder string, programs ...string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for _, program := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(folder, program), nil, 0o755))
	}
	return folder
}

func TestMissingToolsAreAskedForInOneSentence(t *testing.T) {
	ctx := t.Context()

	_, err := startPostgres(ctx, bareMachine(), Options{})
	require.EqualError(t, err, "the tests need postgres with initdb, which is not in PATH or "+
		"/usr/lib/postgresql/*/bin: install it (Debian: apt-get install postgresql) or set "+
		"GATEHOUSE_TEST_DATABASE_URL to the URL of a PostgreSQL superuser")

	_, err = startRedis(ctx, bareMachine())
	require.EqualError(t, err, "the tests need redis-server, which is not in PATH: install it "+
		"(Debian: apt-get install redis-server) or set GATEHOUSE_TEST_REDIS_URL to the URL of a Redis")

	_, err = bareMachine().program(ctx, "promtool", "prometheus")
	require.EqualError(t, err, "the tests need promtool, which is not in PATH or /usr/sbin: install it "+
		"(Debian: apt-get install prometheus)")
}

func TestFailedInstallationKeepsTheSentenceAndTheReason(t *testing.T) {
	machine := bareMachine()
	reason := errors.New("no network")
	machine.install = func(context.Context, string, func() bool) error { return reason }

	_, err := machine.program(t.Context(), "promtool", "prometheus")

	require.ErrorIs(t, err, reason)
	require.ErrorContains(t, err, "apt-get install prometheus")
}

func TestInstalledToolIsFound(t *testing.T) {
	folder := t.TempDir()
	machine := bareMachine()
	machine.lookPath = func(program string) (string, error) {
		return exec.LookPath(filepath.Join(folder, program))
	}
	machine.install = func(_ context.Context, debian string, present func() bool) error {
		require.Equal(t, "prometheus", debian)
		require.False(t, present())
		folderWith(t, folder, "promtool")
		require.True(t, present())
		return nil
	}

	path, err := machine.program(t.Context(), "promtool", "prometheus")

	require.NoError(t, err)
	require.Equal(t, filepath.Join(folder, "promtool"), path)
}

func TestNewestVersionWinsByNumberAndOnlyIfComplete(t *testing.T) {
	root := t.TempDir()
	machine := bareMachine()
	machine.glob = func(string) ([]string, error) {
		return []string{
			folderWith(t, filepath.Join(root, "15", "bin"), "postgres", "initdb"),
			folderWith(t, filepath.Join(root, "17", "bin"), "postgres"),
			folderWith(t, filepath.Join(root, "9.6", "bin"), "postgres", "initdb"),
		}, nil
	}

	folder, err := machine.find(t.Context(), postgresTool())

	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "15", "bin"), folder)
}

func TestPromtoolRuns(t *testing.T) {
	path, err := Promtool(t.Context())
	require.NoError(t, err)

	output, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()

	require.NoError(t, err)
	require.Contains(t, string(output), "promtool")
}
