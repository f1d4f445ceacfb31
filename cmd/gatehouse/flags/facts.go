package flags

import (
	"fmt"
	"os"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// AuditSetting is what verdicts depend on in a process with these flags.
func (f Facts) AuditSetting(store AuditStore) audit.Setting {
	return audit.Setting{Deployment: admission.Deployment{SaaS: f.SaaS}, FactsRevision: store.FactsRevision()}
}

// Facts say what is known of workspaces.
type Facts struct {
	FactsQueryFile string `help:"File with the SQL query that gives the facts of a workspace, instead of the built-in one." placeholder:"FILE" type:"existingfile"`
	SaaS           bool   `name:"saas" help:"Workspaces live in private networks: policies may allow private addresses."`
}

// FactsQuery is the query of the file, "" for the built-in one.
func (f Facts) FactsQuery() (string, error) {
	if f.FactsQueryFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(f.FactsQueryFile)
	if err != nil {
		return "", fmt.Errorf("--facts-query-file: %w", err)
	}
	return string(text), nil
}
