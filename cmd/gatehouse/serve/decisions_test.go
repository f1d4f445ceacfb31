package serve_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

const collectorToken = "planted-collector-token"

// collector is a server of OPA's decision log API that fails now and then, before or after it has taken an upload.
type collector struct {
	mu    sync.Mutex
	got   map[string]bool
	wrong []error
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rand.N(8) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	err := c.take(r)
	if err != nil {
		c.wrong = append(c.wrong, err)
	}
	if rand.N(8) == 0 {
		panic(http.ErrAbortHandler) // the answer is lost
	}
}

func (c *collector) take(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != "/logs" || r.Header.Get("Content-Encoding") != "gzip" ||
		r.Header.Get("Authorization") != "Bearer "+collectorToken {
		return fmt.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	unzipped, err := gzip.NewReader(r.Body)
	if err != nil {
		return err
	}
	var events []logs.EventV1
	decoder := json.NewDecoder(unzipped)
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&events)
	for _, event := range events {
		c.got[event.DecisionID] = true
		if event.Labels["region"] != "eu" {
			err = errors.New("a label is missing")
		}
	}
	return err
}

func (c *collector) has(ids []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if !c.got[id] {
			return false
		}
	}
	return true
}

func TestEveryAnsweredDecisionIsUploadedAlthoughTheServerIsKilled(t *testing.T) {
	t.Parallel()
	cmdtest.OnBothStores(t, func(t *testing.T, _ string, args []string, allowed, denied uuid.UUID) {
		taking := &collector{got: make(map[string]bool)}
		receiver := httptest.NewServer(taking)
		defer receiver.Close()
		token := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(token, []byte(collectorToken+"\n"), 0o600))
		args = append(args, "--decision-log-url", receiver.URL+"/", "--decision-log-token-file", token, "--decision-log-labels", "region=eu")
		args = append(args, cmdtest.Patient...)
		var mu sync.Mutex
		var answered []string
		for range 3 {
			gate := cmdtest.Start(t, args...).WaitReady()
			var asking sync.WaitGroup
			for worker := range 4 {
				asking.Go(func() {
					for {
						id := []uuid.UUID{allowed, denied}[worker%2]
						status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
						if status != http.StatusOK {
							return // it was killed
						}
						var answer struct {
							DecisionID string `json:"decision_id"`
						}
						if json.Unmarshal([]byte(text), &answer) == nil {
							mu.Lock()
							answered = append(answered, answer.DecisionID)
							mu.Unlock()
						}
					}
				})
			}
			begun := len(taking.seen())
			require.Eventually(t, func() bool { return len(taking.seen()) > begun+20 }, cmdtest.Patience, cmdtest.Tick)
			gate.Kill()
			asking.Wait()
			require.NotContains(t, gate.Logged(), collectorToken)
		}

		gate := cmdtest.Start(t, args...).WaitReady()

		require.Eventually(t, func() bool { return taking.has(answered) }, 4*cmdtest.Patience, cmdtest.Tick)
		require.Empty(t, taking.wrong)
		require.Eventually(t, func() bool { return gate.Metric(`gatehouse_decision_log_pending`) == "0" }, cmdtest.Patience, cmdtest.Tick)
		require.Equal(t, "0", gate.Metric(`gatehouse_decision_log_oldest_seconds`))
		require.NotEqual(t, "0", gate.Metric(`gatehouse_decision_log_uploads_total{result="accepted"}`))
		require.Equal(t, "0", gate.Metric(`gatehouse_decision_log_uploads_total{result="refused"}`))
	})
}

func (c *collector) seen() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]bool, len(c.got))
	for id := range c.got {
		seen[id] = true
	}
	return seen
}

func TestUploadWithBadSettingsIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--decision-log-url", "collector.example.com"},
		{"--decision-log-url", "ftp://collector.example.com"},
		{"--decision-log-url", "https://user:planted-secret@collector.example.com"},
		{"--decision-log-url", "https://collector.example.com/?token=planted-secret"},
		{"--decision-log-url", "https://collector.example.com", "--decision-log-max-bytes", "0"},
		{"--decision-log-url", "https://collector.example.com", "--decision-log-token-file", "/nowhere/token"},
	} {
		got := programtest.Command(t, "", append([]string{"serve", "--database-url", "sqlite:" + filepath.Join(t.TempDir(), "x.db")}, args...)...)
		require.NotZero(t, got.Code, args)
		require.Contains(t, got.Err, "--decision-log-", args)
		require.False(t, bytes.Contains([]byte(got.Err), []byte("planted-secret")), args)
	}
}
