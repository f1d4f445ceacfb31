package operate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/operate"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
)

// An operator looks for a deny, while the server runs and once it is down.
func TestDecisionsShowSaysWhyAWorkspaceWasDenied(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, database string, args []string, allowed, denied uuid.UUID) {
		gate := cmdtest.Start(t, args...).WaitReady()
		require.True(t, *gate.Review("register", cmdtest.RegisterBody(allowed)).Allowed)
		deny := gate.Review("register", cmdtest.WithUID(cmdtest.RegisterBody(denied), "u-1"))
		require.False(t, *deny.Allowed)

		status, text := gate.Get("/v1/decisions?allowed=false&input=true")
		require.Equal(t, http.StatusOK, status, text)
		var page struct {
			Decisions []struct {
				ID    string          `json:"id"`
				Input json.RawMessage `json:"input"`
			} `json:"decisions"`
			Next string `json:"next"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &page))
		require.Len(t, page.Decisions, 1)
		require.Equal(t, deny.DecisionID, page.Decisions[0].ID)
		require.Contains(t, string(page.Decisions[0].Input), denied.String())
		status, one := gate.Get("/v1/decisions/" + deny.DecisionID)
		require.Equal(t, http.StatusOK, status)

		for range 2 {
			code, listed := runOnce(t, "decisions", "list", "--database-url", database)
			require.Zero(t, code, listed)
			lines := strings.Split(strings.TrimSpace(listed), "\n")
			require.Len(t, lines, 3)
			require.Regexp(t, ` register +deny +PLATFORM_AGENT_IDENTITY_GATE +platform +`+denied.String()+" +"+deny.DecisionID, lines[1])
			require.Regexp(t, ` register +allow +- +workspace|platform +`+allowed.String(), lines[2])
			code, shown := runOnce(t, "decisions", "show", deny.DecisionID, "--database-url", database)
			require.Zero(t, code, shown)
			for _, says := range []string{
				"verdict    denied: PLATFORM_AGENT_IDENTITY_GATE", "uid        u-1", "effect     the workspace was marked failed",
				"critical PLATFORM_AGENT_IDENTITY_GATE: model_missing", "rule platform_requires_model", `"hook": "register"`,
			} {
				require.Contains(t, shown, says)
			}
			code, shown = runOnce(t, "decisions", "show", deny.DecisionID, "--output", "json", "--database-url", database)
			require.Zero(t, code, shown)
			require.JSONEq(t, one, shown, "the command and the service tell the same")
			if gate.Command.ProcessState == nil {
				gate.End()
			}
		}

		code, first := runOnce(t, "decisions", "list", "--limit", "1", "--database-url", database)
		require.Zero(t, code, first)
		require.Contains(t, first, "more: --cursor "+deny.DecisionID)
		for filter, n := range map[string]int{
			"--verdict=allow": 1, "--verdict=deny": 1, "--verdict=error": 0, "--code=PLATFORM_AGENT_IDENTITY_GATE": 1, "--uid=u-1": 1,
			"--workspace=" + allowed.String(): 1, "--since=1h": 2, "--until=1h": 0, "--hook=heartbeat": 0, "--cursor=" + deny.DecisionID: 1,
		} {
			code, listed := runOnce(t, "decisions", "list", filter, "--database-url", database)
			require.Zero(t, code, listed)
			require.Equal(t, n+1, strings.Count(listed, "\n"), filter)
		}
	})
}

// An operator sees by code what was denied, and the command and the service tell the same.
func TestDecisionsSummaryCountsByCode(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, database string, args []string, allowed, denied uuid.UUID) {
		gate := cmdtest.Start(t, args...).WaitReady()
		require.True(t, *gate.Review("register", cmdtest.RegisterBody(allowed)).Allowed)
		deny := gate.Review("register", cmdtest.RegisterBody(denied))
		require.False(t, *deny.Allowed)

		code, text := runOnce(t, "decisions", "summary", "--database-url", database)
		require.Zero(t, code, text)
		require.Regexp(t, `^since \S+: 2 decisions, 1 allowed, 1 denied, 0 failed\n`, text)
		require.Regexp(t, `PLATFORM_AGENT_IDENTITY_GATE +register +deny +1 +0 +1 +\S+ +`+deny.DecisionID, text)

		code, before := runOnce(t, "decisions", "summary", "--since", "30d", "--until", "7d", "--database-url", database)
		require.Zero(t, code, before)
		require.Contains(t, before, ": 0 decisions, 0 allowed, 0 denied, 0 failed\n")

		status, served := gate.Get("/v1/decisions/summary?hook=register")
		require.Equal(t, http.StatusOK, status, served)
		code, printed := runOnce(t, "decisions", "summary", "--hook", "register", "--output", "json", "--database-url", database)
		require.Zero(t, code, printed)
		require.JSONEq(t, served, printed)
	})
}

func TestDecisionsRefuseBadArguments(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"--since", []string{"list", "--since", "yesterday"}},
		{"--since", []string{"summary", "--since", "yesterday"}},
		{"--limit", []string{"list", "--limit", "1001"}},
		{"--cursor", []string{"list", "--cursor", "x"}},
		{"--workspace", []string{"tail", "--workspace", "x"}},
		{"no id of a decision", []string{"show", "x"}},
		{"no such file", []string{"list"}},
		{"no such file", []string{"export", "--output-file", filepath.Join(t.TempDir(), "x")}},
	} {
		code, text := runOnce(t, append(append([]string{"decisions"}, c.args...), "--database-url", database)...)
		require.Equal(t, cli.ExitFailed, code, c.args)
		require.Contains(t, text, c.says, c.args)
	}
	require.NoFileExists(t, strings.TrimPrefix(database, "sqlite:"), "nothing is made by looking")
}

func TestExportsAreReadByOtherTools(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, database string, args []string, allowed, denied uuid.UUID) {
		gate := cmdtest.Start(t, append(args, cmdtest.Patient...)...).WaitReady()
		status, text := gate.Post("/v1/admission/register/batch", `{"reviews": [`+
			strings.TrimSuffix(strings.Repeat(cmdtest.RegisterBody(allowed)+",", operate.ExportPage+1), ",")+`]}`)
		require.Equal(t, http.StatusOK, status, text)
		var answers struct{ Decisions []cmdtest.WireAnswer }
		require.NoError(t, json.Unmarshal([]byte(text), &answers))
		var ids []string
		for _, answer := range answers.Decisions {
			ids = append(ids, answer.DecisionID)
		}
		slices.Sort(ids) // those of one batch are decided side by side
		ids = append(ids, gate.Review("register", cmdtest.RegisterBody(denied)).DecisionID)
		folder := t.TempDir()
		export := func(format string, args ...string) []byte {
			name := filepath.Join(folder, "decisions."+format)
			code, text := runOnce(t, append([]string{
				"decisions", "export", "--until", "0s", "--format", format, "--output-file", name, "--database-url", database,
			}, args...)...)
			require.Zero(t, code, text)
			written, err := os.ReadFile(name)
			require.NoError(t, err)
			return written
		}

		var exported []string
		for line := range bytes.Lines(export("opa", "--labels", "region=eu")) {
			var event logs.EventV1
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			require.NoError(t, decoder.Decode(&event), string(line))
			require.Equal(t, "eu", event.Labels["region"])
			exported = append(exported, event.DecisionID)
		}
		require.Equal(t, ids, exported, "oldest first")
		written := export("parquet")
		rows, err := parquet.Read[decisionlog.Row](bytes.NewReader(written), int64(len(written)))
		require.NoError(t, err)
		require.Len(t, rows, len(ids))
		require.Equal(t, ids[0], rows[0].ID)
		records, err := csv.NewReader(bytes.NewReader(export("csv", "--verdict", "deny"))).ReadAll()
		require.NoError(t, err)
		require.Len(t, records, 2)
		require.Equal(t, ids[len(ids)-1], records[1][0])

		left, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Len(t, left, 3, "nothing else is left behind")
	})
}

func TestExportThatFailsLeavesTheFile(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	cmdtest.Start(t, "--demo", "--database-url", database).WaitReady().Review("register", cmdtest.RegisterBody(cmdtest.DemoWithoutModel))
	folder := t.TempDir()
	name := filepath.Join(folder, "decisions.csv")
	require.NoError(t, os.WriteFile(name, []byte("before"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	code := program.Run(ctx, "devel", []string{"decisions", "export", "--format", "csv", "--output-file", name, "--database-url", database},
		cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})

	require.Equal(t, cli.ExitFailed, code)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "before", string(text))
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// growing is what a command prints while it runs.
type growing struct {
	mu   sync.Mutex
	text strings.Builder
}

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

func TestTailShowsWhatIsDecidedUntilItIsStopped(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, database string, args []string, allowed, denied uuid.UUID) {
		gate := cmdtest.Start(t, args...).WaitReady()
		before := gate.Review("register", cmdtest.RegisterBody(allowed)).DecisionID
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		table, lines := &growing{}, &growing{}
		var running sync.WaitGroup
		for _, one := range []struct {
			out  *growing
			args []string
		}{{table, nil}, {lines, []string{"--output", "json", "--verdict", "deny", "-n", "0", "--input"}}} {
			running.Go(func() {
				code := program.Run(ctx, "devel", append([]string{"decisions", "tail", "--database-url", database}, one.args...), cli.Streams{In: strings.NewReader(""), Out: one.out, Err: one.out})
				if code != 0 {
					t.Error(code, one.out)
				}
			})
		}
		require.Eventually(t, func() bool { return strings.Contains(table.String(), before) }, cmdtest.Patience, cmdtest.Tick)

		require.Eventually(t, func() bool { // the other says nothing of when it begins
			require.NotNil(t, gate.Review("register", cmdtest.RegisterBody(denied)).Allowed)
			return lines.String() != ""
		}, cmdtest.Patience, 10*cmdtest.Tick)
		after := gate.Review("register", cmdtest.RegisterBody(allowed)).DecisionID
		require.Eventually(t, func() bool { return strings.Contains(table.String(), after) }, cmdtest.Patience, cmdtest.Tick)

		stop()
		running.Wait()
		require.Equal(t, 1, strings.Count(table.String(), before), "what was there is shown once")
		for line := range strings.Lines(lines.String()) {
			var record struct {
				Allowed bool
				Input   struct{ Hook string }
			}
			require.NoError(t, json.Unmarshal([]byte(line), &record), line)
			require.False(t, record.Allowed)
			require.Equal(t, "register", record.Input.Hook)
		}
	})
}

func TestDecisionsAreStreamedAndResumed(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, _ string, args []string, allowed, denied uuid.UUID) {
		gate := cmdtest.Start(t, args...).WaitReady()
		listen := func(position string) (*bufio.Reader, func()) {
			ctx, cancel := context.WithTimeout(t.Context(), cmdtest.Patience)
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, gate.URL+"/v1/decisions/stream", nil)
			require.NoError(t, err)
			request.Header.Set("Last-Event-ID", position)
			response, err := http.DefaultTransport.RoundTrip(request)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, response.StatusCode)
			return bufio.NewReader(response.Body), func() {
				cancel()
				_ = response.Body.Close()
			}
		}
		// until reads to a line that says so, and gives the last position before it.
		until := func(lines *bufio.Reader, says string) (position string) {
			for {
				line, err := lines.ReadString('\n')
				require.NoError(t, err)
				if id, is := strings.CutPrefix(line, "id: "); is {
					position = strings.TrimSpace(id)
				}
				if strings.Contains(line, says) {
					return position
				}
			}
		}
		lines, hangUp := listen("")
		until(lines, "id: ")
		first := gate.Review("register", cmdtest.RegisterBody(allowed)).DecisionID
		position := until(lines, first)
		hangUp()
		second := gate.Review("register", cmdtest.RegisterBody(denied)).DecisionID

		lines, hangUp = listen(position)
		defer hangUp()
		until(lines, second)
	})
}
