package admission

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// Facts is what is known of a workspace, read in one snapshot. Values of secrets are not part of it.
type Facts struct {
	Exists           bool           `json:"exists"`
	Workspace        jsontext.Value `json:"workspace"` // the row as an object; {} when there is none
	SecretKeys       []string       `json:"secret_keys"`
	GlobalSecretKeys []string       `json:"global_secret_keys"`

	kind string // of Workspace, where NewFacts has looked
}

// ErrBadFacts says that what a store read of a workspace cannot be used as facts.
var ErrBadFacts = errors.New("facts")

// NewFacts puts what a store read into one form: keys sorted, never null, so that Equal compares facts and
// not the order in which a query happened to give them. A stored row without a kind is an error and never
// "not platform": a facts query that loses the column would open the gate.
func NewFacts(exists bool, workspace []byte, secretKeys, globalSecretKeys []string) (Facts, error) {
	return Facts{Exists: exists, Workspace: workspace, SecretKeys: secretKeys, GlobalSecretKeys: globalSecretKeys}.Checked("")
}

// Checked is f in the form of NewFacts. kind is that of the workspace if the caller has read it, "" if not.
func (f Facts) Checked(kind string) (Facts, error) {
	if !f.Exists {
		f.Workspace = jsontext.Value("{}")
	}
	f.SecretKeys, f.GlobalSecretKeys = sorted(f.SecretKeys), sorted(f.GlobalSecretKeys)
	if f.Workspace.Kind() != '{' {
		return Facts{}, fmt.Errorf("%w: workspace is not an object", ErrBadFacts)
	}
	f.kind = kind
	f.kind = f.Kind()
	if f.Exists && f.kind == "" {
		return Facts{}, fmt.Errorf("%w: the stored workspace has no kind", ErrBadFacts)
	}
	return f, nil
}

func sorted(keys []string) []string {
	keys = append([]string{}, keys...)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Equal says whether policies would see the same facts.
func (f Facts) Equal(other Facts) bool {
	return f.Exists == other.Exists &&
		bytes.Equal(f.Workspace, other.Workspace) &&
		slices.Equal(f.SecretKeys, other.SecretKeys) &&
		slices.Equal(f.GlobalSecretKeys, other.GlobalSecretKeys)
}

// Kind is the stored kind, "" if there is no row or no such string in it.
func (f Facts) Kind() string {
	if !f.Exists || f.kind != "" {
		return f.kind
	}
	var row struct {
		Kind jsontext.Value `json:"kind"`
	}
	err := json.Unmarshal(f.Workspace, &row)
	if err != nil {
		return ""
	}
	return rawjson.Text(row.Kind)
}

// Workspace is what a registry whose database is not shared tells Gatehouse of one of its workspaces: the
// members of facts.workspace. A nil pointer is a NULL of the registry's own table.
type Workspace struct {
	Name            string  `json:"name"`
	Kind            string  `json:"kind"`
	Status          *string `json:"status"`
	Tier            *int64  `json:"tier"`
	Runtime         *string `json:"runtime"`
	Role            *string `json:"role"`
	URL             *string `json:"url"`
	ParentID        *string `json:"parent_id"`
	WorkspaceAccess *string `json:"workspace_access"`
	WorkspaceDir    *string `json:"workspace_dir"`
	BudgetLimit     *int64  `json:"budget_limit"`
	MonthlySpend    *int64  `json:"monthly_spend"`
	LastSampleError *string `json:"last_sample_error"`
	DeliveryMode    string  `json:"delivery_mode"`
}
