package mask

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/molecule-ai/gatehouse/internal/suggest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// maskOp is one change to a recorded input, as in the masks of OPA's decision logs: it removes a value, or puts one in its
// place. It does nothing where there is no value to remove, or where the place cannot be made.
type maskOp struct {
	path   []string // of names and indexes, below the input
	remove bool
	value  any // to put there
}

// readMaskPath reads /input/… with percent-encoded elements. It gives nil for a place that Gatehouse's records do not have.
func readMaskPath(text string) ([]string, error) {
	elements := strings.Split(text, "/")
	if len(elements) < 2 || elements[0] != "" {
		return nil, fmt.Errorf("mask path %q does not begin with a slash", text)
	}
	switch elements[1] {
	case "input":
	case "nd_builtin_cache":
		return nil, nil
	case "result":
		return nil, fmt.Errorf("mask path %q: a verdict is the record and is not masked", text)
	default:
		return nil, fmt.Errorf("mask path %q does not begin with /input", text)
	}
	path := elements[2:]
	for i, element := range path {
		if element == "*" || strings.TrimSpace(element) != element {
			return nil, fmt.Errorf("mask path %q: there are no wildcards, and a blank is written %%20", text)
		}
		var err error
		path[i], err = url.PathUnescape(element)
		if err != nil {
			return nil, fmt.Errorf("mask path %q: %w", text, err)
		}
	}
	members := eventMembers["input.input"]
	if len(path) > 0 && !slices.Contains(members, path[0]) { // it would never mask anything
		return nil, fmt.Errorf("mask path %q: the input has no %s%s", text, path[0], suggest.DidYouMean(path[0], members))
	}
	return path, nil
}

// readMask reads data.mask, a list of paths that are erased.
func readMask(data map[string]any) ([]maskOp, error) {
	value := data["mask"]
	if value == nil {
		return nil, nil
	}
	paths, isList := value.([]any)
	if !isList || slices.ContainsFunc(paths, func(path any) bool { _, isText := path.(string); return !isText }) {
		return nil, errors.New("data.mask is no list of paths")
	}
	ops, err := readMaskOps(paths)
	if err != nil {
		return nil, fmt.Errorf("data.mask: %w", err)
	}
	return ops, nil
}

// readMaskOps reads paths that are erased, and objects {op, path, value}.
func readMaskOps(entries []any) ([]maskOp, error) {
	var ops []maskOp
	for _, entry := range entries {
		op, err := readMaskOp(entry)
		if err != nil {
			return nil, err
		}
		if op.path != nil {
			ops = append(ops, op)
		}
	}
	return ops, nil
}

func readMaskOp(entry any) (op maskOp, err error) {
	if text, isText := entry.(string); isText {
		entry = map[string]any{"op": "remove", "path": text}
	}
	object, isObject := entry.(map[string]any)
	if !isObject {
		return op, errors.New("an entry of the mask rule is neither a path nor an object")
	}
	text, _ := object["path"].(string)
	op.path, err = readMaskPath(text)
	if err != nil {
		return op, err
	}
	switch object["op"] {
	case "remove":
		op.remove = true
	case "upsert":
		op.value = object["value"]
	default:
		err = fmt.Errorf("the op of mask path %q is neither remove nor upsert", text)
	}
	return op, err
}

// applyAll decodes an input, changes it, says so in its redaction, and encodes it. Numbers keep their digits; members are
// sorted.
func applyAll(ops []maskOp, input jsontext.Value, redaction *admission.Redaction) (jsontext.Value, error) {
	if len(ops) == 0 {
		return input, nil
	}
	var tree any
	err := util.UnmarshalJSON(input, &tree)
	if err != nil {
		return nil, err
	}
	for _, op := range ops {
		var done bool
		tree, done = op.change(tree, op.path)
		if done {
			op.note(redaction)
		}
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	kept := jsontext.Value(text)
	return kept, kept.Format() // without the escapes of HTML
}

// note says in a redaction what was changed.
func (op maskOp) note(redaction *admission.Redaction) {
	pointer := admission.InputPointer
	for _, element := range op.path {
		pointer += "/" + url.PathEscape(element)
	}
	if op.remove {
		redaction.Erased = append(redaction.Erased, pointer)
		return
	}
	redaction.Masked = append(redaction.Masked, pointer)
	if pointer == admission.CardPointer { // nothing is left of it as it was
		redaction.Masked = append(redaction.Masked, admission.NamePointer, admission.URLPointer)
	}
}

// change gives a value with the change at a path below it, and whether anything was changed.
func (op maskOp) change(value any, path []string) (changed any, done bool) {
	if len(path) == 0 {
		return op.value, true
	}
	removeHere := op.remove && len(path) == 1
	switch value := value.(type) {
	case map[string]any:
		below, found := value[path[0]]
		switch {
		case op.remove && !found:
			return value, false
		case removeHere:
			delete(value, path[0])
			return value, true
		case !found:
			below = make(map[string]any) // on the way to what is put there
		}
		below, done = op.change(below, path[1:])
		value[path[0]] = below
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(value) {
			return value, false
		}
		if removeHere {
			return slices.Delete(value, i, i+1), true
		}
		value[i], done = op.change(value[i], path[1:])
	}
	return value, done
}
