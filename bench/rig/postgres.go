//go:build linux

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
	Postmaster int
	server     *testenv.PostgresServer
}

// StartPostgres starts one that its caller closes.
func StartPostgres(ctx context.Context) (p *Postgres, err error) {
	p = new(Postgres)
	p.server, err = testenv.StartPostgres(ctx, testenv.Options{Durable: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	p.URL, err = p.server.CreateDatabase(ctx, testenv.RegistryCurrent)
	if err != nil {
		return nil, err
	}
	p.Conn, err = pgx.Connect(ctx, p.URL)
	if err != nil {
		return nil, err
	}
	var backend int
	err = p.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend)
	if err != nil {
		return nil, err
	}
	p.Postmaster, err = ParentOf(backend)
	return p, err
}

// Stop ends the server and deletes what it had.
func (p *Postgres) Stop() error {
	var err error
	if p.Conn != nil {
		err = p.Close(context.Background())
	}
	return errors.Join(err, p.server.Close())
}

// Insert puts workspaces into the registry's tables.
func (p *Postgres) Insert(ctx context.Context, all []Workspace) error {
	rows := make([][]any, 0, len(all))
	var keys [][]any
	for _, w := range all {
		rows = append(rows, []any{w.ID, "agent", w.Tier, w.Runtime})
		for _, key := range w.Secrets {
			keys = append(keys, []any{w.ID, key, []byte("sealed")})
		}
	}
	_, err := p.CopyFrom(ctx, pgx.Identifier{"workspaces"}, []string{"id", "name", "tier", "runtime"}, pgx.CopyFromRows(rows))
	if err != nil {
		return fmt.Errorf("inserting workspaces: %w", err)
	}
	_, err = p.CopyFrom(ctx, pgx.Identifier{"workspace_secrets"}, []string{"workspace_id", "key", "encrypted_value"}, pgx.CopyFromRows(keys))
	if err != nil {
		return fmt.Errorf("inserting secrets: %w", err)
	}
	_, err = p.Exec(ctx, "analyze")
	return err
}
