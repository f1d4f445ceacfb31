package decode

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// named are the members of a workspace that a review knows by name: their texts, "" of one that is no string or is not
// there.
type named struct{ id, url, kind string }

// namedOf looks into a workspace that has been read strictly: it is a valid object and has no name twice. It refuses
// one with a name that a reader who minds no case takes for another.
func namedOf(workspace jsontext.Value) (found named, _ error) {
	folded := true // every name is its own fold
	rawjson.EachMember(workspace, func(quoted, value jsontext.Value) {
		switch name := nameIn(quoted); string(name) {
		case "id":
			found.id = rawjson.Text(value)
		case "url":
			found.url = rawjson.Text(value)
		case "kind":
			found.kind = rawjson.Text(value)
		default:
			folded = folded && isFolded(name)
		}
	})
	if folded { // as nearly always; distinct names that are their own fold are distinct for everybody
		return found, nil
	}
	return found, checkNames(workspace)
}

// nameIn is what a JSON string says, however it is spelt.
func nameIn(quoted jsontext.Value) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(rawjson.Text(quoted))
}
