package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"
)

// configFile gives flags the values of a YAML file: its keys are the flags' names.
type configFile map[string]any

func readConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration file: %w", err)
	}
	file := configFile{}
	err = yaml.UnmarshalStrict(text, &file)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return file, nil
}

// Resolve implements kong.Resolver. A variable that is set comes before the file, which kong would take the
// other way round.
func (c configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, variable := range flag.Envs {
		if _, set := os.LookupEnv(variable); set {
			return nil, nil
		}
	}
	return c[flag.Name], nil
}

// Validate refuses keys that no flag has, so that a misspelt limit is not a limit that is off.
func (c configFile) Validate(app *kong.Application) error {
	known := make(map[string]bool)
	for _, node := range append(app.Leaves(false), app.Node) {
		for _, flag := range node.Flags {
			known[flag.Name] = true
		}
	}
	var unknown []string
	for key := range c {
		if !known[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("configuration file: unknown key %s", strings.Join(unknown, ", "))
	}
	return nil
}
