package history

import "github.com/molecule-ai/gatehouse/server/ledger"

// PageSQL is the statement of a page.
func PageSQL(q ledger.Query) (string, []any) { return pageSQL(q) }

// PruningStatements are those that delete what is old.
func PruningStatements() []string { return []string{pruneUIDsSQL, pruneDecisionsSQL, pruneFindingsSQL} }
