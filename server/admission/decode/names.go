package decode

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// The registry binds names as encoding/json does. It ignores case, also that of U+212A (KELVIN SIGN, a k) and U+017F
// (LONG S, an s), and takes the last of two names that are equal for it. Policies compare names exactly. A workspace in
// which the two could read different members is refused.

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

// checkNames refuses an object with a bound name in another case, and one with two names that differ only in case.
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

// foldName gives the same text for all names that encoding/json holds to be equal. A name of lower-case ASCII letters is
// its own fold.
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

// isFolded says whether name is its own fold. It is false for some names beyond ASCII that are.
func isFolded(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf || (c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return true
}

// clipName shows a name with its letters beyond ASCII escaped, because some look like ASCII letters.
func clipName(name string) string { return fmt.Sprintf("%+q", clip(jsontext.Pointer(name))) }
