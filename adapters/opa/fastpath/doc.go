// Package fastpath decides reviews without OPA's evaluation, in a tenth of its time. It tells the entries of partial
// sets, or it says that it cannot tell. Then OPA must be asked. OPA is the reference: a difference is a fault of this
// package.
//
// It reads the bodies of rules as OPA's compiler has rewritten them. It understands references into the input and the data,
// equality with constants, variables, arrays and objects, not, every, some … in, the builtins in the list quick, helper
// rules (complete, with default, partial sets), functions, and comprehensions of arrays and sets. It leaves to OPA with,
// else, partial objects, references to packages, other builtins, whatever is an error, functions of numbers that are spelt
// oddly (1.0), and work that takes long.
//
// It can be trusted because tests compare its values and errors with OPA's: on every rule of OPA's conformance cases
// (conformance_test.go), on values of every kind in every step (kinds_test.go), on random policies (random_test.go) and by
// a fuzzer (fuzz_test.go). mutation_test.go shows that these tests find faults: it breaks each step, and one of them fails.
// A step that meets a kind of value that it does not name says that it cannot tell.
//
// How a rule is decided: compile.go makes steps of its body, up to the first expression that is not understood, which becomes
// opaque. solver.go and ops.go run the steps, each with the rest of the body for every way in which it holds. documents.go
// does so for rules that others refer to. index.go first asks OPA's rule index which rules may hold. view.go reads only those
// members of an input that policies mention.
package fastpath
