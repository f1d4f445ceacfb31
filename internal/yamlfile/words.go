package yamlfile

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The words without quotes that some reader of YAML takes for something else than a text.
var (
	switchWord  = regexp.MustCompile(`^(y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$`)
	number      = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	hexadecimal = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	notFinite   = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	// otherNumber: with a leading 0 or underscores, binary, octal, hexadecimal with a sign, base 60.
	otherNumber = regexp.MustCompile(`^[-+]?(` +
		`[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9_]+)?|\._[0-9_]*|` +
		`0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`)
)

var errNumberLost = errors.New("YAML readers cannot hold this number exactly: quote it, or write the file as JSON")

// numberOf gives a decimal number as OPA writes it, and refuses one that would lose digits on the way: readers of YAML
// keep numbers as 64-bit integers and floats.
func numberOf(word string) (any, error) {
	integer, err := strconv.ParseInt(word, 10, 64)
	if err == nil {
		return stdjson.Number(strconv.FormatInt(integer, 10)), nil
	}
	natural, err := strconv.ParseUint(strings.TrimPrefix(word, "+"), 10, 64)
	if err == nil {
		return stdjson.Number(strconv.FormatUint(natural, 10)), nil
	}
	float, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return nil, errNumberLost
	}
	if digits(word) != digits(strconv.FormatFloat(float, 'e', -1, 64)) {
		return nil, errNumberLost
	}
	text, err := stdjson.Marshal(float)
	if err != nil {
		return nil, errNumberLost
	}
	return stdjson.Number(text), nil
}

// digits are the significant digits of a decimal number.
func digits(number string) string {
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	return strings.Trim(strings.ReplaceAll(strings.TrimLeft(mantissa, "+-"), ".", ""), "0")
}

// maxNameShown keeps a text that was taken for a key out of messages, and a message short.
const maxNameShown = 60

// shown is how a message names a key.
func shown(key string) string {
	if len(key) > maxNameShown {
		return "a long name"
	}
	return strconv.Quote(key)
}

func duplicateKey(key string) error { return fmt.Errorf("%s is there twice", shown(key)) }
