package decode

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/google/uuid"
)

var errWorkspaceID = errors.New("workspace.id is not a UUID")

// ParseWorkspaceID reads a UUID in every spelling that Postgres takes for the same row: upper case, braces,
// hyphens left out or after any group of four digits. The registry's Redis keys know only the canonical
// lower-case hyphenated form, so nothing past this point sees another.
func ParseWorkspaceID(text string) (uuid.UUID, error) {
	if inner, braced := strings.CutPrefix(text, "{"); braced {
		closed := strings.HasSuffix(inner, "}")
		if !closed {
			return uuid.Nil, errWorkspaceID
		}
		text = strings.TrimSuffix(inner, "}")
	}

	digits := make([]byte, 0, 32)
	for i := range len(text) {
		switch {
		case text[i] != '-':
			digits = append(digits, text[i])
		case len(digits) == 0 || len(digits)%4 != 0 || text[i-1] == '-' || i == len(text)-1:
			return uuid.Nil, errWorkspaceID
		}
		if len(digits) > 32 {
			return uuid.Nil, errWorkspaceID
		}
	}

	var id uuid.UUID
	n, err := hex.Decode(id[:], digits)
	if err != nil || n != len(id) {
		return uuid.Nil, errWorkspaceID
	}
	return id, nil
}
