// Package admission decides whether a workspace may register or come online.
//
// It holds the types of the field (review, facts, verdict, violation, decision, event), the Evaluator, by which every
// evaluation is made, and the Gate, which takes a review through facts, policy and ledger in that order. It does no I/O of
// its own and knows no database, policy engine or transport: adapters implement its ports, and the program wires them.
package admission
