//go:build linux

package rig

import (
	"fmt"
	"os"
	"strings"
)

// ReplaceTable puts text into a page between the comments that say which command writes it.
func ReplaceTable(page, command, text string) error {
	begin, end := fmt.Sprintf("<!-- %s -->\n", command), fmt.Sprintf("<!-- end of %s -->\n", command)
	now, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(now), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no marks %q and %q", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+text+end+after), 0o644) //nolint:gosec // a page is for everybody to read
}
