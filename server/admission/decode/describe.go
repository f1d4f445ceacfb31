package decode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// describe tells a caller what is wrong with a body and where, and never repeats a value of it.
func describe(err error) string {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Sprintf("duplicate member name %s at byte %d", clip(syntax.JSONPointer), syntax.ByteOffset)
		}
		return fmt.Sprintf("invalid JSON at byte %d: %s", syntax.ByteOffset, syntax.Err)
	case errors.As(err, &semantic):
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Sprintf("unknown member %s", clip(semantic.JSONPointer))
		}
		return fmt.Sprintf("wrong type of value at %q", clip(semantic.JSONPointer))
	default:
		return "unreadable JSON"
	}
}

// clip bounds how much of a caller's own names is repeated.
func clip(pointer jsontext.Pointer) string {
	const most = 128
	text := string(pointer)
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
