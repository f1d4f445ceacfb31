package server_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gatehouse/server"
	"gatehouse/server/admission"
)

func TestReadyWhenEveryCheckHolds(t *testing.T) {
	asked := 0
	holds := func(ctx context.Context) error {
		deadline, bounded := ctx.Deadline()
		assert.True(t, bounded)
		assert.Less(t, time.Until(deadline), time.Second)
		asked++
		return nil
	}
	s := serve(t, func(o *server.Options) {
		o.Checks = []server.Check{{Name: "policies", Ready: holds}, {Name: "store", Ready: holds}}
	})
	got := s.send(http.MethodGet, "/readyz", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"status":"ready"}`, got.body)
	require.Equal(t, 2, asked)
}

func TestAFailedCheckIsNamedAndItsErrorIsLoggedOnly(t *testing.T) {
	s := serve(t, func(o *server.Options) {
		o.Checks = []server.Check{
			{Name: "policies", Ready: func(context.Context) error { return nil }},
			{Name: "store", Ready: func(context.Context) error { return errors.New("dial db-1.internal") }},
		}
	})
	got := s.send(http.MethodGet, "/readyz", "")
	require.Equal(t, "not ready: store", requireProblem(t, got, 503, admission.CodeNotReady))
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.NotContains(t, got.body, "db-1")
	require.Contains(t, s.log.String(), "db-1")
	require.JSONEq(t, `{"status":"alive"}`, s.send(http.MethodGet, "/healthz", "").body)
}

func TestADrainingServerIsAliveAndNotReadyAndStillAnswers(t *testing.T) {
	s := serve(t, nil)
	s.server.Drain()
	require.Equal(t, "shutting down", requireProblem(t, s.send(http.MethodGet, "/readyz", ""), 503, admission.CodeNotReady))
	require.Equal(t, 200, s.send(http.MethodGet, "/healthz", "").status)
	require.Equal(t, 200, s.register(registerBody).status)
}
