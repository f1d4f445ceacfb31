package decode

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// named holds the members of a workspace that a review knows by name. A member that is missing or is no string is "".
type named struct{ id, url, kind string }

// namedOf reads a workspace that Strict has read before: it is a valid object and has no name twice. It refuses two names
// that differ only in case, and a bound name in another case.
func namedOf(workspace jsontext.Value) (found named, _ error) {
	allFolded := true
	rawjson.EachMember(workspace, func(quoted, value jsontext.Value) {
		switch name := nameIn(quoted); string(name) {
		case "id":
			found.id = rawjson.Text(value)
		case "url":
			found.url = rawjson.Text(value)
		case "kind":
			found.kind = rawjson.Text(value)
		default:
			allFolded = allFolded && isFolded(name)
		}
	})
	if allFolded { // as nearly always: then names that differ here differ for the registry too
		return found, nil
	}
	return found, checkNames(workspace)
}

// nameIn unquotes a name.
func nameIn(quoted jsontext.Value) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(rawjson.Text(quoted))
}
