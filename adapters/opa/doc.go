// Package opa is the policy engine: it loads Rego and data, checks them as a whole, and evaluates reviews on
// one immutable snapshot of them.
//
// Engine holds the live snapshot behind an atomic pointer; Load replaces it or, when the new policies are
// refused, leaves it. A Snapshot never changes: a decision that began on one ends on it. The package also
// runs what authors write beside their rules, Rego tests and case files. Package sources watches directories and
// fetches bundles.
package opa
