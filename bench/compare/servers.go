//go:build linux

package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// programs are what is compared. All paths are absolute.
type programs struct {
	gatehouse, opa string
	self           string // for the bare handler and the load, each in a process of its own
	policy         string // folder of the six rules
}

// servers are all on loopback. Only one of them is under load at a time.
type servers struct {
	programs
	*rig.Rig
	bare      *rig.Process
	opaServer *rig.Process
	sqlite    *rig.Process // gatehouse on a file
	postgres  *rig.Process // gatehouse on Postgres
	database  *rig.Postgres
}

// failingWorkspaces are more than a server can deny in one run, because each is denied with effect only once.
const failingWorkspaces = 30_000

func startServers(ctx context.Context, from programs) (r *servers, err error) {
	r = &servers{programs: from}
	r.Rig, err = rig.New("gatehouse-compare")
	if err != nil {
		return r, err
	}
	for _, start := range []func(context.Context) error{r.startBare, r.startOPA, r.startSQLite, r.startPostgres} {
		err = start(ctx)
		if err != nil {
			return r, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func (r *servers) startBare(ctx context.Context) (err error) {
	r.bare, err = r.Start(ctx, "bare", "/healthz", func(address string) []string { return []string{r.self, "bare", address} })
	return err
}

// startOPA leaves out what costs OPA time and what Gatehouse does not do: a log line for each request.
func (r *servers) startOPA(ctx context.Context) (err error) {
	r.opaServer, err = r.Start(ctx, "opa", "/health", func(address string) []string {
		return []string{r.opa, "run", "--server", "--addr", address, "--log-level", "error", "--disable-telemetry", r.policy}
	})
	return err
}

func (r *servers) startSQLite(ctx context.Context) (err error) {
	r.sqlite, err = r.serve(ctx, "gatehouse-sqlite", "sqlite:"+filepath.Join(r.Folder, "gatehouse.db"))
	if err != nil {
		return err
	}
	return r.tell(ctx, rig.Mixed())
}

func (r *servers) serve(ctx context.Context, name, database string, more ...string) (*rig.Process, error) {
	return r.Serve(ctx, name, rig.Gatehouse{Program: r.gatehouse, Policies: r.policy, Database: database, More: more})
}

// tell puts workspaces into the store of a registry whose database is not shared.
func (r *servers) tell(ctx context.Context, all []rig.Workspace) error {
	for _, w := range all {
		path := "http://" + r.sqlite.Address + "/v1/workspaces/" + w.ID.String()
		told, _ := facts(w)["workspace"].(map[string]any)
		delete(told, "last_sample_error")
		err := put(ctx, path, told)
		for _, key := range w.Secrets {
			err = errors.Join(err, put(ctx, path+"/secrets/"+key, nil))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, url string, body any) error {
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		if err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(text))
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

// closedSink is one that takes what a deny leaves in the outbox and is disabled, so that what is measured is the
// deny and not a receiver on the same cores.
const closedSink = `sinks:
  - {name: closed, type: redis, url: "redis://127.0.0.1:1/0"}
`

// startPostgres starts a Postgres that syncs, with the registry's tables, and a Gatehouse on it.
func (r *servers) startPostgres(ctx context.Context) error {
	var err error
	r.database, err = rig.StartPostgres(ctx)
	if err != nil {
		return err
	}
	r.OnClose(r.database.Stop)
	err = r.database.Insert(ctx, append(rig.Mixed(), rig.Failing(failingWorkspaces)...))
	if err != nil {
		return err
	}
	url := r.database.URL
	config := filepath.Join(r.Folder, "config.yaml")
	err = os.WriteFile(config, []byte(closedSink), 0o600)
	if err != nil {
		return err
	}
	first, err := r.serve(ctx, "gatehouse-first", url, "--config", config)
	if err != nil {
		return err
	}
	// The sink is known once a server has been there, and surely disabled for one that comes afterwards: one that is just
	// starting can miss the notification, and then hears of it within a minute.
	err = r.disableSink(ctx, url)
	if err == nil {
		err = first.Stop()
	}
	if err != nil {
		return err
	}
	r.postgres, err = r.serve(ctx, "gatehouse-postgres", url, "--config", config)
	return err
}

// disableSink waits until a server works the sink's queue, which it does soon after it is ready.
func (r *servers) disableSink(ctx context.Context, url string) error {
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := r.command(ctx, r.gatehouse, "announcements", "disable", "closed", "--database-url", url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// grow makes the workspaces of rig.Spread, from the first to n.
func (r *servers) grow(ctx context.Context, from, n int) error {
	_, err := r.database.Exec(ctx, `
		with made as (
			insert into workspaces (id, name, tier, runtime)
			select ('01890a5d-ac96-774b-8000-' || lpad(to_hex($1::bigint + i), 12, '0'))::uuid, 'agent', 1, 'hermes'
			from generate_series($2::bigint, $3::bigint - 1) i
			returning id
		)
		insert into workspace_secrets (workspace_id, key, encrypted_value) select id, 'MODEL', 'sealed' from made`,
		rig.ManyFrom, from, n)
	if err != nil {
		return fmt.Errorf("making %d workspaces: %w", n-from, err)
	}
	_, err = r.database.Exec(ctx, "vacuum analyze workspaces, workspace_secrets")
	return err
}

// unmark undoes what denies did to workspaces, so that they can be denied with effect again.
func (r *servers) unmark(ctx context.Context) error {
	_, err := r.database.Exec(ctx, `update workspaces set status = 'provisioning', last_sample_error = null where status = 'failed'`)
	if err != nil {
		return fmt.Errorf("undoing marks: %w", err)
	}
	_, err = r.database.Exec(ctx, "vacuum workspaces")
	return err
}

func (r *servers) command(ctx context.Context, arguments ...string) error {
	said, err := rig.Command(ctx, r.Folder, arguments...)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", arguments[0], err, said)
	}
	return nil
}

// startTime is how long a server with embedded policies takes from its start to its first ready answer.
func (r *servers) startTime(ctx context.Context, name string) (time.Duration, error) {
	address, err := rig.FreeAddress(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	p, err := rig.StartServer(ctx, r.Folder, name, address, "/readyz",
		r.gatehouse, "serve", "--listen", address, "--shutdown-delay", "0s", "--database-url", "sqlite:"+filepath.Join(r.Folder, name+".db"))
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, p.Stop()
}
