package history

import "github.com/molecule-ai/gatehouse/server/admission"

// PageSQL is the statement of a page.
func PageSQL(q admission.DecisionQuery) (string, []any) { return pageSQL(q) }

// PruningStatements are those that delete what is old.
func PruningStatements() []string { return []string{pruneUIDsSQL, pruneDecisionsSQL, pruneFindingsSQL} }
