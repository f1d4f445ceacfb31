// Package audit holds every stored workspace to the policies, as if it registered now with what is stored of it.
//
// A run uses one snapshot of the policies from beginning to end and saves after every page of workspaces where it
// is, so that another process can go on where this one was killed. Workspaces come, change and go meanwhile: a run
// sees each at one moment, and those that come behind its place not at all. It finds; where it has a Gate, it also
// denies through it, as a live review would.
//
// It knows no database and no policy engine: those are its ports.
package audit
