// Package check finds what would make policies weaker without a word, before they are compiled: files that nothing
// would load, names that are nearly those that are meant, data that is not there. It knows names and trees; it
// compiles and evaluates nothing.
package check
