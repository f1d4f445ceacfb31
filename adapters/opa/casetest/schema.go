package casetest

import (
	_ "embed"
	"slices"
)

//go:embed case.schema.json
var schema []byte

// Schema is the JSON schema of case files, for editors. Load is stricter: it also decodes reviews.
func Schema() []byte { return slices.Clone(schema) }
