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

// Weakness is one way in which policies hold less than others.
type Weakness struct {
	Code string `json:"code"` // "" where it is of no one code
	How  string `json:"how"`
}

func (w Weakness) String() string {
	if w.Code == "" {
		return w.How
	}
	return w.Code + ": " + w.How
}

// Explanation is a verdict and how it came about. It holds values of the input, and is for authors.
type Explanation struct {
	Verdict  Verdict           `json:"-"`
	Rules    []RuleExplanation `json:"rules"`    // of the hook, in order of file and row
	Coverage []FileCoverage    `json:"coverage"` // of the files that the evaluation came to
}

// RuleExplanation is what one rule of the catalogue did. Why is empty when it fired.
type RuleExplanation struct {
	Rule  Rule     `json:"rule"`
	Fired bool     `json:"fired"`
	Why   []Reason `json:"why,omitempty"`
}

// Reason is a place where a rule stopped: the first expression that did not hold, in the attempt that came
// furthest. Because are the places where the rules that the expression refers to stopped in turn.
type Reason struct {
	File       string   `json:"file"`
	Row        int      `json:"row"`
	Expression string   `json:"expression"`
	Outcome    string   `json:"outcome"`          // "was false", "was undefined", "found nothing"
	Values     []string `json:"values,omitempty"` // "tier is 2"
	Because    []Reason `json:"because,omitempty"`
}

// FileCoverage is how much of one file of the policies evaluations reached.
type FileCoverage struct {
	File    string  `json:"file"`
	Percent float64 `json:"percent"`
	Missed  []int   `json:"missed,omitempty"` // rows
}
