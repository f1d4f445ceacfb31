package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/internal/durations"
)

// secretType is the tag type of flags that hold a secret: type:"secret".
const secretType = "secret"

var (
	errEmpty    = errors.New("the value is empty: leave it out, or write one")
	wholeNumber = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	anyNumber   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

// Safe marks an error of a flag's own Decode that repeats no value. The messages of others are not shown.
type Safe struct{ Problem error }

func (s Safe) Error() string { return s.Problem.Error() }

// Unwrap gives the error that is marked.
func (s Safe) Unwrap() error { return s.Problem }

// mapper reads a value by the rules of this package and hands it on to kong's own mapper.
type mapper struct {
	value *kong.Value
	kongs kong.Mapper
}

// boolMapper is the mapper of a flag that needs no value.
type boolMapper struct{ mapper }

func (boolMapper) IsBool() bool { return true }

func mapperOf(value *kong.Value) kong.Mapper {
	m := mapper{value, value.Mapper}
	if value.IsBool() {
		return boolMapper{m}
	}
	return m
}

// Decode implements kong.Mapper.
func (m mapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Peek()
	text, isText := token.Value.(string)
	if m.value.Flag != nil && isText && token.IsValue() && (!m.value.IsBool() || token.Type == kong.FlagValueToken) {
		converted, err := m.convert(text)
		if err != nil {
			return err
		}
		ctx.Scan.Pop()
		ctx.Scan.PushTyped(converted, token.Type)
	}
	err := m.kongs.Decode(ctx, target)
	if err != nil {
		return m.withoutValue(err)
	}
	if list, isList := target.Interface().([]string); isList && m.value.Flag != nil && (len(list) == 0 || slices.Contains(list, "")) {
		return errEmpty
	}
	return nil
}

// convert checks a text by the type of the flag, and gives it as kong takes it.
func (m mapper) convert(text string) (string, error) {
	enum := m.value.EnumSlice()
	kind := m.value.Target.Kind()
	switch {
	case text == "" && (m.value.Enum == "" || !slices.Contains(enum, "")):
		return "", errEmpty
	case m.value.Tag.Type == secretType:
		return secret(text)
	case m.value.Enum != "" && !slices.Contains(enum, text):
		return "", fmt.Errorf("want one of %s", strings.Trim(strings.Join(enum, ", "), ", "))
	case m.value.Target.Type() == reflect.TypeFor[time.Duration]():
		return m.duration(text)
	case kind >= reflect.Int && kind <= reflect.Uint64 && !wholeNumber.MatchString(text):
		return "", errors.New("want a whole number")
	case (kind == reflect.Float64 || kind == reflect.Float32) && !anyNumber.MatchString(text):
		return "", errors.New("want a number")
	default:
		return text, nil
	}
}

// duration suggests the unit of the default for a number that has none.
func (m mapper) duration(text string) (string, error) {
	read, err := durations.Parse(text)
	if errors.Is(err, durations.ErrUnit) {
		unit := strings.TrimLeft(m.value.Default, "0123456789.")
		return "", fmt.Errorf("%w (%s%s?)", err, text, unit)
	}
	if err != nil {
		return "", err
	}
	return read.String(), nil
}

// secret takes away the one line end that editors and echo put after a secret. Other blanks at its ends are never meant.
func secret(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return "", errEmpty
	}
	isControl := func(char rune) bool { return char < ' ' || char == 0x7f }
	if strings.TrimSpace(text) != text || strings.ContainsFunc(text, isControl) {
		return "", errors.New("blanks or line ends are around it or in it")
	}
	return text, nil
}

// withoutValue says what kong's error says, without the value.
func (m mapper) withoutValue(err error) error {
	var safe Safe
	if errors.As(err, &safe) {
		return safe.Problem
	}
	target := m.value.Target
	switch {
	case m.value.IsBool():
		return errors.New("want true or false")
	case m.value.Tag.Type == "existingfile":
		return errors.New("there is no such file, or it is a directory")
	case m.value.IsMap():
		return errors.New("want name=value, several with ; between them")
	case target.CanInt(), m.value.IsSlice() && target.Type().Elem().Kind() == reflect.Int64:
		return errors.New("want a whole number that is not too large")
	case target.CanFloat():
		return errors.New("want a number")
	default:
		return errors.New("want a value (--flag=VALUE)")
	}
}

// fromFile gives a value of the configuration file as it would be written in a flag. Lists and objects stay what they
// are.
func fromFile(flag *kong.Flag, value any) (any, error) {
	target := flag.Target
	isDuration := target.Type() == reflect.TypeFor[time.Duration]()
	switch value := value.(type) {
	case nil:
		return nil, errEmpty
	case bool:
		if flag.IsBool() {
			return strconv.FormatBool(value), nil
		}
	case json.Number:
		if isDuration || target.CanInt() || target.CanFloat() {
			return value.String(), nil
		}
	case string:
		return value, nil
	case []any:
		return list(flag, value)
	case map[string]any:
		return object(flag, value)
	}
	switch {
	case flag.IsBool():
		return nil, errors.New("want true or false")
	case isDuration, target.CanInt(), target.CanFloat():
		return nil, errors.New("want a number or a duration, not true or false")
	default:
		return nil, errors.New("want a text: quote it")
	}
}

func list(flag *kong.Flag, values []any) (any, error) {
	if flag.Target.Type() != reflect.TypeFor[[]string]() {
		if flag.Target.Kind() == reflect.Slice {
			return values, nil // its own Decode checks them
		}
		return nil, errors.New("want one value, not a list")
	}
	if len(values) == 0 {
		return nil, errEmpty
	}
	for _, value := range values {
		if text, isText := value.(string); !isText || text == "" {
			return nil, errors.New("want a list of texts that are not empty")
		}
	}
	return values, nil
}

func object(flag *kong.Flag, values map[string]any) (any, error) {
	if flag.Target.Type() != reflect.TypeFor[map[string]string]() {
		return nil, errors.New("want one value, not keys and values")
	}
	for _, value := range values {
		if _, isText := value.(string); !isText {
			return nil, errors.New("want keys and texts: quote the values")
		}
	}
	return values, nil
}
