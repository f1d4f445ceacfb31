package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// BenchmarkReview is one review through the handler: decoded, facts read, evaluated, recorded durably, answered.
// There is no network. The parallel form has many callers at once, as a registry does.
func BenchmarkReview(b *testing.B) {
	stores := map[string]func(b *testing.B) (http.Handler, uuid.UUID){"sqlite": onSQLite, "postgres": onPostgres}
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			handler, id := stores[name](b)
			body := []byte(registerBody(id))
			require.Equal(b, http.StatusOK, serveOnce(handler, body))
			b.Run("alone", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					serveOnce(handler, body)
				}
			})
			b.Run("16_at_once", func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(8) // times GOMAXPROCS, 2 on the reference machine
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						serveOnce(handler, body)
					}
				})
			})
		})
	}
}

func onSQLite(b *testing.B) (http.Handler, uuid.UUID) {
	handler := serviceFor(b, "--demo", "--database-url", "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
	return handler, uuid.MustParse("00000000-0000-4000-8000-000000000003")
}

func onPostgres(b *testing.B) (http.Handler, uuid.UUID) {
	url := testenv.DatabaseURL(b, testenv.RegistryCurrent)
	handler := serviceFor(b, "--database-url", url)
	connection, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	id := uuid.New()
	_, err = connection.Exec(b.Context(), `insert into workspaces (id, name, status) values ($1, 'bench', 'online')`, id)
	require.NoError(b, err)
	require.NoError(b, connection.Close(b.Context()))
	return handler, id
}

// serviceFor wires the service as serve does, without a listener and without log lines.
func serviceFor(b *testing.B, args ...string) http.Handler {
	b.Helper()
	var all commands
	parser, err := newParserFor(&all, streams{out: io.Discard, err: io.Discard}, func(int) {})
	require.NoError(b, err)
	_, err = parser.Parse(append([]string{"serve"}, args...))
	require.NoError(b, err)
	schema, err := inputSchema()
	require.NoError(b, err)
	engine := opa.NewEngine(schema, time.Now)
	require.NoError(b, engine.Load(b.Context(), all.Serve.source()))
	registry, logger := prometheus.NewRegistry(), slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return wired(b, &all.Serve, engine, registry, logger)
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
