package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

func TestReadyzIsReadyWhereReviewsCanBeDecided(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) {
		o.Ready = func(ctx context.Context) error {
			deadline, bounded := ctx.Deadline()
			assert.True(t, bounded)
			assert.Less(t, time.Until(deadline), time.Second)
			return nil
		}
	})
	got := s.send(http.MethodGet, "/readyz", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"status":"ready"}`, got.body)
}

// The cause was logged where it was found. This route is asked every few seconds, so it logs nothing.
func TestReadyzLogsNothing(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) {
		o.Ready = func(context.Context) error {
			return &admission.Error{Code: admission.CodeNotReady, Detail: "not ready: ledger (the disk is full)", Err: errors.New("dial db-1.internal")}
		}
	})
	got := s.send(http.MethodGet, "/readyz", "")
	require.Equal(t, "not ready: ledger (the disk is full)", requireProblem(t, got, 503, admission.CodeNotReady))
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.NotContains(t, got.body, "db-1")
	require.Empty(t, s.log.String())
	require.JSONEq(t, `{"status":"alive"}`, s.send(http.MethodGet, "/healthz", "").body)
}

func TestReadyzIsNotReadyWhileDraining(t *testing.T) {
	s := serve(t, nil)
	s.server.Drain()
	require.Equal(t, "shutting down", requireProblem(t, s.send(http.MethodGet, "/readyz", ""), 503, admission.CodeNotReady))
	require.Equal(t, 200, s.send(http.MethodGet, "/healthz", "").status)
	require.Equal(t, 200, s.register(registerBody).status)
}
