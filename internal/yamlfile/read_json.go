package yamlfile

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// readJSON reads JSON text. jsontext checks it and refuses a name that is there twice; encoding/json keeps numbers as
// they are written.
func readJSON(name string, text []byte) (*Document, error) {
	refuse := func(offset int, problem error) (*Document, error) {
		at := positionOf(text, offset)
		return nil, &Error{name, at.line, at.column, problem}
	}
	checked := jsontext.NewDecoder(bytes.NewReader(text))
	_, err := checked.ReadValue()
	if err != nil {
		return refuse(jsonProblem(text, err))
	}
	end := int(checked.InputOffset())
	if len(bytes.TrimSpace(text[end:])) > 0 {
		return refuse(end, errors.New("there is something after the JSON value"))
	}
	var value any
	decoder := stdjson.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	if err != nil {
		return refuse(0, errors.New("this is no JSON"))
	}
	return &Document{name, value, func(where jsontext.Pointer) position { return locateJSON(text, where) }}, nil
}

// jsonProblem says where the text is no JSON, and why. The library's own message shows what it found there.
func jsonProblem(text []byte, err error) (int, error) {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &syntax):
		return len(text), errors.New("the JSON ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return int(syntax.ByteOffset), duplicateKey(syntax.JSONPointer.LastToken())
	default:
		return int(syntax.ByteOffset), errors.New("this is no JSON")
	}
}

// locateJSON reads the text once more, up to the place: the name of a member, or an element.
func locateJSON(text []byte, where jsontext.Pointer) position {
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		start := int(decoder.InputOffset())
		_, err := decoder.ReadToken()
		if err != nil {
			return position{1, 1}
		}
		if decoder.StackPointer() == where {
			rest := text[start:]
			return positionOf(text, start+len(rest)-len(bytes.TrimLeft(rest, " \t\r\n,:")))
		}
	}
}
