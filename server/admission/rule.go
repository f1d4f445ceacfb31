package admission

// Rule is an entry of the policies' catalogue: what a rule's own annotations say of it.
type Rule struct {
	Name        string   `json:"rule"`
	Package     string   `json:"package"`
	File        string   `json:"file"`
	Row         int      `json:"row"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Code        string   `json:"code"`
	Severity    Severity `json:"severity"`
	Status      int      `json:"status"`
	MarkFailed  bool     `json:"mark_failed"`
	Answer      string   `json:"answer,omitempty"`
}
