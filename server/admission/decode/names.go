package decode

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// The registry binds names as encoding/json does: it minds no case, not that of U+212A (KELVIN SIGN, a k) and U+017F
// (LONG S, an s) either, and of two names that are the same to it the last one counts. Policies mind every letter. So a
// workspace is refused in which the two could read different members.

// boundName says whether the registry or a shipped policy reads a member of a workspace by this name.
func boundName(name string) bool {
	switch name {
	case "id", "workspace_id", "url", "agent_card", "kind", "delivery_mode", "mcp_server_present",
		"from_status", "to_status", "status", "name", "role", "model", "runtime", "tier", "parent_id",
		"workspace_access", "workspace_dir", "budget_limit", "monthly_spend", "last_sample_error":
		return true
	}
	return false
}

// checkNames refuses an object with a name that is a bound one but for its case, and one with two names that are the
// same but for it.
func checkNames(workspace jsontext.Value) (err error) {
	spelt := make(map[string]string) // how a name was spelt, by its fold
	rawjson.EachMember(workspace, func(quoted, _ jsontext.Value) {
		name := string(nameIn(quoted))
		folded := foldName(name)
		other, twice := spelt[folded]
		if boundName(folded) {
			other, twice = folded, folded != name
		}
		if twice && err == nil {
			err = fmt.Errorf("workspace has the member %s, which could be read as %s: names are exact", clipName(name), clipName(other))
		}
		spelt[folded] = name
	})
	return err
}

// foldName gives the same text for names that encoding/json takes for the same, and leaves a name of small ASCII
// letters as it is.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return unicode.ToLower(r)
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		if least < utf8.RuneSelf {
			return unicode.ToLower(least)
		}
		return least
	}, name)
}

// isFolded says whether name is surely its own fold.
func isFolded(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf || (c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return true
}

// clipName shows a name with its letters beyond ASCII spelt out, since those are what one overlooks.
func clipName(name string) string { return fmt.Sprintf("%+q", clip(jsontext.Pointer(name))) }
