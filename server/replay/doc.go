// Package replay shows candidate policies what was recorded, and tells where they would have decided otherwise.
//
// It reads decisions newest first and evaluates the input that each was made from, as of the time at which it was
// made. Records whose input lacks something that the candidate reads are counted and not compared: a comparison that
// might be wrong is worth less than none. It writes nothing, and memory does not grow with what is read.
package replay
