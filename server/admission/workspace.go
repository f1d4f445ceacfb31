package admission

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
