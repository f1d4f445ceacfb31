package opa

import (
	_ "embed"
	"slices"
)

//go:embed case.schema.json
var caseSchema []byte

// CaseSchema is the JSON schema of case files, for editors. LoadCases is stricter: it also decodes reviews.
func CaseSchema() []byte { return slices.Clone(caseSchema) }
