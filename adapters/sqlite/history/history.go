// Package history keeps what is read back: decisions, events, audits, what a candidate would have decided, activations of
// policies. No review waits for any of it. Package sqlite writes decisions and events.
package history

import "github.com/molecule-ai/gatehouse/adapters/sqlite/connection"

// History is all of it in one file.
type History struct {
	DecisionReader
	EventReader
	AuditStore
	ShadowStore
	ActivationStore
	ShippedStore
	Retention
}

// New makes a History in a file.
func New(file *connection.File) History {
	return History{
		DecisionReader{file}, EventReader{file}, AuditStore{file}, ShadowStore{file}, ActivationStore{file}, ShippedStore{file},
		Retention{file},
	}
}
