package cli

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ByCount are the codes, the most frequent first.
func ByCount(counts map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}

func YesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// Printable keeps what a caller sent from moving the cursor of whoever looks at it.
func Printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func OrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
