// Package operate has the commands of operators. They work on the database itself, whether servers run or not.
package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

// Migrate makes the tables of the database what this version needs.
type Migrate struct {
	flags.Database
}

// Run brings the tables up to date, so that serve may run as a role that cannot change them.
func (c *Migrate) Run(ctx context.Context, to cli.Streams) error {
	store, err := c.Open(ctx, flags.StoreOptions{Write: true})
	if err != nil {
		return err
	}
	err = errors.Join(store.MigrateAll(ctx), store.Close())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(to.Out, "the tables are up to date")
	return err
}
