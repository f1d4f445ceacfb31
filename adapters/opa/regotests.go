package opa

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestReport is what the Rego tests beside the policies said.
type TestReport struct {
	Results  []*tester.Result
	Coverage float64  // of the policies' lines, in percent
	Missed   []string // file:row of lines that no test reached
}

// RunTests runs the _test.rego files of the policies and of tests through OPA's own tester, on the policies
// as they are written. Builtin errors fail a test, as they fail a review.
func RunTests(ctx context.Context, source Source, tests fs.FS) (TestReport, error) {
	loaded, err := source.load(capabilities())
	if err != nil {
		return TestReport{}, err
	}
	modules := make(map[string]*ast.Module)
	for _, fsys := range []fs.FS{source.FS, tests} {
		err := loadTests(fsys, modules)
		if err != nil {
			return TestReport{}, err
		}
	}
	for name, module := range loaded.modules {
		modules[name] = module
	}

	coverage := cover.New()
	store := inmem.NewFromObject(loaded.data)
	runner := tester.NewRunner().SetStore(store).SetModules(modules).RaiseBuiltinErrors(true).
		SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1)).
		SetCoverageQueryTracer(coverage)
	var report TestReport
	err = storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		results, err := runner.RunTests(ctx, txn)
		if err != nil {
			return err
		}
		for result := range results {
			report.Results = append(report.Results, result)
		}
		return nil
	})
	if err != nil {
		return TestReport{}, err
	}
	report.count(coverage, loaded.modules)
	return report, nil
}

func loadTests(fsys fs.FS, into map[string]*ast.Module) error {
	loaded, err := loader.NewFileLoader().WithFS(fsys).WithProcessAnnotation(true).WithRegoVersion(ast.RegoV1).
		Filtered([]string{"."}, func(abs string, info fs.FileInfo, _ int) bool {
			return isHidden(info.Name()) || !info.IsDir() && !strings.HasSuffix(abs, "_test.rego")
		})
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

// count takes the coverage of the policies alone: lines of tests are always covered.
func (r *TestReport) count(coverage *cover.Cover, policies map[string]*ast.Module) {
	covered, missed := 0, 0
	files := coverage.Report(policies).Files
	for _, file := range sortedKeys(files) {
		if _, isPolicy := policies[file]; !isPolicy {
			continue
		}
		report := files[file]
		covered += report.CoveredLines
		missed += report.NotCoveredLines
		for _, row := range rowsOf(report.NotCovered) {
			r.Missed = append(r.Missed, fmt.Sprintf("%s:%d", file, row))
		}
	}
	if covered+missed > 0 {
		r.Coverage = 100 * float64(covered) / float64(covered+missed)
	}
}

// rowsOf gives the rows that ranges touch; ranges of nested expressions overlap.
func rowsOf(ranges []cover.Range) []int {
	rows := make(map[int]bool)
	for _, lines := range ranges {
		for row := lines.Start.Row; row <= lines.End.Row; row++ {
			rows[row] = true
		}
	}
	return sortedKeys(rows)
}

// Failed are the results that are no pass.
func (r TestReport) Failed() []*tester.Result {
	var failed []*tester.Result
	for _, result := range r.Results {
		if !result.Pass() {
			failed = append(failed, result)
		}
	}
	return failed
}
