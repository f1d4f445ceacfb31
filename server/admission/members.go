package admission

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// named are the members of a workspace that a review knows by name: their texts, "" of one that is no string or is not
// there.
type named struct{ id, url, kind string }

// namedOf looks into a workspace that has been read strictly: it is a valid object and has no name twice. It refuses
// one with a name that a reader who minds no case takes for another.
func namedOf(workspace jsontext.Value) (found named, _ error) {
	folded := true // every name is its own fold
	eachMember(workspace, func(quoted, value jsontext.Value) {
		switch name := nameIn(quoted); string(name) {
		case "id":
			found.id = stringOf(value)
		case "url":
			found.url = stringOf(value)
		case "kind":
			found.kind = stringOf(value)
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
	return []byte(stringOf(quoted))
}

// eachMember goes through the members of a valid object, and is several times as fast as reading it once more.
func eachMember(object jsontext.Value, do func(quoted, value jsontext.Value)) {
	at := bytes.IndexByte(object, '{') + 1
	for {
		quote := bytes.IndexByte(object[at:], '"')
		if quote < 0 {
			return
		}
		start := at + quote
		end := endOfString(object, start)
		value := end + bytes.IndexByte(object[end:], ':') + 1
		for value < len(object) && isSpace(object[value]) {
			value++
		}
		at = endOfValue(object, value)
		do(object[start:end], object[value:at])
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// endOfString gives the index after the closing quote of the string that begins at start, or that of the end.
func endOfString(text []byte, start int) int {
	for at := start + 1; ; {
		quote := bytes.IndexByte(text[at:], '"')
		if quote < 0 {
			return len(text)
		}
		before := text[at : at+quote]
		at += quote + 1
		if escapes := len(before) - len(bytes.TrimRight(before, `\`)); escapes%2 == 0 {
			return at
		}
	}
}

// endOfValue gives the index after the value that begins at start.
func endOfValue(text []byte, start int) int {
	depth := 0
	for i := start; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			i = endOfString(text, i)
			if depth == 0 {
				return i
			}
			continue
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == '}' || c == ']' || isSpace(c)):
			return i
		case c == '}' || c == ']':
			depth--
			if depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(text)
}
