// Package check finds what would make policies weaker without a word: files that nothing would load, names that are
// nearly those that are meant, data that is not there. It reads files, names and references; it compiles and evaluates
// nothing.
package check
