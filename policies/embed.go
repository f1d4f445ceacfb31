// Package policies holds the Rego rules that a Gatehouse without any
// configuration decides by, with their data and the schema of their input, so
// that one binary is enough to start. It only carries the files: loading,
// checking and evaluating them is the policy engine's work.
package policies

import "embed"

// FS holds data.yaml, input.schema.json and one folder of Rego per package.
//
//go:embed data.yaml input.schema.json lib register heartbeat
var FS embed.FS

//go:embed input.schema.json
var inputSchema string

// InputSchema is the schema of the input.
func InputSchema() string { return inputSchema }
