//go:build linux

package main

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

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/testenv"
)

// programs are what is compared. All paths are absolute.
type programs struct {
	gatehouse, opa string
	self           string // for the bare handler and the load, each in a process of its own
	policy         string // folder of the six rules
}

// rig are the servers, all on loopback. Only one of them is under load at a time.
type rig struct {
	programs
	folder     string
	closers    []func() error
	bare       *process
	opaServer  *process
	sqlite     *process // gatehouse on a file
	postgres   *process // gatehouse on Postgres
	database   *pgx.Conn
	postmaster int
}

// failingWorkspaces are more than a server can deny in one run, because each is denied with effect only once.
const failingWorkspaces = 30_000

func startRig(ctx context.Context, from programs) (r *rig, err error) {
	r = &rig{programs: from}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	r.folder, err = os.MkdirTemp("", "gatehouse-compare-*")
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, func() error { return os.RemoveAll(r.folder) })
	for _, start := range []func(context.Context) error{r.startBare, r.startOPA, r.startSQLite, r.startPostgres} {
		err = start(ctx)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *rig) close() error {
	var all []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		all = append(all, r.closers[i]())
	}
	return errors.Join(all...)
}

// start runs a server; its arguments are made once its address is known.
func (r *rig) start(ctx context.Context, name, path string, arguments func(address string) []string) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := startServer(ctx, r.folder, name, address, path, arguments(address)...)
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, p.stop)
	return p, nil
}

func (r *rig) startBare(ctx context.Context) (err error) {
	r.bare, err = r.start(ctx, "bare", "/healthz", func(address string) []string { return []string{r.self, "bare", address} })
	return err
}

// startOPA leaves out what costs OPA time and what Gatehouse does not do: a log line for each request.
func (r *rig) startOPA(ctx context.Context) (err error) {
	r.opaServer, err = r.start(ctx, "opa", "/health", func(address string) []string {
		return []string{r.opa, "run", "--server", "--addr", address, "--log-level", "error", "--disable-telemetry", r.policy}
	})
	return err
}

func (r *rig) startSQLite(ctx context.Context) (err error) {
	r.sqlite, err = r.serve(ctx, "gatehouse-sqlite", "sqlite:"+filepath.Join(r.folder, "gatehouse.db"))
	if err != nil {
		return err
	}
	return r.tell(ctx, mixed())
}

func (r *rig) serve(ctx context.Context, name, database string, more ...string) (*process, error) {
	admin, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.start(ctx, name, "/readyz", func(address string) []string {
		return append([]string{
			r.gatehouse, "serve", "--listen", address, "--policies", r.policy, "--database-url", database,
			"--pprof", "--admin-listen", admin,
		}, more...)
	})
	if err == nil {
		p.admin = admin
	}
	return p, err
}

// tell puts workspaces into the store of a registry whose database is not shared.
func (r *rig) tell(ctx context.Context, all []workspace) error {
	for _, w := range all {
		path := "http://" + r.sqlite.address + "/v1/workspaces/" + w.ID.String()
		facts, _ := w.facts()["workspace"].(map[string]any)
		delete(facts, "last_sample_error")
		err := put(ctx, path, facts)
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
func (r *rig) startPostgres(ctx context.Context) error {
	server, err := testenv.StartPostgres(ctx, testenv.Options{Durable: true})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, server.Close)
	url, err := server.CreateDatabase(ctx, testenv.RegistryCurrent)
	if err != nil {
		return err
	}
	r.database, err = pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	r.closers = append(r.closers, func() error { return r.database.Close(context.WithoutCancel(ctx)) })
	var backend int
	err = r.database.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend)
	if err != nil {
		return err
	}
	r.postmaster, err = parentOf(backend)
	if err != nil {
		return err
	}
	err = r.insert(ctx, append(mixed(), failing(failingWorkspaces)...))
	if err != nil {
		return err
	}
	config := filepath.Join(r.folder, "config.yaml")
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
	err = r.command(ctx, r.gatehouse, "announcements", "disable", "closed", "--database-url", url)
	if err == nil {
		err = first.stop()
	}
	if err != nil {
		return err
	}
	r.postgres, err = r.serve(ctx, "gatehouse-postgres", url, "--config", config)
	return err
}

func (r *rig) insert(ctx context.Context, all []workspace) error {
	rows := make([][]any, 0, len(all))
	var keys [][]any
	for _, w := range all {
		rows = append(rows, []any{w.ID, "agent", w.Tier, w.Runtime})
		for _, key := range w.Secrets {
			keys = append(keys, []any{w.ID, key, []byte("sealed")})
		}
	}
	_, err := r.database.CopyFrom(ctx, pgx.Identifier{"workspaces"}, []string{"id", "name", "tier", "runtime"}, pgx.CopyFromRows(rows))
	if err != nil {
		return fmt.Errorf("inserting workspaces: %w", err)
	}
	_, err = r.database.CopyFrom(ctx, pgx.Identifier{"workspace_secrets"}, []string{"workspace_id", "key", "encrypted_value"}, pgx.CopyFromRows(keys))
	if err != nil {
		return fmt.Errorf("inserting secrets: %w", err)
	}
	_, err = r.database.Exec(ctx, "analyze")
	return err
}

// grow makes the workspaces of spread, from the first to n.
func (r *rig) grow(ctx context.Context, from, n int) error {
	_, err := r.database.Exec(ctx, `
		with made as (
			insert into workspaces (id, name, tier, runtime)
			select ('01890a5d-ac96-774b-8000-' || lpad(to_hex($1::bigint + i), 12, '0'))::uuid, 'agent', 1, 'hermes'
			from generate_series($2::bigint, $3::bigint - 1) i
			returning id
		)
		insert into workspace_secrets (workspace_id, key, encrypted_value) select id, 'MODEL', 'sealed' from made`,
		manyFrom, from, n)
	if err != nil {
		return fmt.Errorf("making %d workspaces: %w", n-from, err)
	}
	_, err = r.database.Exec(ctx, "vacuum analyze workspaces, workspace_secrets")
	return err
}

// unmark undoes what denies did to workspaces, so that they can be denied with effect again.
func (r *rig) unmark(ctx context.Context) error {
	_, err := r.database.Exec(ctx, `update workspaces set status = 'provisioning', last_sample_error = null where status = 'failed'`)
	if err != nil {
		return fmt.Errorf("undoing marks: %w", err)
	}
	_, err = r.database.Exec(ctx, "vacuum workspaces")
	return err
}

func (r *rig) command(ctx context.Context, arguments ...string) error {
	said, err := command(ctx, r.folder, arguments...)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", arguments[0], err, said)
	}
	return nil
}

// startTime is how long a server with embedded policies takes from its start to its first ready answer.
func (r *rig) startTime(ctx context.Context, name string) (time.Duration, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	p, err := startServer(ctx, r.folder, name, address, "/readyz",
		r.gatehouse, "serve", "--listen", address, "--database-url", "sqlite:"+filepath.Join(r.folder, name+".db"))
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, p.stop()
}
