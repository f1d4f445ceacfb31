package main

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
)

func TestPoliciesThatAreRefusedLeaveTheStoreAlone(t *testing.T) {
	database := filepath.Join(t.TempDir(), "gatehouse.db")
	got := command(t, "", "serve", "--listen=127.0.0.1:0", "--policies=/nowhere", "--database-url=sqlite:"+database)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "the policies were refused")
	require.NoFileExists(t, database)
}

func TestEmbeddedPoliciesThatAreRefusedAreToldWhateverCameOfTheStore(t *testing.T) {
	for name, database := range map[string]string{
		"a store that opens": "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"), "none": "sqlite:",
	} {
		t.Run(name, func(t *testing.T) {
			var all commands
			var said bytes.Buffer
			parser, err := newParserFor(&all, streams{out: io.Discard, err: io.Discard}, func(int) {})
			require.NoError(t, err)
			_, err = parser.Parse([]string{"serve", "--database-url", database})
			require.NoError(t, err)
			engine := opa.NewEngine([]byte("no schema"), time.Now)

			_, _, err = all.Serve.loadAndOpen(t.Context(), engine, prometheus.NewRegistry(), testReports(slog.New(slog.DiscardHandler)), streams{err: &said})
			require.EqualError(t, err, "the policies were refused")
			require.Contains(t, said.String(), "schema is invalid")
		})
	}
}
