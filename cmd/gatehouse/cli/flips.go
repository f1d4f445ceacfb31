package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/molecule-ai/gatehouse/server/shadow"
)

// WriteFlips prints flips and their examples. before says whose verdicts the first ones are.
func WriteFlips(w io.Writer, flips []shadow.Flip, before string) error {
	_, _ = fmt.Fprintln(w)
	table := NewTable(w, "KIND", "CODE", "RULE", "COUNT", "LAST")
	for _, flip := range flips {
		table.Row(flip.Kind, OrDash(flip.Code), OrDash(flip.Rule), flip.Count, flip.Last.Format(time.RFC3339))
	}
	err := table.Flush()
	for _, flip := range flips {
		if len(flip.Examples) > 0 {
			_, err = fmt.Fprintf(w, "\n%s %s\n", flip.Kind, flip.Code)
		}
		for _, example := range flip.Examples {
			_, err = fmt.Fprintf(w, "  decision %s of workspace %s, %s\n    %-10s %s\n    candidate: %s\n", example.DecisionID,
				example.WorkspaceID, example.Hook, before+":", verdictLine(example.Live, ""), verdictLine(example.Candidate, example.Error))
		}
	}
	return err
}

// verdictLine is a verdict in one line: what is answered, and every violation with what is done about it.
func verdictLine(verdict shadow.Verdict, failure string) string {
	if failure != "" {
		return "error: " + failure
	}
	line := "deny"
	if verdict.Allowed {
		line = "allow"
	}
	for _, v := range verdict.Violations {
		line += fmt.Sprintf("  %s %s/%s", v.Enforcement, v.Code, v.Reason)
		if v.Declared != "" {
			line += fmt.Sprintf(" (the rule says %s)", v.Declared)
		}
	}
	return line
}
