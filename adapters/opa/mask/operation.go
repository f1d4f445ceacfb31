package mask

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/suggest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// maskOp is one change to a recorded input, as masks of OPA's decision logs say it: a value is removed, or is put in
// the place of another. What is not there is not removed, and a place that cannot be made is left alone.
type maskOp struct {
	path  []string       // names and indexes below the input
	value jsontext.Value // nil: remove
}

// readMaskPath reads /input/… with percent-encoded elements. nil is a place that Gatehouse's records do not have.
func readMaskPath(text string) (path []string, inRecord bool, err error) {
	elements := strings.Split(text, "/")
	if len(elements) < 2 || elements[0] != "" {
		return nil, false, fmt.Errorf("mask path %q does not begin with a slash", text)
	}
	switch elements[1] {
	case "input":
	case "nd_builtin_cache":
		return nil, false, nil
	case "result":
		return nil, false, fmt.Errorf("mask path %q: a verdict is the record and is not masked", text)
	default:
		return nil, false, fmt.Errorf("mask path %q does not begin with /input", text)
	}
	path = elements[2:]
	for i, element := range path {
		if element == "*" || strings.TrimSpace(element) != element {
			return nil, false, fmt.Errorf("mask path %q: there are no wildcards, and a blank is written %%20", text)
		}
		path[i], err = url.PathUnescape(element)
		if err != nil {
			return nil, false, fmt.Errorf("mask path %q: %w", text, err)
		}
	}
	members := eventMembers["input.input"]
	if len(path) > 0 && !slices.Contains(members, path[0]) { // it would never mask anything
		return nil, false, fmt.Errorf("mask path %q: the input has no %s%s", text, path[0], suggest.DidYouMean(path[0], members))
	}
	return path, true, nil
}

// readMask reads data.mask, a list of paths that are erased.
func readMask(data map[string]any) ([]maskOp, error) {
	value, found := data["mask"]
	if !found || value == nil {
		return nil, nil
	}
	paths, isList := value.([]any)
	if !isList {
		return nil, errors.New("data.mask is no list of paths")
	}
	var ops []maskOp
	for _, entry := range paths {
		text, isText := entry.(string)
		if !isText {
			return nil, errors.New("data.mask is no list of paths")
		}
		path, inRecord, err := readMaskPath(text)
		if err != nil {
			return nil, fmt.Errorf("data.mask: %w", err)
		}
		if inRecord {
			ops = append(ops, maskOp{path: path})
		}
	}
	return ops, nil
}

// readMaskOps reads what a mask rule gave: paths that are erased, and objects {op, path, value}.
func readMaskOps(result any) ([]maskOp, error) {
	entries, isList := result.([]any)
	if !isList {
		return nil, errors.New("the mask rule gives no set")
	}
	var ops []maskOp
	for _, entry := range entries {
		op, inRecord, err := readMaskOp(entry)
		if err != nil {
			return nil, err
		}
		if inRecord {
			ops = append(ops, op)
		}
	}
	return ops, nil
}

func readMaskOp(entry any) (op maskOp, inRecord bool, err error) {
	if text, isText := entry.(string); isText {
		entry = map[string]any{"op": "remove", "path": text}
	}
	object, isObject := entry.(map[string]any)
	if !isObject {
		return maskOp{}, false, errors.New("an entry of the mask rule is neither a path nor an object")
	}
	text, _ := object["path"].(string)
	op.path, inRecord, err = readMaskPath(text)
	if err != nil {
		return maskOp{}, false, err
	}
	switch object["op"] {
	case "remove":
	case "upsert":
		op.value, err = json.Marshal(object["value"]) // which writes numbers as the engine has them
	default:
		err = fmt.Errorf("the op of mask path %q is neither remove nor upsert", text)
	}
	return op, inRecord, err
}

// apply changes an input and says so in its redaction.
func (op maskOp) apply(input jsontext.Value, said *admission.Redaction) (jsontext.Value, error) {
	changed, done, err := op.at(input, op.path)
	if err != nil || !done {
		return input, err
	}
	pointer := admission.InputPointer
	for _, element := range op.path {
		pointer += "/" + url.PathEscape(element)
	}
	switch {
	case op.value == nil:
		said.Erased = append(said.Erased, pointer)
	case pointer == admission.CardPointer: // nothing is left of it as it was
		said.Masked = append(said.Masked, pointer, admission.NamePointer, admission.URLPointer)
	default:
		said.Masked = append(said.Masked, pointer)
	}
	return changed, nil
}

func (op maskOp) at(value jsontext.Value, path []string) (changed jsontext.Value, done bool, err error) {
	if len(path) == 0 {
		if op.value == nil {
			return jsontext.Value("null"), true, nil
		}
		return op.value, true, nil
	}
	below := func(value jsontext.Value) (jsontext.Value, error) {
		if len(path) == 1 {
			done = true
			return op.value, nil
		}
		var inner error
		value, done, inner = op.at(value, path[1:])
		return value, inner
	}
	switch value.Kind() {
	case '{':
		var found bool
		changed, found, err = replaceMember(value, path[0], below)
		if err == nil && !found && op.value != nil {
			changed, err = op.add(value, path)
			return changed, err == nil, err
		}
	case '[':
		changed, _, err = replaceElement(value, path[0], below)
	}
	if err != nil || !done {
		return value, false, err
	}
	return changed, true, nil
}

// add puts the value where there is nothing yet, with the objects that lead there.
func (op maskOp) add(object jsontext.Value, path []string) (jsontext.Value, error) {
	value := op.value
	var err error
	for i := len(path) - 1; i > 0 && err == nil; i-- {
		value, err = addMember(jsontext.Value("{}"), path[i], value)
	}
	if err != nil {
		return nil, err
	}
	return addMember(object, path[0], value)
}
