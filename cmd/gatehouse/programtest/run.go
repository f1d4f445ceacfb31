// Package programtest runs commands and servers in the process of a test.
package programtest

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
)

// Said is what a command came to, run in this process.
type Said struct {
	Code     int
	Out, Err string
}

func Command(t *testing.T, stdin string, args ...string) Said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmdtest.Patience)
	defer cancel()
	var out, err bytes.Buffer
	code := program.Run(ctx, "devel", args, cli.Streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
	return Said{code, out.String(), err.String()}
}
