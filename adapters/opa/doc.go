// Package opa is the policy engine: it knows which policies are live.
//
// Engine holds the live snapshot behind an atomic pointer. Load checks policies, runs the tests that lie beside them, and
// replaces the snapshot. If the policies are refused, the live ones stay. A snapshot never changes: a decision that began on one
// ends on it. Package snapshot compiles and evaluates, package sources watches directories and fetches bundles.
package opa
