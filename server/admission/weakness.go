package admission

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
