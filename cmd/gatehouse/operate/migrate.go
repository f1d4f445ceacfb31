// Package operate has the commands of those who run Gatehouse. They work on the database itself, beside servers and
// without.
package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

type Migrate struct {
	flags.Database
}

// Run brings the tables up to date, so that serve may run as a role that cannot change them.
func (c *Migrate) Run(ctx context.Context, to cli.Streams) error {
	err := c.CheckURL()
	if err != nil {
		return err
	}
	if path, isSQLite := c.SQLitePath(); isSQLite {
		err = migrateSQLite(ctx, path)
	} else {
		err = migratePostgres(ctx, c.DatabaseURL)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(to.Out, "the tables are up to date")
	return err
}

func migrateSQLite(ctx context.Context, path string) error {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	return errors.Join(migration.All(ctx, store, queue.SQLite(store.Writer())), store.Close())
}

func migratePostgres(ctx context.Context, url string) error {
	store, err := postgres.Open(ctx, postgres.Options{URL: url})
	if err != nil {
		return err
	}
	defer store.Close()
	return migration.All(ctx, store, queue.Postgres(store.Pool()))
}
