// Package casetest runs the tests of policies: Rego tests through OPA's own tester, and case files, which put a review and
// facts before the policies and say what must come of them.
package casetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// Case is one entry of a case file: a review and facts, and what the policies must say of them.
type Case struct {
	File   string
	Name   string
	input  admission.Input
	data   map[string]any
	expect expectation
}

type caseFile struct {
	Title    string         `json:"title"`
	Defaults map[string]any `json:"defaults"`
	Cases    []struct {
		Name       string         `json:"name"`
		Review     map[string]any `json:"review"`
		Facts      map[string]any `json:"facts"`
		Deployment map[string]any `json:"deployment"`
		Data       map[string]any `json:"data"`
		Expect     expectation    `json:"expect"`
	} `json:"cases"`
}

// expectation compares only what is given; violations must be exactly those listed, in order.
type expectation struct {
	Allowed    *bool                `json:"allowed"`
	Status     *int                 `json:"status"`
	MarkFailed *bool                `json:"mark_failed"`
	Violations *[]expectedViolation `json:"violations"`
}

type expectedViolation struct {
	Rule        *string                `json:"rule"`
	Code        *string                `json:"code"`
	Reason      *string                `json:"reason"`
	Message     *string                `json:"message"`
	Severity    *admission.Severity    `json:"severity"`
	Enforcement *admission.Enforcement `json:"enforcement"`
	Status      *int                   `json:"status"`
	MarkFailed  *bool                  `json:"mark_failed"`
}

// given is the part of a case that is put before the policies.
type given struct {
	Review struct {
		Hook        string         `json:"hook"`
		DryRun      bool           `json:"dry_run"`
		CallerProof string         `json:"caller_proof"`
		Workspace   jsontext.Value `json:"workspace"`
	} `json:"review"`
	Facts struct {
		Exists           bool           `json:"exists"`
		Workspace        jsontext.Value `json:"workspace"`
		SecretKeys       []string       `json:"secret_keys"`
		GlobalSecretKeys []string       `json:"global_secret_keys"`
	} `json:"facts"`
	Deployment admission.Deployment `json:"deployment"`
	Data       map[string]any       `json:"data"`
}

// Input is what the case puts before the policies.
func (c Case) Input() admission.Input { return c.input }

// Data is what the case changes of the policies' data.
func (c Case) Data() map[string]any { return c.data }

// ExpectedRules are the rules that the case expects to fire, by name.
func (c Case) ExpectedRules() []string {
	var rules []string
	if c.expect.Violations == nil {
		return nil
	}
	for _, violation := range *c.expect.Violations {
		if violation.Rule != nil {
			rules = append(rules, *violation.Rule)
		}
	}
	return rules
}

// Load reads the case files below root of fsys, in order of name, or root itself if it is a file. It reads every YAML file
// except data of policies. A member that is not known is an error: a misspelt expectation must not pass.
func Load(fsys fs.FS, root string) ([]Case, error) {
	info, err := fs.Stat(fsys, root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		text, err := fs.ReadFile(fsys, root)
		if err != nil {
			return nil, err
		}
		return parseCases(root, text)
	}
	below, err := fs.Sub(fsys, root)
	if err != nil {
		return nil, err
	}
	files, err := check.Read(below, check.Limits{})
	if err != nil {
		return nil, fmt.Errorf("case files in %s: %w", root, err)
	}
	named := make(map[string][]byte, len(files.Cases))
	for name, text := range files.Cases {
		named[path.Join(root, name)] = text
	}
	return readCases(named)
}

func readCases(files map[string][]byte) ([]Case, error) {
	var cases []Case
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		found, err := parseCases(name, files[name])
		cases = append(cases, found...)
		problems = append(problems, err)
	}
	return cases, errors.Join(problems...)
}

func parseCases(name string, text []byte) ([]Case, error) {
	document, err := yamlfile.Read(name, text)
	if err != nil {
		return nil, err
	}
	var file caseFile
	err = document.Decode(&file)
	if err != nil {
		return nil, err
	}
	if len(file.Cases) == 0 {
		return nil, document.Errorf("", "no cases")
	}
	cases := make([]Case, 0, len(file.Cases))
	for i, entry := range file.Cases {
		where := jsontext.Pointer("/cases").AppendToken(strconv.Itoa(i))
		one := Case{File: name, Name: entry.Name, expect: entry.Expect}
		if entry.Name == "" || entry.Expect == (expectation{}) {
			return nil, document.Errorf(where, "case %q needs a name and an expect that is not empty", entry.Name)
		}
		err := one.fill(Merge(file.Defaults, map[string]any{
			"review": entry.Review, "facts": entry.Facts, "deployment": entry.Deployment, "data": entry.Data,
		}))
		inside, err := yamlfile.Problem(err)
		if err != nil {
			return nil, document.Errorf(where+inside, "%s: %w", entry.Name, err)
		}
		cases = append(cases, one)
	}
	return cases, nil
}

// fill decodes what a case gives as a live request is decoded.
func (c *Case) fill(merged map[string]any) error {
	document, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	var parts given
	err = json.Unmarshal(document, &parts, json.RejectUnknownMembers(true))
	if err != nil {
		return err
	}
	envelope, err := json.Marshal(map[string]any{
		"dry_run": parts.Review.DryRun, "workspace": parts.Review.Workspace,
		"caller_proof": cmp.Or(parts.Review.CallerProof, string(admission.Token)),
	})
	if err != nil {
		return err
	}
	review, err := decode.Review(cmp.Or(parts.Review.Hook, "register"), envelope, decode.DefaultMaxDepth)
	if err != nil {
		return err
	}
	facts, err := admission.NewFacts(parts.Facts.Exists, parts.Facts.Workspace, parts.Facts.SecretKeys, parts.Facts.GlobalSecretKeys)
	if err != nil {
		return err
	}
	c.input = admission.NewInput(review, facts, parts.Deployment)
	c.data = parts.Data
	return nil
}

// Merge lays over upon base: objects are merged, everything else is replaced.
func Merge(base, over map[string]any) map[string]any {
	result := maps.Clone(base)
	if result == nil {
		result = make(map[string]any, len(over))
	}
	for key, value := range over {
		below, isObject := result[key].(map[string]any)
		above, bothObjects := value.(map[string]any)
		if isObject && bothObjects {
			value = Merge(below, above)
		}
		result[key] = value
	}
	return result
}

// CaseResult is one case after it was run; Problems is empty when it passed.
type CaseResult struct {
	Case     Case
	Problems []string
	Missing  []admission.RuleExplanation // rules that should have fired and did not
	Trace    string                      // of the missing rules: the way to what failed
	Took     time.Duration
}

// runCases evaluates cases against policies. A case that changes data is run on a snapshot of its own. watch sees each
// evaluation.
func runCases(
	ctx context.Context, loaded snapshot.Contents, schema []byte, cases []Case, watch ...snapshot.Watch,
) ([]CaseResult, error) {
	plain, err := loaded.Unchecked(ctx, schema)
	if err != nil {
		return nil, err
	}
	results := make([]CaseResult, len(cases))
	for i, one := range cases {
		rules := plain
		if len(one.data) > 0 {
			changed := loaded
			changed.Data = Merge(loaded.Data, one.data)
			rules, err = changed.Unchecked(ctx, schema)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", one.File, one.Name, err)
			}
		}
		results[i] = one.Run(ctx, rules, watch...)
	}
	return results, nil
}

// Run evaluates the case by both evaluators. watch sees OPA's evaluation.
func (c Case) Run(ctx context.Context, rules *snapshot.Snapshot, watch ...snapshot.Watch) CaseResult {
	started := time.Now()
	result := CaseResult{Case: c}
	watched := snapshot.EvaluableFunc(func(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
		return rules.EvaluateWatched(ctx, in, at, watch...)
	})
	verdict, err := admission.Both{Fast: rules, Reference: watched}.Evaluate(ctx, c.input, started)
	if err != nil {
		result.Problems = []string{"error: " + err.Error()}
	} else {
		result.Problems = c.expect.compare(verdict)
	}
	result.Took = time.Since(started)
	if len(result.Problems) > 0 && err == nil {
		result.explain(ctx, rules, verdict)
	}
	return result
}

// explain says why rules that are expected to fire did not. If that fails, the case has no explanation.
func (r *CaseResult) explain(ctx context.Context, rules *snapshot.Snapshot, got admission.Verdict) {
	explanation, err := explain.Review(ctx, rules, r.Case.input, time.Now())
	if err != nil {
		return
	}
	var trace strings.Builder
	for _, explained := range explanation.Rules {
		if !explained.Fired && r.Case.expect.misses(explained.Rule, got.Violations) {
			r.Missing = append(r.Missing, explained)
			explanation.WriteTrace(&trace, explained.Rule.Name, true)
		}
	}
	r.Trace = trace.String()
}

// misses says whether a violation of the rule, by its name or its code, is expected and did not come.
func (e expectation) misses(rule admission.Rule, got []admission.Violation) bool {
	return e.Violations != nil && slices.ContainsFunc(*e.Violations, func(want expectedViolation) bool {
		named := want.Rule != nil && *want.Rule == rule.Name || want.Rule == nil && want.Code != nil && *want.Code == rule.Code
		return named && !slices.ContainsFunc(got, want.matches)
	})
}

func (e expectation) compare(got admission.Verdict) []string {
	var problems []string
	if e.Allowed != nil && *e.Allowed != got.Allowed() {
		problems = append(problems, fmt.Sprintf("allowed: expected %t, got %t", *e.Allowed, got.Allowed()))
	}
	status := 0
	if denying := got.Denying(); denying != nil {
		status = denying.Status
	}
	if e.Status != nil && *e.Status != status {
		problems = append(problems, fmt.Sprintf("status: expected %d, got %d", *e.Status, status))
	}
	if marks := got.Marking() != nil; e.MarkFailed != nil && *e.MarkFailed != marks {
		problems = append(problems, fmt.Sprintf("mark_failed: expected %t, got %t", *e.MarkFailed, marks))
	}
	if e.Violations != nil {
		problems = append(problems, diff(*e.Violations, got.Violations)...)
	}
	return problems
}

// diff shows expected and actual violations in the order of the actual ones: "-" is expected and missing, "+"
// came unexpectedly.
func diff(expected []expectedViolation, got []admission.Violation) []string {
	if slices.EqualFunc(expected, got, expectedViolation.matches) {
		return nil
	}
	lines := []string{"violations: - expected, + got"}
	differ := false
	for _, want := range expected {
		if !slices.ContainsFunc(got, want.matches) {
			lines = append(lines, "- "+want.String())
			differ = true
		}
	}
	for _, violation := range got {
		mark := "  "
		if !slices.ContainsFunc(expected, func(want expectedViolation) bool { return want.matches(violation) }) {
			mark, differ = "+ ", true
		}
		lines = append(lines, fmt.Sprintf("%srule: %s, code: %s, reason: %s, severity: %s, enforcement: %s, status: %d, mark_failed: %t",
			mark, violation.Rule, violation.Code, violation.Reason, violation.Severity, violation.Enforcement, violation.Status, violation.MarkFailed))
	}
	if !differ {
		lines = append(lines, "the same violations, in another order or number")
	}
	return lines
}

func (e expectedViolation) matches(got admission.Violation) bool {
	return equal(e.Rule, got.Rule) && equal(e.Code, got.Code) && equal(e.Reason, got.Reason) &&
		equal(e.Message, got.Message) && equal(e.Severity, got.Severity) &&
		equal(e.Enforcement, got.Enforcement) && equal(e.Status, got.Status) && equal(e.MarkFailed, got.MarkFailed)
}

func equal[T comparable](want *T, got T) bool { return want == nil || *want == got }

func (e expectedViolation) String() string {
	text, err := json.Marshal(e, json.OmitZeroStructFields(true))
	if err != nil {
		return errors.Join(err).Error()
	}
	return strings.NewReplacer(`"`, "", "{", "", "}", "", ",", ", ", ":", ": ").Replace(string(text))
}
