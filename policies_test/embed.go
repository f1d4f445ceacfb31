// Package policiestest carries the tests of the embedded policies: Rego unit tests, and case files that read
// as their specification. `gatehouse test` runs them from the binary, and so does go test.
package policiestest

import "embed"

// FS holds the _test.rego files and the folder cases.
//
//go:embed *.rego cases
var FS embed.FS
