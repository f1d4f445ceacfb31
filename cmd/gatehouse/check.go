package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"gatehouse/adapters/opa"
)

type checkCommand struct {
	policyFlags
}

// Run compiles and type-checks the policies as serve would, and prints every error.
func (c *checkCommand) Run(ctx context.Context, to streams) error {
	schema, err := inputSchema()
	if err != nil {
		return err
	}
	source := c.source()
	snapshot, err := opa.NewSnapshot(ctx, source, schema)
	if err != nil {
		printPolicyErrors(to.err, err)
		return errSaid
	}
	_, err = fmt.Fprintf(to.out, "%s: %d rules for %s, revision %s\n",
		source.Name, len(snapshot.Rules()), strings.Join(snapshot.Hooks(), ", "), snapshot.Revision())
	return err
}

// printPolicyErrors prints the compiler's errors one to a line, and any other error as it is.
func printPolicyErrors(w io.Writer, err error) {
	var many ast.Errors
	if !errors.As(err, &many) {
		_, _ = fmt.Fprintln(w, err)
		return
	}
	for _, one := range many {
		_, _ = fmt.Fprintln(w, one)
	}
}
