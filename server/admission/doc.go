// Package admission decides whether a workspace may register or come online.
//
// It holds the words of the field (review, facts, verdict, violation, decision, event), the strict
// decoding of a review, and the Gate, which takes a review through facts, policy and ledger in that
// order. It does no I/O of its own and knows no database, policy engine or transport: those are the
// ports Facts, Policy and Ledger, which adapters implement and which the program wires.
package admission
