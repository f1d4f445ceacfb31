package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// servers are all on loopback. Only one of them is under load at a time, but for OPA, which do-it-yourself asks.
type servers struct {
	*rig.Rig
	opa, doItYourself, hardCoded *rig.Process
	sqlite, postgres             *rig.Process // Gatehouse on each
	database                     *rig.Postgres
}

// failingWorkspaces are more than a server can deny in one run, because each is denied with effect only once.
const failingWorkspaces = 30_000

func (c *Command) start(ctx context.Context, r *rig.Rig) (s *servers, err error) {
	s = &servers{Rig: r}
	s.database, err = r.StartPostgres(ctx, append(rig.Mixed(), rig.Failing(failingWorkspaces)...))
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// OPA's log line for each request is off: it costs time, and Gatehouse's own decision log is another thing.
	s.opa, err = r.Start(ctx, "opa", "/health", func(address string) []string {
		return []string{c.OPA, "run", "--server", "--addr", address, "--log-level", "error", "--disable-telemetry", c.Policy}
	})
	if err != nil {
		return nil, err
	}
	s.doItYourself, err = r.Start(ctx, "do-it-yourself", "/healthz", func(address string) []string {
		return []string{self, "do-it-yourself", "--listen", address, "--database", s.database.URL, "--opa", s.opa.Address}
	})
	if err != nil {
		return nil, err
	}
	s.hardCoded, err = r.Start(ctx, "hard-coded", "/healthz", func(address string) []string {
		return []string{self, "hard-coded", "--listen", address, "--database", s.database.URL}
	})
	if err != nil {
		return nil, err
	}
	s.sqlite, err = r.Serve(ctx, "gatehouse-sqlite", c.Options, "sqlite:"+filepath.Join(r.Folder, "gatehouse.db"))
	if err == nil {
		err = s.tell(ctx, rig.Mixed())
	}
	if err == nil {
		err = c.startOnPostgres(ctx, s)
	}
	return s, err
}

// tell puts workspaces into the store of a registry whose database is not shared.
func (s *servers) tell(ctx context.Context, all []rig.Workspace) error {
	for _, w := range all {
		path := "http://" + s.sqlite.Address + "/v1/workspaces/" + w.ID.String()
		row, _ := facts(w)["workspace"].(map[string]any)
		delete(row, "last_sample_error")
		text, err := json.Marshal(row)
		if err == nil {
			err = put(ctx, path, text)
		}
		for _, key := range w.Secrets {
			if err == nil {
				err = put(ctx, path+"/secrets/"+key, nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("PUT %s: %s", url, response.Status)
	}
	return nil
}

// closedSink takes what a deny leaves in the outbox and is disabled: what is measured is the deny, and not a receiver on
// the same cores.
const closedSink = `sinks:
  - {name: closed, type: redis, url: "redis://127.0.0.1:1/0"}
`

func (c *Command) startOnPostgres(ctx context.Context, s *servers) error {
	config := filepath.Join(s.Folder, "config.yaml")
	err := os.WriteFile(config, []byte(closedSink), 0o600)
	if err != nil {
		return err
	}
	// The sink is known once a server has been there. It is disabled before the next one starts: one that is just
	// starting can miss the notification, and then hears of it only within a minute.
	first, err := s.Serve(ctx, "gatehouse-first", c.Options, s.database.URL, "--config", config)
	if err == nil {
		err = c.disableSink(ctx, s)
	}
	if err == nil {
		err = first.Stop()
	}
	if err == nil {
		s.postgres, err = s.Serve(ctx, "gatehouse-postgres", c.Options, s.database.URL, "--config", config)
	}
	return err
}

// disableSink waits until a server works the sink's queue, which it does soon after it is ready.
func (c *Command) disableSink(ctx context.Context, s *servers) error {
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		said, err := rig.Command(ctx, s.Folder, c.Gatehouse, "announcements", "disable", "closed", "--database-url", s.database.URL)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("disabling the sink: %w: %s", err, said)
		case <-time.After(pause):
		}
	}
}

// unmark undoes what denies did to workspaces, so that they can be denied with effect again.
func (s *servers) unmark(ctx context.Context) error {
	_, err := s.database.Exec(ctx, `update workspaces set status = 'provisioning', last_sample_error = null where status = 'failed'`)
	if err == nil {
		_, err = s.database.Exec(ctx, "vacuum workspaces")
	}
	if err != nil {
		return fmt.Errorf("undoing marks: %w", err)
	}
	return nil
}
