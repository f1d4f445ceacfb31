package serve

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// BenchmarkReview is one review through the handler: decoded, facts read, evaluated, recorded durably, answered.
// There is no network. The parallel form has many callers at once, as a registry does.
func BenchmarkReview(b *testing.B) {
	stores := map[string]func(b *testing.B) (http.Handler, uuid.UUID){"sqlite": onSQLite, "postgres": onPostgres}
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			handler, id := stores[name](b)
			body := []byte(cmdtest.RegisterBody(id))
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
