// Package sources brings policies to the engine: from a directory, or as an OPA bundle from a file, an HTTP
// server or an OCI registry.
//
// Open gives an Origin, which is asked what it has now; a Follower asks it again and again, and loads into the
// engine what has changed. Bundles are OPA's: their format, their signatures and their reader. What is added
// is what OPA leaves out: a bound on the whole archive before it is unpacked, an order of signed bundles, and
// keys that are told apart by what they are and not by what a bundle calls them.
package sources
