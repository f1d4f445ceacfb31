package mask

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// These functions change JSON in place of its text, so that what is not changed stays as it was sent: the order of
// names, the digits of numbers.

// span is a part of a text. The zero span is none.
type span struct{ start, end int }

func (s span) of(text jsontext.Value) jsontext.Value { return text[s.start:s.end] }

// members finds the values of names in an object. A value that is no object has none. A name that is there twice is an
// error: one of the two would be overlooked.
func members(value jsontext.Value, names ...string) ([]span, error) {
	found := make([]span, len(names))
	if value.Kind() != '{' || mentionsNone(value, names) {
		return found, nil
	}
	return found, eachMember(value, func(quoted, _ jsontext.Value, at span) error {
		for i, name := range names {
			if !isName(quoted, name) {
				continue
			}
			if found[i] != (span{}) {
				return fmt.Errorf("%s is there twice", name)
			}
			found[i] = at
		}
		return nil
	})
}

// mentionsNone says for sure, and at little cost, that names are nowhere in a value.
func mentionsNone(value jsontext.Value, names []string) bool {
	return bytes.IndexByte(value, '\\') < 0 && !slices.ContainsFunc(names, func(name string) bool {
		return bytes.Contains(value, []byte(name))
	})
}

// isName says whether a JSON string, however it is spelt, is a name.
func isName(quoted jsontext.Value, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	return err == nil && string(text) == name
}

// eachMember goes through an object. What it gives are parts of the object's text.
func eachMember(object jsontext.Value, do func(quoted, value jsontext.Value, at span) error) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true))
	_, err := decoder.ReadToken()
	for err == nil && decoder.PeekKind() != '}' {
		var quoted, value span
		quoted, err = next(decoder)
		if err == nil {
			value, err = next(decoder)
		}
		if err == nil {
			err = do(quoted.of(object), value.of(object), value)
		}
	}
	return err
}

// next reads a value and says where it is.
func next(decoder *jsontext.Decoder) (span, error) {
	value, err := decoder.ReadValue()
	end := int(decoder.InputOffset())
	return span{end - len(value), end}, err
}

// change gives what takes the place of a value that is there: nil for nothing.
type change func(value jsontext.Value) (jsontext.Value, error)

// replaceMember changes the value of a name in an object, and says whether there was one.
func replaceMember(object jsontext.Value, name string, with change) (changed jsontext.Value, found bool, err error) {
	changed = append(make(jsontext.Value, 0, len(object)), '{')
	err = eachMember(object, func(quoted, value jsontext.Value, _ span) error {
		if isName(quoted, name) {
			found = true
			value, err = with(value)
			if err != nil || value == nil {
				return err
			}
		}
		if len(changed) > 1 {
			changed = append(changed, ',')
		}
		changed = append(append(changed, quoted...), ':')
		changed = append(changed, value...)
		return nil
	})
	return append(changed, '}'), found, err
}

// replaceElement does the same for an index of an array.
func replaceElement(array jsontext.Value, index string, with change) (changed jsontext.Value, found bool, err error) {
	wanted, err := strconv.Atoi(index)
	if err != nil {
		return array, false, nil
	}
	changed = append(make(jsontext.Value, 0, len(array)), '[')
	decoder := jsontext.NewDecoder(bytes.NewBuffer(array), jsontext.AllowDuplicateNames(true))
	_, err = decoder.ReadToken()
	for i := 0; err == nil && decoder.PeekKind() != ']'; i++ {
		var value jsontext.Value
		value, err = decoder.ReadValue()
		if err == nil && i == wanted {
			found = true
			value, err = with(value)
		}
		if err != nil || value == nil {
			continue
		}
		if len(changed) > 1 {
			changed = append(changed, ',')
		}
		changed = append(changed, value...)
	}
	return append(changed, ']'), found, err
}

// addMember puts a member at the end of an object.
func addMember(object jsontext.Value, name string, value jsontext.Value) (jsontext.Value, error) {
	quoted, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(object)
	body := bytes.TrimSpace(text[1 : len(text)-1])
	added := append(make(jsontext.Value, 0, len(text)+len(quoted)+len(value)+2), '{')
	if len(body) > 0 {
		added = append(append(added, body...), ',')
	}
	added = append(append(added, quoted...), ':')
	return append(append(added, value...), '}'), nil
}
