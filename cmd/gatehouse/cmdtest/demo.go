package cmdtest

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const AwaySink = `[{name: ops, type: webhook, url: "http://127.0.0.1:9/", allow_private: true, secrets: ["` + WebhookSecret + `"]}]`

// Effort is how much a fault test does: a bounded part of it in make test, all of it in make soak.
func Effort(bounded, soak int) int {
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		return soak
	}
	return bounded
}

const WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

const (
	EvalReview    = `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://agent.example.com"}}`
	PlatformFacts = `{"exists": true, "workspace": {"kind": "platform", "status": "provisioning", "name": "concierge", "tier": 1}, "secret_keys": []}`
)

// OnBothStores runs a test with a server on each store, and gives a workspace that is allowed and a platform
// workspace without its MODEL.
func OnBothStores(t *testing.T, test func(t *testing.T, database string, args []string, allowed, denied uuid.UUID)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
		test(t, database, []string{"--demo", "--database-url", database}, uuid.MustParse("00000000-0000-4000-8000-000000000001"), DemoWithoutModel)
	})
	t.Run("postgres", func(t *testing.T) {
		server := testenv.OwnPostgres(t, testenv.Options{})
		database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
		require.NoError(t, err)
		reg := NewRegistry(t, database)
		test(t, database, []string{"--database-url", database}, reg.Workspace("workspace", "online"), reg.Workspace("platform", "provisioning"))
	})
}

func WithUID(body, uid string) string {
	return strings.Replace(body, "{", `{"uid": "`+uid+`", `, 1)
}

// What differs from run to run is compared by its form.
var volatile = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuidv7>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`sha256:[0-9a-f]{16}`), "<revision>"},
	{regexp.MustCompile(`(?m)^(Date): .*$`), "$1: <date>"},
	{regexp.MustCompile(`(?m)^Content-Length: \d+`), "Content-Length: <length>"}, // of a body with a time in it
	{regexp.MustCompile(`(?m)^retry: \d+$`), "retry: <jitter>"},
	{regexp.MustCompile(`"(facts|policy)_us":\d+`), `"${1}_us":<time>`},
}

func Normalize(text string) string {
	for _, v := range volatile {
		text = v.form.ReplaceAllString(text, v.name)
	}
	return text
}

// Query reads one row of an SQLite file. It waits while another connection has the file to itself.
func Query(t *testing.T, path, statement string, into ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(), statement).Scan(into...))
}
