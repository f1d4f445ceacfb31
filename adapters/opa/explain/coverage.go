package explain

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Files is the coverage of policies, each file by its lines.
func Files(coverage *cover.Cover, policies map[string]*ast.Module) []admission.FileCoverage {
	var all []admission.FileCoverage
	files := coverage.Report(policies).Files
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, isPolicy := policies[name]; !isPolicy {
			continue
		}
		file := files[name]
		all = append(all, admission.FileCoverage{
			File: name, Percent: Percent(file.CoveredLines, file.NotCoveredLines), Missed: rowsOf(file.NotCovered),
		})
	}
	return all
}

// Percent is the share of what is covered.
func Percent(covered, missed int) float64 {
	if covered+missed == 0 {
		return 0
	}
	return 100 * float64(covered) / float64(covered+missed)
}

// rowsOf gives the rows in ranges, each once: ranges of nested expressions overlap.
func rowsOf(ranges []cover.Range) []int {
	rows := make(map[int]bool)
	for _, lines := range ranges {
		for row := lines.Start.Row; row <= lines.End.Row; row++ {
			rows[row] = true
		}
	}
	return slices.Sorted(maps.Keys(rows))
}
