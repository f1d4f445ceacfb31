package flags

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// CUT
// auditStore is what audits need of a store.
type AuditStore interface {
	audit.Workspaces
	audit.Runs
	audit.Lock
	httpapi.AuditReader
	CountWorkspaces(ctx context.Context) (int64, error)
	FactsRevision() string
	LiveRevision(ctx context.Context) (string, error)
}

// DecisionStore is what commands and the server need of a store to show, stream and upload decisions.
type DecisionStore interface {
	httpapi.DecisionReader
	stream.DecisionStore
	decisionlog.Positions
}
