package main

import (
	"io/fs"

	"gatehouse/adapters/opa"
	"gatehouse/policies"
)

// embeddedName is how the policies of the binary are called in answers, metrics and messages.
const embeddedName = "embedded"

// policyFlags say which policies a command works on.
type policyFlags struct {
	Policies string `help:"Directory of policies; the embedded ones if empty." placeholder:"DIR"`
}

func (f policyFlags) source() opa.Source {
	if f.Policies == "" {
		return opa.Source{Name: embeddedName, FS: policies.FS}
	}
	return opa.Directory(f.Policies)
}

// inputSchema describes what policies see. It is the program's and not an author's: other policies see the
// same input.
func inputSchema() ([]byte, error) {
	return fs.ReadFile(policies.FS, "input.schema.json")
}
