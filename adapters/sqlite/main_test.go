package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// childVariable makes this test binary play another process on the file that it names; see child_test.go.
const (
	childVariable = "GATEHOUSE_SQLITE_CHILD"
	pathVariable  = "GATEHOUSE_SQLITE_CHILD_PATH"
)

func TestMain(m *testing.M) {
	role := os.Getenv(childVariable)
	if role == "" {
		os.Exit(testenv.Main(m))
	}
	err := playChild(context.Background(), role, os.Getenv(pathVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// The workspaces of demo.yaml.
var (
	concierge  = demoID(1)
	modelless  = demoID(2)
	researcher = demoID(3)
	spender    = demoID(4)
	retired    = demoID(5)
)

func demoID(n byte) uuid.UUID {
	id := uuid.MustParse("00000000-0000-4000-8000-000000000000")
	id[15] = n
	return id
}

// openDemo gives a migrated store with the demo workspaces, in a file of its own.
func openDemo(t testing.TB, o sqlite.Options) *sqlite.Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "gatehouse.db")
		writeMigrated(t, o.Path)
	}
	s := open(t, o)
	require.NoError(t, s.Migrate(t.Context()))
	_, err := s.LoadDemo(t.Context())
	require.NoError(t, err)
	return s
}

// migrated is a file with all tables and nothing in them. Migrating takes longer than most tests do, above all with -race.
var migrated = sync.OnceValues(func() (file []byte, err error) {
	folder, err := os.MkdirTemp("", "gatehouse-test-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	path := filepath.Join(folder, "gatehouse.db")
	s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.Migrate(context.Background()), s.Close()) // which leaves nothing beside the file
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func writeMigrated(t testing.TB, path string) {
	t.Helper()
	file, err := migrated()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, file, 0o600))
}

func open(t testing.TB, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// deny is a decision that denies a workspace and wants it marked.
func deny(id uuid.UUID) admission.Decision {
	d := allow(id)
	d.Verdict = admission.NewVerdict([]admission.Violation{{
		Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing",
		Message: "The platform agent has no MODEL secret.", Severity: admission.Critical,
		Enforcement: admission.Deny, Status: 400, MarkFailed: true, Answer: "platform agent identity incomplete",
	}}, "revision")
	return d
}

func allow(id uuid.UUID) admission.Decision {
	return admission.Decision{
		ID: uuid.Must(uuid.NewV7()), At: time.Now().UTC().Truncate(time.Microsecond),
		Hook: "register", Caller: "registry", CallerProof: admission.Token, WorkspaceID: id, Kind: "platform",
		Input:   jsontext.Value(`{"hook":"register"}`),
		Verdict: admission.NewVerdict(nil, "revision"),
		Timings: admission.Timings{Facts: 1500 * time.Microsecond, Policy: 70 * time.Microsecond},
	}
}

// neverJudge is for denies whose facts have not changed.
func neverJudge(context.Context, admission.Facts) (admission.Judged, error) {
	return admission.Judged{}, fmt.Errorf("judged again although the facts are the same")
}

// count gives the one number that a query selects.
func count(t testing.TB, s *sqlite.Store, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, s.Writer().QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

// texts gives the one column that a query selects.
func texts(t testing.TB, s *sqlite.Store, query string, args ...any) []string {
	t.Helper()
	rows, err := s.Writer().QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var found []string
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		found = append(found, text)
	}
	require.NoError(t, rows.Err())
	return found
}
