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
	depth := 0
	escapes := bytes.IndexByte(text, '\\') >= 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' && !escapes:
			i = rawjson.EndOfString(text, i)
		case c == '"':
			end, err := scanString(text, i+1)
			if err != nil {
				return err
			}
			i = end
		case c == '{' || c == '[':
			depth++
			if depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels at byte %d", maxDepth, i)
			}
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case c == '-' || (c >= '0' && c <= '9'):
			end, err := scanNumber(text, i)
			if err != nil {
				return err
			}
			i = end
		default:
			i++
		}
	}
	return nil
}

// scanString gives the index after the string's closing quote.
func scanString(text []byte, i int) (int, error) {
	for i < len(text) {
		switch text[i] {
		case '"':
			return i + 1, nil
		case '\\':
			if i+5 < len(text) && string(text[i+1:i+6]) == "u0000" {
				return 0, fmt.Errorf("NUL character in a string at byte %d", i)
			}
			i += 2
		default:
			i++
		}
	}
	return len(text), nil
}

// maxNumberLength is far beyond any number with a meaning here, and keeps arithmetic on it cheap.
const maxNumberLength = 64

func scanNumber(text []byte, start int) (int, error) {
	end := start
	zero, exponent := true, false
	for ; end < len(text); end++ {
		c := text[end]
		switch {
		case c >= '1' && c <= '9':
			zero = zero && exponent
		case c == 'e' || c == 'E':
			exponent = true
		case c == '0' || c == '.' || c == '-' || c == '+':
		default:
			return end, checkNumber(text[start:end], start, zero, exponent)
		}
	}
	return end, checkNumber(text[start:end], start, zero, exponent)
}

func checkNumber(literal []byte, at int, zero, exponent bool) error {
	if len(literal) > maxNumberLength {
		return fmt.Errorf("number of more than %d characters at byte %d", maxNumberLength, at)
	}
	if !exponent {
		return nil
	}
	value, err := strconv.ParseFloat(string(literal), 64)
	if err != nil || (value == 0 && (!zero || !exponentInRange(literal))) {
		return fmt.Errorf("number out of range at byte %d", at)
	}
	return nil
}

// exponentInRange says whether 1 with the exponent of literal is a float64. The policy engine panics at
// 0e99999999999999999999, and Postgres refuses 0e-99999.
func exponentInRange(literal []byte) bool {
	at := bytes.IndexAny(literal, "eE")
	value, err := strconv.ParseFloat("1"+string(literal[at:]), 64)
	return err == nil && value != 0
}
