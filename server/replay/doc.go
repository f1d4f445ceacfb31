// Package replay evaluates candidate policies on recorded decisions, and reports where they decide otherwise.
//
// It reads decisions newest first and evaluates the input that each was made from, as of the time at which it was
// made. Records whose input lacks something that the candidate reads are counted and not compared, because the comparison
// could be wrong. It writes nothing, and its memory does not grow with what it reads.
package replay
