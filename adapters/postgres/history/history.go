// Package history keeps what is read back: decisions, events, audits, what a candidate would have decided, activations of
// policies. No review waits for any of it. Package postgres writes decisions and events.
package history

import "github.com/molecule-ai/gatehouse/adapters/postgres/connection"

// History is all of it in one database.
type History struct {
	DecisionReader
	EventReader
	AuditStore
	ShadowStore
	ActivationStore
	ShippedStore
	Retention
}

// New makes a History that reads and writes by a pool.
func New(pool *connection.Pool) History {
	return History{
		DecisionReader{pool}, EventReader{pool}, AuditStore{pool}, ShadowStore{pool}, ActivationStore{pool}, ShippedStore{pool},
		Retention{pool},
	}
}
