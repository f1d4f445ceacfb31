package serve

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
)

// TestAReloadStorm reloads policies between two revisions with opposite verdicts, 100 times a second, while
// callers ask. GATEHOUSE_SOAK makes it last.
func TestReloadStormFailsNoRequestAndMixesNoRevisions(t *testing.T) {
	const every = 10 * time.Millisecond
	lasting := 4 * time.Second
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		lasting = 20 * time.Second
	}
	gateless := &fstest.MapFile{Data: []byte(cmdtest.GatelessData)}
	denies := snapshot.Source{Name: "denies", FS: fstest.MapFS{"data.yaml": gateless, "rule.rego": {Data: fmt.Appendf(nil, cmdtest.StormRule, "external")}}}
	allows := snapshot.Source{Name: "allows", FS: fstest.MapFS{"data.yaml": gateless, "rule.rego": {Data: fmt.Appendf(nil, cmdtest.StormRule, "other")}}}

	database := filepath.Join(t.TempDir(), "storm.db")
	engine, web := stormServer(t, database)
	verdicts := make(map[string]bool)
	for source, allowed := range map[*snapshot.Source]bool{&denies: false, &allows: true} {
		require.NoError(t, engine.Load(t.Context(), *source))
		verdicts[engine.Status().Snapshot.Revision()] = allowed
	}
	require.Len(t, verdicts, 2)

	ctx, stop := context.WithTimeout(t.Context(), lasting)
	defer stop()
	var asked, answeredFirst, wrong atomic.Int64
	var failure atomic.Pointer[string]
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				answer, err := askOnce(web)
				asked.Add(1)
				switch {
				case err != nil:
					text := err.Error()
					failure.CompareAndSwap(nil, &text)
				case answer.Allowed != verdicts[answer.Revision]:
					wrong.Add(1)
				case answer.Allowed:
					answeredFirst.Add(1)
				}
			}
		})
	}
	reloads := 0
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		<-ticker.C
		source := denies
		if reloads%2 == 0 {
			source = allows
		}
		require.NoError(t, engine.Load(t.Context(), source))
		reloads++
	}
	callers.Wait()

	t.Logf("%d reloads and %d reviews in %s", reloads, asked.Load(), lasting)
	if said := failure.Load(); said != nil {
		require.Fail(t, "a request failed", *said)
	}
	require.Zero(t, wrong.Load(), "verdicts of another revision than they name")
	require.Positive(t, answeredFirst.Load())
	require.Less(t, answeredFirst.Load(), asked.Load(), "both revisions were asked")
	require.Greater(t, reloads, 20, "no storm")
	requireRecorded(t, database, verdicts, asked.Load())
}

type stormAnswer struct {
	Allowed  bool   `json:"allowed"`
	Revision string `json:"policy_revision"`
}

func askOnce(web *httptest.Server) (stormAnswer, error) {
	body := fmt.Sprintf(`{"workspace": {"id": %q, "kind": "external"}}`, uuid.NewString())
	response, err := web.Client().Post(web.URL+"/v1/admission/register", "application/json", strings.NewReader(body))
	if err != nil {
		return stormAnswer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return stormAnswer{}, fmt.Errorf("%s: %s %w", response.Status, text, err)
	}
	var answer stormAnswer
	return answer, json.Unmarshal(text, &answer)
}

func requireRecorded(t *testing.T, database string, verdicts map[string]bool, asked int64) {
	t.Helper()
	store, err := sql.Open("sqlite", database)
	require.NoError(t, err)
	defer func() { _ = store.Close() }()
	rows, err := store.QueryContext(t.Context(), `select policy_revision, allowed, count(*) from decisions group by 1, 2`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var total int64
	for rows.Next() {
		var revision string
		var allowed bool
		var n int64
		require.NoError(t, rows.Scan(&revision, &allowed, &n))
		require.Contains(t, verdicts, revision)
		require.Equal(t, verdicts[revision], allowed, revision)
		total += n
	}
	require.NoError(t, rows.Err())
	require.Equal(t, asked, total, "every answer is recorded")
}
