// Package rig is what the programs that measure whole servers share: servers and a durable Postgres as processes of
// their own, the processor time that they use, the load on them with a check that it did what it should, the
// workspaces that are asked about, and the page that takes the table. It is for one machine, and for Linux.
package rig
