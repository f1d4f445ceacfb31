// Package rawjson looks into JSON that has been read strictly before, several times as fast as reading it once more. It checks
// nothing: of invalid JSON it gives anything, but it never reads beyond the end.
package rawjson

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// EachMember goes through the members of a valid object, and is several times as fast as reading it once more.
func EachMember(object jsontext.Value, do func(quoted, value jsontext.Value)) {
	at := bytes.IndexByte(object, '{') + 1
	for {
		quote := bytes.IndexByte(object[at:], '"')
		if quote < 0 {
			return
		}
		start := at + quote
		end := EndOfString(object, start)
		value := end + bytes.IndexByte(object[end:], ':') + 1
		for value < len(object) && isSpace(object[value]) {
			value++
		}
		at = EndOfValue(object, value)
		do(object[start:end], object[value:at])
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// EndOfString gives the index after the closing quote of the string that begins at start, or that of the end.
func EndOfString(text []byte, start int) int {
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

// EndOfValue gives the index after the value that begins at start.
func EndOfValue(text []byte, start int) int {
	depth := 0
	for i := start; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			i = EndOfString(text, i)
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

// Text gives the text of a JSON string that has been read before, "" for any other value.
func Text(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return ""
	}
	return string(text)
}
