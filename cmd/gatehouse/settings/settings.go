// Package settings turns flags, variables and the configuration file into the values of the commands' flags. There is no
// other place that does. It refuses what could be meant in two ways: a number without a unit, a fraction of a whole
// number, an empty value, an unknown name. Its errors name the flag, the variable, or the line of the file, and never
// repeat a value.
package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// Prefix is what the names of variables begin with.
const Prefix = "GATEHOUSE"

// configFlag names the flag of the configuration file.
const configFlag = "config"

// Options let a kong parser read values by the rules of this package. A flag with the tag env:"-" has neither a variable
// nor a key in the file: it is said on the command line or not at all.
func Options() []kong.Option {
	text := kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		return ctx.Scan.PopValueInto("text", target.Addr().Interface())
	})
	return []kong.Option{kong.DefaultEnvars(Prefix), kong.NamedMapper(secretType, text), kong.PostBuild(prepare)}
}

// prepare puts this package's rules before kong's own.
func prepare(parser *kong.Kong) error {
	eachNode(parser.Model, func(node *kong.Node) {
		for _, flag := range node.Flags {
			flag.Mapper = mapperOf(flag.Value)
		}
		for _, argument := range node.Positional {
			argument.Mapper = mapperOf(argument)
		}
	})
	return nil
}

// TakeVariables keeps kong from reading variables: it takes an empty one for a value, and its errors show values. Help
// still names the variables.
func TakeVariables(ctx *kong.Context) {
	for _, path := range ctx.Path {
		if path.Flag != nil && path.Flag.Name == "help" {
			return
		}
	}
	eachNode(ctx.Model, func(node *kong.Node) {
		for _, flag := range node.Flags {
			flag.Tag.Envs = nil
		}
	})
}

func eachNode(app *kong.Application, do func(*kong.Node)) {
	todo := []*kong.Node{app.Node}
	for len(todo) > 0 {
		do(todo[0])
		todo = append(todo[1:], todo[0].Children...)
	}
}

// Settings are the variables and the file, which kong asks for what is not on the command line.
type Settings struct {
	variables map[string]string
	file      *yamlfile.Document
	values    map[string]any
}

// Read reads the configuration file, if the flag --config or its variable names one, and keeps the variables. Every name
// of the file must be that of a flag.
func Read(ctx *kong.Context, environ []string) (*Settings, error) {
	s := &Settings{variables: variablesOf(environ)}
	path := s.path(ctx)
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(kong.ExpandPath(path))
	if err != nil {
		return nil, errors.New("the configuration file cannot be read: " + reasonOf(err))
	}
	s.file, err = yamlfile.Read(path, text)
	if errors.Is(err, yamlfile.ErrEmpty) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	values, isObject := s.file.Value().(map[string]any)
	if !isObject && s.file.Value() != nil {
		return nil, s.file.Errorf("", "the configuration file must hold keys and values")
	}
	s.values = values
	return s, s.checkNames(flagsOf(ctx.Model))
}

// path is that of the configuration file.
func (s *Settings) path(ctx *kong.Context) string {
	for _, path := range ctx.Path {
		if path.Flag != nil && path.Flag.Name == configFlag {
			return ctx.FlagValue(path.Flag).(string)
		}
	}
	return s.variables[Prefix+"_CONFIG"]
}

// checkNames refuses keys that no flag has, so that a misspelt limit is not a limit that is off.
func (s *Settings) checkNames(flags map[string]*kong.Flag) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		flag, known := flags[name]
		switch {
		case !known:
			problems = append(problems, s.errorAt(name, yamlfile.UnknownName(name, slices.Sorted(maps.Keys(flags)))))
		case len(flag.Envs) == 0 || name == configFlag:
			problems = append(problems, s.errorAt(name, fmt.Errorf("%s is for the command line only", name)))
		}
	}
	return errors.Join(problems...)
}

func (s *Settings) errorAt(name string, err error) error {
	return s.file.Errorf(jsontext.Pointer("").AppendToken(name), "%w", err)
}

// Resolve implements kong.Resolver: a variable comes before the file. An empty variable is one that is not set.
func (s *Settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if text := s.variables[name]; text != "" {
			err := try(flag, text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return text, nil
		}
	}
	value, found := s.values[flag.Name]
	if !found || len(flag.Envs) == 0 {
		return nil, nil
	}
	value, err := fromFile(flag, value)
	if err == nil {
		err = try(flag, value)
	}
	if err != nil {
		return nil, s.errorAt(flag.Name, fmt.Errorf("%s: %w", flag.Name, err))
	}
	return value, nil
}

// Validate implements kong.Resolver.
func (s *Settings) Validate(*kong.Application) error { return nil }

// try decodes a value for its error alone, so that the error can say where the value is from.
func try(flag *kong.Flag, value any) error {
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	return flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, reflect.New(flag.Target.Type()).Elem())
}

// flagsOf are the flags of all commands. Of a name that several have, it is one that has a variable, if there is one.
func flagsOf(app *kong.Application) map[string]*kong.Flag {
	flags := make(map[string]*kong.Flag)
	for _, node := range append(app.Leaves(false), app.Node) {
		for _, flag := range node.Flags {
			if known, found := flags[flag.Name]; !found || len(known.Envs) == 0 {
				flags[flag.Name] = flag
			}
		}
	}
	delete(flags, "help")
	delete(flags, "version")
	return flags
}

// reasonOf is why a file cannot be read, without its name.
func reasonOf(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return "unknown reason"
}

// leastHidden is the length from which an argument is taken for a value that must not be repeated.
const leastHidden = 6

// WithoutArguments is what kong says of a command line that it does not understand, without the values in it: what it
// takes for an argument can be the value of a flag that is misspelt.
func WithoutArguments(err error, args []string) string {
	message := err.Error()
	if word, _, _ := strings.Cut(message, " "); !slices.Contains([]string{"unexpected", "unknown", "expected"}, word) {
		return message // of this package
	}
	for i, argument := range args {
		value := argument
		if strings.HasPrefix(argument, "-") {
			_, value, _ = strings.Cut(argument, "=")
		}
		if i > 0 && len(value) >= leastHidden {
			message = strings.ReplaceAll(message, value, "…")
		}
	}
	return message
}
