package main

import (
	"github.com/molecule-ai/gatehouse/adapters/opa"
)

type schemaCommand struct {
	Of string `arg:"" enum:"input,case" help:"input: what policies see; case: the files of cases that gatehouse test runs."`
}

// Run prints a JSON schema, for editors and for other tools of authors.
func (c *schemaCommand) Run(to streams) error {
	text := opa.CaseSchema()
	if c.Of == "input" {
		var err error
		text, err = inputSchema()
		if err != nil {
			return err
		}
	}
	_, err := to.out.Write(text)
	return err
}
