package author

import (
	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

type Schema struct {
	Of string `arg:"" enum:"input,case" help:"input: what policies see; case: the files of cases that gatehouse test runs."`
}

// Run prints a JSON schema, for editors and for other tools of authors.
func (c *Schema) Run(to cli.Streams) error {
	text := casetest.Schema()
	if c.Of == "input" {
		text = flags.InputSchema()
	}
	_, err := to.Out.Write(text)
	return err
}
