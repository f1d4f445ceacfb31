package decode

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// scan refuses what a JSON parser accepts and what cannot be kept or compared later: nesting beyond
// maxDepth, NUL characters (jsonb refuses \u0000) and numbers outside float64 (their exponent alone
// can make a policy engine or a database allocate without bound). Syntax, duplicate names, lone
// surrogates and invalid UTF-8 are the parser's, which runs after it.
func scan(text []byte, maxDepth int) error {
	if at := indexNUL(text); at >= 0 {
		return fmt.Errorf("NUL character in a string at byte %d", at)
	}
	depth := 0
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '"':
			end = rawjson.EndOfString(text, i)
		case c == '{' || c == '[':
			depth++
			if depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels at byte %d", maxDepth, i)
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || (c >= '0' && c <= '9'):
			end = len(text) - len(bytes.TrimLeft(text[i:], "0123456789.eE+-"))
			err := checkNumber(text[i:end], i)
			if err != nil {
				return err
			}
		}
		i = end
	}
	return nil
}

// indexNUL gives the index of the first escaped NUL character, -1 if there is none. After an odd number of other
// backslashes, \u0000 is an escaped backslash and the text u0000.
func indexNUL(text []byte) int {
	const escaped = `\u0000`
	for from := 0; ; {
		found := bytes.Index(text[from:], []byte(escaped))
		if found < 0 {
			return -1
		}
		before := text[:from+found]
		if backslashes := len(before) - len(bytes.TrimRight(before, `\`)); backslashes%2 == 0 {
			return from + found
		}
		from += found + len(escaped)
	}
}

// maxNumberLength is far beyond any number with a meaning here, and keeps arithmetic on it cheap.
const maxNumberLength = 64

func checkNumber(literal []byte, at int) error {
	switch {
	case len(literal) > maxNumberLength:
		return fmt.Errorf("number of more than %d characters at byte %d", maxNumberLength, at)
	case !inRange(literal):
		return fmt.Errorf("number out of range at byte %d", at)
	}
	return nil
}

// inRange says whether a float64 holds the number, and neither overflows nor becomes zero. The exponent of a zero must
// be that of a float64 too: the policy engine panics at 0e99999999999999999999, and Postgres refuses 0e-99999.
func inRange(literal []byte) bool {
	exponent := bytes.IndexAny(literal, "eE")
	if exponent < 0 {
		return true
	}
	number := string(literal)
	if isZero := len(bytes.Trim(literal[:exponent], "-0.")) == 0; isZero {
		number = "1" + number[exponent:]
	}
	value, err := strconv.ParseFloat(number, 64)
	return err == nil && value != 0
}
