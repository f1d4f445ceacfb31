// Package resources serves what is read and changed beside admission: decisions, audits, announcements, replays, policies
// and workspaces. Each is a type with the ports that it needs; its methods are handlers, and package httpapi says at which
// route and for whom. The JSON that the command line shows too is exported.
package resources
