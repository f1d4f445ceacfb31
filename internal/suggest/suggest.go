// Package suggest finds the name that a misspelt one was probably meant to be.
package suggest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest is the known name that is most like the misspelt one, "" if none is like it. The first in alphabetical order
// wins where several are.
func Nearest(misspelt string, known []string) string {
	nearest, least := "", 1+max(1, len(misspelt)/3)
	for _, name := range slices.Sorted(slices.Values(known)) {
		distance := levenshtein.ComputeDistance(folded(misspelt), folded(name))
		if distance < least {
			nearest, least = name, distance
		}
	}
	return nearest
}

// DidYouMean is the end of a message about a misspelt name: "" or `, did you mean "name"?`.
func DidYouMean(misspelt string, known []string) string {
	nearest := Nearest(misspelt, known)
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", nearest)
}

// folded takes names that differ in case, - and _ for the same.
func folded(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}
