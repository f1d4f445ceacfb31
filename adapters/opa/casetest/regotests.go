package casetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Report is what the tests of policies said.
type Report struct {
	Results  []*tester.Result // of Rego tests
	Cases    []CaseResult
	Coverage float64 // of the policies' lines, in percent
	Files    []admission.FileCoverage
	Missed   []string // file:row of lines that no test reached
}

// Options narrow a run.
type Options struct {
	Run     *regexp.Regexp // Rego tests by package and name, cases by file and name; nil: all
	Explain bool           // evaluate Rego tests that fail once more, for their Trace
}

func (o Options) runs(name string) bool { return o.Run == nil || o.Run.MatchString(name) }

// Run runs the _test.rego files of the policies and of tests through OPA's own tester, on the policies as they are written,
// and the case files of tests. Builtin errors fail a test, as they fail a review. Lines that either reach are covered.
func Run(ctx context.Context, source snapshot.Source, tests fs.FS, schema []byte, options Options) (Report, error) {
	files, err := check.Read(tests, check.Limits{})
	if err != nil {
		return Report{}, err
	}
	cases, err := readCases(files.Cases)
	if err != nil {
		return Report{}, err
	}
	cases = slices.DeleteFunc(cases, func(one Case) bool { return !options.runs(one.File + ": " + one.Name) })
	loaded, err := source.Read()
	if err != nil {
		return Report{}, err
	}
	coverage := cover.New()
	var report Report
	report.Cases, err = runCases(ctx, loaded, schema, cases, snapshot.TracedBy(coverage))
	if err != nil {
		return Report{}, err
	}
	report.Results, err = runRegoTests(ctx, loaded, files.Tests, coverage, options)
	if err != nil {
		return Report{}, err
	}
	report.count(coverage, loaded.Modules)
	return report, nil
}

func runRegoTests(
	ctx context.Context, loaded snapshot.Contents, tests map[string][]byte, coverage *cover.Cover, options Options,
) ([]*tester.Result, error) {
	modules := make(map[string]*ast.Module)
	for _, files := range []map[string][]byte{loaded.Files.Tests, tests} {
		err := errors.Join(check.Tests(files, loaded.Modules), loadTests(files, modules))
		if err != nil {
			return nil, err
		}
	}
	for name, module := range loaded.Modules {
		modules[name] = module
	}
	filter := ""
	if options.Run != nil {
		filter = options.Run.String()
	}
	results, err := runTester(ctx, loaded.Data, modules, filter, func(runner *tester.Runner) { runner.SetCoverageQueryTracer(coverage) })
	if err != nil || !options.Explain {
		return results, err
	}
	return results, traceFailed(ctx, loaded.Data, modules, results)
}

func runTester(
	ctx context.Context, data map[string]any, modules map[string]*ast.Module, filter string, prepare func(*tester.Runner),
) ([]*tester.Result, error) {
	store := inmem.NewFromObject(data)
	runner := tester.NewRunner().SetStore(store).SetModules(modules).RaiseBuiltinErrors(true).Filter(filter).
		SetCompiler(ast.NewCompiler().WithCapabilities(regoval.Capabilities()).WithDefaultRegoVersion(ast.RegoV1).WithEnablePrintStatements(true))
	prepare(runner)
	var all []*tester.Result
	err := storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		results, err := runner.RunTests(ctx, txn)
		if err != nil {
			return err
		}
		for result := range results {
			all = append(all, result)
		}
		return nil
	})
	return all, err
}

// traceFailed gives failed results their trace. It runs those tests once more, because a trace costs more than the test.
func traceFailed(ctx context.Context, data map[string]any, modules map[string]*ast.Module, results []*tester.Result) error {
	failed := make(map[string]*tester.Result)
	var names []string
	for _, result := range results {
		if result.Fail {
			name := result.Package + "." + result.Name
			failed[name] = result
			names = append(names, "^"+regexp.QuoteMeta(name)+"$")
		}
	}
	if len(names) == 0 {
		return nil
	}
	traced, err := runTester(ctx, data, modules, strings.Join(names, "|"), func(runner *tester.Runner) { runner.EnableTracing(true) })
	for _, result := range traced {
		if original := failed[result.Package+"."+result.Name]; original != nil {
			original.Trace, original.SubResults = result.Trace, result.SubResults
		}
	}
	return err
}

func loadTests(files map[string][]byte, into map[string]*ast.Module) error {
	loaded, err := loader.NewFileLoader().WithFS(check.InMemory(files)).WithProcessAnnotation(true).WithRegoVersion(ast.RegoV1).All([]string{"."})
	if err != nil {
		return err
	}
	for name, module := range loaded.ParsedModules() {
		// The same file again is the same tests; another one of that name must not replace them.
		other, seen := into[name]
		if seen && !other.Equal(module) {
			name = "tests/" + name
		}
		into[name] = module
	}
	return nil
}

// count takes the coverage of the policies only: lines of tests are always covered.
func (r *Report) count(coverage *cover.Cover, policies map[string]*ast.Module) {
	covered, missed := 0, 0
	r.Files = explain.Files(coverage, policies)
	files := coverage.Report(policies).Files
	for _, one := range r.Files {
		covered += files[one.File].CoveredLines
		missed += files[one.File].NotCoveredLines
		for _, row := range one.Missed {
			r.Missed = append(r.Missed, fmt.Sprintf("%s:%d", one.File, row))
		}
	}
	r.Coverage = explain.Percent(covered, missed)
}

// Failed are the results of tests that ran and did not pass.
func (r Report) Failed() []*tester.Result {
	return selected(r.Results, func(result *tester.Result) bool { return !result.Pass() && !result.Skip })
}

// Skipped are the tests that did not run, because their author called them todo_test_….
func (r Report) Skipped() []*tester.Result {
	return selected(r.Results, func(result *tester.Result) bool { return result.Skip })
}

func selected(results []*tester.Result, is func(*tester.Result) bool) []*tester.Result {
	return slices.DeleteFunc(slices.Clone(results), func(result *tester.Result) bool { return !is(result) })
}
