package sinks

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// Secret is a text that is not shown when it is printed, logged or written. It is
// the text itself, or env:NAME or file:PATH for where to find it.
type Secret string

const (
	hidden     = "…"
	inVariable = "env:"
	inFile     = "file:"
)

func (Secret) String() string { return hidden }

// GoString keeps %#v from showing it.
func (Secret) GoString() string { return hidden }

// LogValue keeps log handlers that know no Stringer from showing it.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText keeps a dump of the configuration from showing it.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (s Secret) isReference() bool {
	return strings.HasPrefix(string(s), inVariable) || strings.HasPrefix(string(s), inFile)
}

// resolve gives the text itself. content gives what is in a file.
func (s Secret) resolve(content func(path string) []byte) (string, error) {
	if name, ok := strings.CutPrefix(string(s), inVariable); ok {
		text, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		return text, nil
	}
	if path, ok := strings.CutPrefix(string(s), inFile); ok {
		text, err := rereadfile.Text(content(path))
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return text, nil
	}
	return string(s), nil
}

// setting is a secret with its name in the configuration and a check of its text. The check's errors do not repeat the text.
type setting struct {
	name  string
	value Secret
	check func(text string) error
}

// validate checks the texts that can be checked without reading a file or a variable.
func validate(settings []setting) error {
	for _, setting := range settings {
		if setting.value.isReference() {
			continue
		}
		err := setting.check(string(setting.value))
		if err != nil {
			return fmt.Errorf("%s: %w", setting.name, err)
		}
	}
	return nil
}

// watch gives what use makes of the settings' texts. When a file changes, the texts are resolved and checked again, and
// use is called again.
func watch[T any](
	sink string, report rereadfile.Reporter, settings []setting, use func(texts []string) (T, error),
) (*rereadfile.File[T], error) {
	var paths []string
	for _, setting := range settings {
		path, ok := strings.CutPrefix(string(setting.value), inFile)
		if ok && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	file, err := rereadfile.Open("sinks."+sink, report, func(contents [][]byte) (T, error) {
		texts := make([]string, len(settings))
		for i, setting := range settings {
			text, err := setting.value.resolve(func(path string) []byte { return contents[slices.Index(paths, path)] })
			if err == nil {
				err = setting.check(text)
			}
			if err != nil {
				var none T
				return none, fmt.Errorf("%s: %w", setting.name, err)
			}
			texts[i] = text
		}
		return use(texts)
	}, paths...)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		i := slices.IndexFunc(settings, func(s setting) bool { return string(s.value) == inFile+unreadable.Path })
		if i >= 0 {
			err = fmt.Errorf("%s: %w", settings[i].name, err)
		}
	}
	return file, err
}
