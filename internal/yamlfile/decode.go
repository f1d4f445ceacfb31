package yamlfile

import (
	"encoding"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/suggest"
)

// ValueError marks an error of an unmarshaler, or of whatever else reads a value, whose message repeats no value. Only
// such a message is passed on.
type ValueError string

func (e ValueError) Error() string { return string(e) }

// Decode reads what the file holds into what into points to.
func (d *Document) Decode(into any) error {
	text, err := stdjson.Marshal(d.value)
	if err != nil {
		return d.Errorf("", "the file cannot be written as JSON")
	}
	where, err := Problem(json.Unmarshal(text, into, json.RejectUnknownMembers(true)))
	if err != nil {
		return d.Errorf(where, "%w", err)
	}
	return nil
}

// Problem turns an error of reading JSON into one that does not repeat the value, and says where the value is. It leaves
// other errors as they are.
func Problem(err error) (jsontext.Pointer, error) {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return "", err
	}
	where, name := semantic.JSONPointer, semantic.JSONPointer.LastToken()
	var said ValueError
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return where, UnknownName(name, FieldsOf(semantic.GoType))
	case errors.As(err, &said):
		return where, fmt.Errorf("%s: %w", shown(name), said)
	case semantic.GoType == nil || name == "":
		return where, errors.New("the file does not hold what it should")
	default:
		return where, fmt.Errorf("%s: want %s", shown(name), kindOf(semantic.GoType))
	}
}

// UnknownName is the error of a name that is none of the known ones. It repeats a name only if it is like one of these: in a
// line that lacks its name, a secret stands where the name belongs.
func UnknownName(name string, known []string) error {
	meant := suggest.DidYouMean(name, known)
	if meant != "" {
		return fmt.Errorf("unknown name %s%s", shown(name), meant)
	}
	if len(known) > mostNames {
		return errors.New("unknown name")
	}
	return fmt.Errorf("unknown name; known are %s", strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// mostNames is how many known names a message lists.
const mostNames = 12

// FieldsOf are the names by which JSON knows the fields of a struct.
func FieldsOf(of reflect.Type) []string {
	for of != nil && of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of == nil || of.Kind() != reflect.Struct {
		return nil
	}
	fields := make(map[string]bool)
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "":
			fields[field.Name] = true
		default:
			fields[name] = true
		}
	}
	return slices.Sorted(maps.Keys(fields))
}

// kindOf says in plain words what a value of a type is written as.
func kindOf(of reflect.Type) string {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	text := reflect.TypeFor[encoding.TextUnmarshaler]()
	switch {
	case of == reflect.TypeFor[jsontext.Value]():
		return "a value"
	case reflect.PointerTo(of).Implements(text):
		return "a text"
	}
	switch of.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "keys and values"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}
