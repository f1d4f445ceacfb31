package rig

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// Postgres is a server that syncs, with the registry's tables.
type Postgres struct {
	*pgx.Conn
	URL        string
	postmaster int // its process
}

// StartPostgres runs one until Close, with some workspaces.
func (r *Rig) StartPostgres(ctx context.Context, workspaces []Workspace) (*Postgres, error) {
	server, err := testenv.StartPostgres(ctx, testenv.Options{Durable: true})
	if err != nil {
		return nil, err
	}
	r.OnClose(server.Close)
	p := new(Postgres)
	p.URL, err = server.CreateDatabase(ctx, testenv.RegistryCurrent)
	if err != nil {
		return nil, err
	}
	p.Conn, err = pgx.Connect(ctx, p.URL)
	if err != nil {
		return nil, err
	}
	r.OnClose(func() error { return p.Close(context.Background()) })
	backend, err := statOf(int(p.PgConn().PID()))
	p.postmaster = backend.PPID
	if err != nil {
		return nil, err
	}
	return p, p.insert(ctx, workspaces)
}

func (p *Postgres) insert(ctx context.Context, all []Workspace) error {
	var rows, keys [][]any
	for _, w := range all {
		rows = append(rows, []any{w.ID, "agent", w.Tier, w.Runtime})
		for _, key := range w.Secrets {
			keys = append(keys, []any{w.ID, key, []byte("sealed")})
		}
	}
	_, err := p.CopyFrom(ctx, pgx.Identifier{"workspaces"}, []string{"id", "name", "tier", "runtime"}, pgx.CopyFromRows(rows))
	if err == nil {
		_, err = p.CopyFrom(ctx, pgx.Identifier{"workspace_secrets"}, []string{"workspace_id", "key", "encrypted_value"}, pgx.CopyFromRows(keys))
	}
	if err == nil {
		_, err = p.Exec(ctx, "analyze")
	}
	if err != nil {
		return fmt.Errorf("inserting workspaces: %w", err)
	}
	return nil
}

// Every transaction that writes takes a number, and one that only reads takes none; so the next number counts commits,
// and unlike the counts of pg_stat_database it is never late.
const countersSQL = `
select pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint`

func (p *Postgres) read(ctx context.Context, into *counters) error {
	err := p.QueryRow(ctx, countersSQL).Scan(&into.commits, &into.wal)
	if err != nil {
		return fmt.Errorf("reading Postgres' counters: %w", err)
	}
	var failed error
	into.database, failed = treeTime(p.postmaster)
	return errors.Join(err, failed)
}
