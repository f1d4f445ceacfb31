package settings

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/internal/suggest"
)

func variablesOf(environ []string) map[string]string {
	variables := make(map[string]string)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, Prefix+"_") {
			variables[name] = value
		}
	}
	return variables
}

var (
	// ofKubernetes are the variables that Kubernetes gives every container for a Service whose name begins with gatehouse.
	ofKubernetes = regexp.MustCompile(`^GATEHOUSE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)$`)
	// ofTests are what the program's own tests and benchmarks are told by.
	ofTests = regexp.MustCompile(`^GATEHOUSE_(TEST|BENCH|AUDIT_WORKSPACES|REPLAY_DECISIONS|SOAK)(_|$)`)
	// named are variables that a setting names as the place of a secret.
	named = regexp.MustCompile(`env:(` + Prefix + `_\w+)`)
)

// Warnings say which variables have no effect: a misspelt limit is otherwise a limit that is off.
func (s *Settings) Warnings(app *kong.Application) []string {
	byVariable := make(map[string]bool)
	without := make(map[string]string) // the variables that flags of the command line do not have
	for name, flag := range flagsOf(app) {
		if len(flag.Envs) == 0 {
			without[Prefix+"_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = name
		}
		for _, variable := range flag.Envs {
			byVariable[variable] = true
		}
	}
	places := s.places()
	known := slices.Collect(maps.Keys(byVariable))
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(s.variables)) {
		switch {
		case byVariable[name] || places[name] || ofKubernetes.MatchString(name) || ofTests.MatchString(name):
		case without[name] != "":
			warnings = append(warnings, fmt.Sprintf("%s has no effect: --%s is for the command line only", name, without[name]))
		default:
			warnings = append(warnings, fmt.Sprintf("%s has no effect: there is no such setting%s", name, suggest.DidYouMean(name, known)))
		}
	}
	return warnings
}

// places are the variables that values name as the place of a secret (env:NAME).
func (s *Settings) places() map[string]bool {
	places := make(map[string]bool)
	look := func(text string) {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			places[match[1]] = true
		}
	}
	for _, value := range s.variables {
		look(value)
	}
	eachText(s.values, look)
	return places
}

func eachText(value any, look func(string)) {
	switch value := value.(type) {
	case string:
		look(value)
	case []any:
		for _, element := range value {
			eachText(element, look)
		}
	case map[string]any:
		for _, member := range value {
			eachText(member, look)
		}
	}
}
