package main

import (
	"os"
	"os/exec"
	"syscall"
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

func TestSignalsReachTheCommand(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM

	code, err := runCommand([]string{"sleep", "60"}, nil, signals)

	require.NoError(t, err)
	require.Equal(t, 128+int(syscall.SIGTERM), code)
}

func TestSignalDuringTheStartEndsIt(t *testing.T) {
	t.Setenv(testenv.DatabaseVariable, "")
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT

	_, err := startServices(signals)

	require.EqualError(t, err, "stopped by the signal interrupt")
}

func TestUnknownCommandIsAnError(t *testing.T) {
	_, err := runCommand([]string{"gatehouse-no-such-command"}, nil, nil)

	require.ErrorIs(t, err, exec.ErrNotFound)
}
