package check

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Catalogue finds the annotated rules of the modules, in order of file and row, and which of them each rule of the
// compiler is a body of. A rule is annotated when its custom metadata has a code; deny and warn of a hook may also only
// pass such rules on. Metadata of a document makes one rule of all of its bodies.
func Catalogue(compiler *ast.Compiler) ([]admission.Rule, map[*ast.Rule]int, ast.Errors) {
	var rules []admission.Rule
	var errs ast.Errors
	index := make(map[*ast.Rule]int)
	numbers := make(map[*ast.Annotations]int)
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		for _, astRule := range compiler.Modules[name].Rules {
			annotations := annotationsOf(compiler.GetAnnotationSet(), astRule)
			if annotations == nil {
				continue
			}
			if number, known := numbers[annotations]; known {
				index[astRule] = number
				continue
			}
			rule, err := readRule(astRule, annotations)
			if err != nil {
				errs = append(errs, ast.NewError(ast.CompileErr, astRule.Location, "%s", err))
				continue
			}
			index[astRule], numbers[annotations] = len(rules), len(rules)
			rules = append(rules, rule)
		}
	}
	return rules, index, append(errs, conflicting(rules)...)
}

// annotationsOf gives the rule's own annotations, or its document's, if they have a code.
func annotationsOf(all *ast.AnnotationSet, rule *ast.Rule) *ast.Annotations {
	candidates := slices.Clone(all.GetRuleScope(rule))
	if document := all.GetDocumentScope(rule.Ref().GroundPrefix()); document != nil {
		candidates = append(candidates, document)
	}
	for _, candidate := range candidates {
		if _, found := candidate.Custom["code"]; found {
			return candidate
		}
	}
	return nil
}

func readRule(rule *ast.Rule, annotations *ast.Annotations) (admission.Rule, error) {
	found := admission.Rule{
		Name:        ruleName(rule),
		Package:     strings.TrimPrefix(rule.Module.Package.Path.String(), "data."),
		File:        rule.Location.File,
		Row:         rule.Location.Row,
		Title:       annotations.Title,
		Description: strings.TrimSpace(annotations.Description),
	}
	if rule.Head.RuleKind() != ast.MultiValue || rule.Head.Key == nil {
		return admission.Rule{}, fmt.Errorf("rule %s has a code, so it must be a partial set: %[1]s contains violation if { … }", found.Name)
	}
	if found.Title == "" || found.Description == "" {
		return admission.Rule{}, fmt.Errorf("rule %s: its metadata needs a title and a description", found.Name)
	}
	err := readCustom(&found, annotations.Custom)
	return found, err
}

// ruleName is the name of the set. A rule of deny or warn itself is named after its file.
func ruleName(rule *ast.Rule) string {
	name := rule.Head.Name.String()
	if name == "" {
		name = strings.TrimPrefix(rule.Head.Ref().String(), "data.")
	}
	if slices.Contains(Sets, name) {
		return strings.TrimSuffix(path.Base(rule.Location.File), ".rego")
	}
	return name
}

func readCustom(rule *admission.Rule, custom map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		err := readMember(rule, key, custom[key])
		if err != nil {
			return fmt.Errorf("rule %s: custom.%s %w", rule.Name, key, err)
		}
	}
	switch {
	case !rule.Severity.Known():
		return fmt.Errorf("rule %s: custom.severity is required", rule.Name)
	case rule.Status == 0:
		return fmt.Errorf("rule %s: custom.status is required", rule.Name)
	}
	return nil
}

func readMember(rule *admission.Rule, key string, value any) error {
	text, isText := value.(string)
	switch key {
	case "code":
		rule.Code = text
		if !codes.MatchString(text) {
			return fmt.Errorf("must be UPPER_SNAKE_CASE")
		}
	case "severity":
		rule.Severity = admission.Severity(text)
		if !rule.Severity.Known() {
			return fmt.Errorf("must be critical, high, medium or low")
		}
	case "status":
		status, err := ReadStatus(fmt.Sprint(value))
		if err != nil {
			return err
		}
		rule.Status = status
	case "mark_failed":
		mark, isBool := value.(bool)
		if !isBool {
			return fmt.Errorf("must be true or false")
		}
		rule.MarkFailed = mark
	case "answer":
		if !isText || text == "" {
			return fmt.Errorf("must be a sentence")
		}
		rule.Answer = text
	default:
		return fmt.Errorf("is not one of code, severity, status, mark_failed, answer")
	}
	return nil
}

// conflicting finds rules with one code that differ in severity, status or answer.
func conflicting(rules []admission.Rule) ast.Errors {
	var errs ast.Errors
	first := make(map[string]admission.Rule, len(rules))
	for _, rule := range rules {
		other, seen := first[rule.Code]
		if !seen {
			first[rule.Code] = rule
			continue
		}
		if other.Severity != rule.Severity || other.Status != rule.Status || other.Answer != rule.Answer {
			location := &ast.Location{File: rule.File, Row: rule.Row, Col: 1}
			errs = append(errs, ast.NewError(ast.CompileErr, location,
				"rule %s: code %s means something else in rule %s (%s:%d)", rule.Name, rule.Code, other.Name, other.File, other.Row))
		}
	}
	return errs
}

// ReadStatus reads the HTTP status of a deny: a client error, never a success and never "try again".
func ReadStatus(text string) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil || status < 400 || status > 499 {
		return 0, fmt.Errorf("must be an HTTP status from 400 to 499")
	}
	return status, nil
}

// codes are what can be a violation's code, which is a metric label and a promise to clients.
var codes = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)
