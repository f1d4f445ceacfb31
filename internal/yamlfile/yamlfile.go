// Package yamlfile reads the files that people write: policy data, case files, configuration, tokens, sinks. It takes
// only what every reader of YAML understands in the same way, so that a file means to Gatehouse what it means to OPA, to
// other tools and to its author. It refuses the rest with file, line and column:
//
//   - a second document, and a key that is there twice: readers differ in what they drop;
//   - words that YAML 1.1 and 1.2 read differently, unless they are quoted: yes, no, on, off, y, n, 0123, 0o17, 1_000,
//     1:30, .inf, .nan;
//   - numbers that OPA would round, because it reads YAML numbers as 64-bit integers and floats;
//   - keys that are no text, tags (!!binary), and merge keys (<<): YAML 1.2 has none, and a key could come from two
//     places. Anchors and aliases are taken; how much they may multiply is bounded.
//
// An error never repeats a value, because values can be secrets. It names keys.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrEmpty is the error of a file that holds nothing but blanks and comments.
var ErrEmpty = errors.New("the file is empty")

// Error is what is wrong with a file, and where. Line and Column begin at 1; a column counts characters.
type Error struct {
	Name    string
	Line    int
	Column  int
	Problem error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", e.Name, e.Line, e.Column, e.Problem)
}

func (e *Error) Unwrap() error { return e.Problem }

// position is a place in a file.
type position struct{ line, column int }

// Document is a file that was read.
type Document struct {
	name   string
	value  any
	locate func(where jsontext.Pointer) position // of a member's name, or an element
}

// Read reads a file of one document. A name that ends in .json says that it is JSON, and anything else YAML. The name
// need not be that of a file: it is what errors begin with.
func Read(name string, text []byte) (*Document, error) {
	err := checkText(name, text)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(path.Ext(name), ".json") {
		return readJSON(name, text)
	}
	return readYAML(name, text)
}

// Value reads a file and gives what encoding/json would give of the same JSON, with numbers as json.Number.
func Value(name string, text []byte) (any, error) {
	document, err := Read(name, text)
	if err != nil {
		return nil, err
	}
	return document.Value(), nil
}

// Decode reads a file into what into points to, by its json tags. Names that it has no field for are refused.
func Decode(name string, text []byte, into any) error {
	document, err := Read(name, text)
	if err != nil {
		return err
	}
	return document.Decode(into)
}

// Value is what the file holds: nil, bool, string, json.Number, []any and map[string]any.
func (d *Document) Value() any { return d.value }

// Errorf is an error at the member or element that the pointer leads to.
func (d *Document) Errorf(where jsontext.Pointer, format string, args ...any) error {
	at := d.locate(where)
	return &Error{d.name, at.line, at.column, fmt.Errorf(format, args...)}
}

// checkText refuses what is no UTF-8, and the mark that some editors put before it: OPA and most readers of JSON
// stumble over it.
func checkText(name string, text []byte) error {
	start := func(problem string) error { return &Error{name, 1, 1, errors.New(problem)} }
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return start("the file is UTF-16: save it as UTF-8")
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return start("the file begins with a byte order mark: save it as UTF-8 without one")
	case len(bytes.TrimSpace(text)) == 0:
		return &Error{name, 1, 1, ErrEmpty}
	}
	for offset := 0; offset < len(text); {
		char, size := utf8.DecodeRune(text[offset:])
		problem := ""
		switch {
		case char == utf8.RuneError && size == 1:
			problem = "the file is not UTF-8"
		case char < ' ' && !strings.ContainsRune("\t\r\n", char):
			problem = "a control character is in the file"
		}
		if problem != "" {
			at := positionOf(text, offset)
			return &Error{name, at.line, at.column, errors.New(problem)}
		}
		offset += size
	}
	return nil
}

// positionOf counts lines and columns up to an offset.
func positionOf(text []byte, offset int) position {
	before := text[:min(max(offset, 0), len(text))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return position{1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[line:])}
}
