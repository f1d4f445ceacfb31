package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// plantedSent begins every secret that a caller of these tests sends, and the name of where it sends it ends it.
const plantedSent = "sk-sent-by-a-caller-"

// plantedIn are reviews of a workspace with a secret in one place each that a caller fills in.
func plantedIn(id uuid.UUID) map[string]string {
	bodies := map[string]string{
		"uid":                   fmt.Sprintf(`{"uid": "%suid", "workspace": {"id": %q, "url": "https://agent.example.com"}}`, plantedSent, id),
		"caller_proof":          fmt.Sprintf(`{"caller_proof": "%sproof", "workspace": {"id": %q}}`, plantedSent, id),
		"id":                    fmt.Sprintf(`{"workspace": {"id": "%sid"}}`, plantedSent),
		"name of a member":      fmt.Sprintf(`{"workspace": {"id": %q, "%smember": 1}}`, id, plantedSent),
		"bytes after":           fmt.Sprintf(`{"workspace": {"id": %q}} %safter`, id, plantedSent),
		"url with userinfo":     fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://user:%spassword@agent.example.com"}}`, id, plantedSent),
		"url with a query":      fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com/?key=%squery"}}`, id, plantedSent),
		"url with a host":       fmt.Sprintf(`{"workspace": {"id": %q, "url": "http://%shost.local"}}`, id, plantedSent),
		"url that is none":      fmt.Sprintf(`{"workspace": {"id": %q, "url": "\\%surl"}}`, id, plantedSent),
		"card":                  fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", "agent_card": {"auth": [{"key": "%scard"}]}}}`, id, plantedSent),
		"card that is text":     fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", "agent_card": "%stext"}}`, id, plantedSent),
		"card with an odd name": fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", "agent_card": {"name": {"key": "%sodd"}}}}`, id, plantedSent),
	}
	for _, member := range []string{
		"kind", "delivery_mode", "name", "role", "runtime", "model", "tier", "parent_id", "workspace_access", "workspace_dir",
		"mcp_server_present", "budget_limit", "from_status", "to_status", "agent_token",
	} {
		bodies[member] = fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", %q: "%s%[2]s\r\n"}}`, id, member, plantedSent)
	}
	return bodies
}

// receiver keeps what a webhook is sent, headers too.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	text strings.Builder
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		_, _ = fmt.Fprintf(&r.text, "%v\n%s\n", request.Header, body)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) received() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// sinksFile configures a webhook.
func sinksFile(t *testing.T, url string) string {
	t.Helper()
	return cmdtest.File(t, "gatehouse.yaml", fmt.Sprintf("sinks:\n  - {name: hook, type: webhook, url: %q, secrets: [%q], allow_private: true}\n", url, cmdtest.WebhookSecret))
}

func TestPlantedSecretIsNowhereButWhereMaskingLetsIt(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg, hook, channel := cmdtest.NewRegistry(t, url), newReceiver(t), testenv.RedisURL(t)
	heard := cmdtest.Subscribe(t, channel)
	gate := cmdtest.Start(t, append([]string{
		"--database-url", url, "--redis-url", channel, "--config", sinksFile(t, hook.URL), "--log-level", "debug",
	}, cmdtest.Patient...)...).WaitReady()

	answers := plantEverywhere(t, gate, reg)
	require.Eventually(t, func() bool { return pending(gate) == 0 }, cmdtest.Patience, cmdtest.Tick)
	message := heard.Next(t, uuid.MustParse(strings.TrimSpace(reg.Text(`select min(id::text) from workspaces where status = 'failed'`))))
	require.Contains(t, message, "WORKSPACE_PROVISION_FAILED")
	require.Contains(t, hook.received(), "WORKSPACE_PROVISION_FAILED")
	_, metrics := gate.Get("/metrics")
	_, listed := gate.Get("/v1/decisions?limit=1000")
	_, announced := gate.Get("/v1/announcements?limit=1000")
	uids := regexp.MustCompile(`"uid":"[^"]*"`) // its caller's own, and what decisions are looked up by

	for place, text := range map[string]string{
		"the log": gate.Logged(), "the metrics": metrics, "an answer": uids.ReplaceAllString(answers, ""),
		"a message": message, "a webhook": hook.received(), "a table": reg.Rows(), "the announcements": announced,
		"the list of decisions": uids.ReplaceAllString(listed, ""),
		"a record, but for its uid, its request and the request's URL": reg.Text(`
			select (to_jsonb(d) - 'uid' - 'input' || jsonb_build_object('input', d.input::jsonb - 'request' - 'url'))::text from gatehouse.decisions d`),
		"a recorded agent card": reg.Text(`select d.input::jsonb #>> '{request,agent_card}' from gatehouse.decisions d`),
	} {
		requireNowhere(t, text, place, plantedSent, cmdtest.PlantedValue)
	}
	records := reg.Text(`select to_jsonb(d)::text from gatehouse.decisions d`)
	requireNowhere(t, records, "a record", cmdtest.PlantedValue)
	require.Contains(t, records, plantedSent+"role", "what is not masked is recorded as it was evaluated")
}

func TestMaskKeepsAPlantedSecretOutOfRecordsAndExports(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, url)
	folder := cmdtest.PolicyFolder(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "mask.rego"), []byte(`package system.log

mask contains "/input/request" if input.input.request

mask contains "/input/url"
`), 0o600))
	gate := cmdtest.Start(t, append([]string{"--database-url", url, "--policies", folder}, cmdtest.Patient...)...).WaitReady()

	plantEverywhere(t, gate, reg)

	records := reg.Text(`select (to_jsonb(d) - 'uid')::text from gatehouse.decisions d`)
	require.Contains(t, records, "/input/request")
	requireNowhere(t, records, "a masked record", plantedSent)
	for _, format := range []string{"opa", "csv"} {
		exported := programtest.Command(t, "", "decisions", "export", "--until", "0s", "--database-url", url, "--format", format)
		require.Zero(t, exported.Code, exported.Err)
		require.Greater(t, strings.Count(exported.Out, "\n"), 20)
		requireNowhere(t, strings.ReplaceAll(exported.Out, plantedSent+"uid", ""), "an export as "+format, plantedSent, cmdtest.PlantedValue)
	}
}

// requireNowhere shows what is around a secret, and not all of what it is in.
func requireNowhere(t *testing.T, text, place string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if at := strings.Index(text, secret); at >= 0 {
			require.Fail(t, place+" has a secret", "…%s…", text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// plantEverywhere sends every secret every way there is, for a workspace that is marked and for one that is admitted, and
// gives the answers.
func plantEverywhere(t *testing.T, gate *cmdtest.Program, reg *cmdtest.Registry) string {
	t.Helper()
	bad := reg.Workspace("platform", "provisioning")
	good := reg.Workspace("workspace", "online")
	reg.Seed(good, "MODEL")
	reg.Exec(`insert into global_secrets (key, encrypted_value) values ('SHARED', $1)`, []byte(cmdtest.PlantedValue))
	var answers strings.Builder
	send := func(path, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gate.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+plantedSent+"token")
		request.Header.Set("User-Agent", plantedSent+"agent")
		response, err := gate.Client.Do(request)
		require.NoError(t, err)
		status, text := cmdtest.ReadAll(response)
		_, _ = fmt.Fprintf(&answers, "%d %v %s\n", status, response.Header, text)
	}
	for _, id := range []uuid.UUID{bad, good} {
		bodies := plantedIn(id)
		for _, name := range sortedNames(bodies) {
			for _, hook := range []string{"register", "heartbeat"} {
				send("/v1/admission/"+hook+"?key="+plantedSent+"query", bodies[name])
			}
			send("/v1/admission/register/batch", `{"reviews": [`+strings.ReplaceAll(bodies[name], plantedSent+"uid", plantedSent+"uid-"+id.String())+`]}`)
			send("/registry/register", strings.TrimSuffix(strings.TrimPrefix(bodies[name], `{"workspace": `), `}`))
		}
		send("/v1/admission/"+plantedSent+"hook", bodies["role"])
	}
	send("/"+plantedSent+"path", "{}")
	return answers.String()
}

func sortedNames(bodies map[string]string) []string {
	names := make([]string, 0, len(bodies))
	for name := range bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
