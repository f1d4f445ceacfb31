package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestCommandGetsServersThatEndWithIt(t *testing.T) {
	t.Setenv(testenv.DatabaseVariable, "")
	t.Setenv(testenv.RedisVariable, "")

	code, err := run([]string{"sh", "-c", `case "$GATEHOUSE_TEST_DATABASE_URL $GATEHOUSE_TEST_REDIS_URL" in
		postgres://*@127.0.0.1:*' redis://'*@127.0.0.1:*) exit 7;; esac`})

	require.NoError(t, err)
	require.Equal(t, 7, code)
}

func TestServersOfTheEnvironmentAreLeftAlone(t *testing.T) {
	t.Setenv(testenv.DatabaseVariable, "postgres://mine")
	t.Setenv(testenv.RedisVariable, "redis://mine")
	started := &services{}

	require.NoError(t, started.start(t.Context()))

	require.Empty(t, started.environment)
	require.Empty(t, started.closers)
}

func TestInterruptReachesTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := filepath.Join(t.TempDir(), "ready")
	var watching sync.WaitGroup
	watching.Go(func() {
		for _, err := os.Stat(ready); err != nil && ctx.Err() == nil; _, err = os.Stat(ready) {
			runtime.Gosched()
		}
		cancel()
	})

	code, err := runCommand(ctx, []string{"sh", "-c", "trap 'exit 5' INT; touch " + ready + "; while :; do sleep 0.05; done"}, nil)

	cancel()
	watching.Wait()
	require.NoError(t, err)
	require.Equal(t, 5, code)
}

func TestInterruptDuringTheStartEndsIt(t *testing.T) {
	t.Setenv(testenv.DatabaseVariable, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	started := &services{}

	require.ErrorIs(t, started.start(ctx), context.Canceled)
	require.NoError(t, started.close())
}

func TestUnknownCommandIsAnError(t *testing.T) {
	_, err := runCommand(t.Context(), []string{"gatehouse-no-such-command"}, nil)

	require.ErrorIs(t, err, exec.ErrNotFound)
}
