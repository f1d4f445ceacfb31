package casetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// ownTestsTimeout bounds what policies may cost before they are live.
const ownTestsTimeout = 2 * time.Minute

// RunOwn runs the Rego tests and the case files that lie beside the policies, if there are any. It names
// those that fail in its error, and gives those that did not run.
func RunOwn(ctx context.Context, loaded snapshot.Contents, schema []byte) (skipped []string, err error) {
	cases, err := readCases(loaded.Files.Cases)
	if err != nil {
		return nil, fmt.Errorf("the policies' own tests: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, ownTestsTimeout)
	defer cancel()
	var failed []string
	if len(loaded.Files.Tests) > 0 {
		report := Report{}
		report.Results, err = runRegoTests(limited, loaded, nil, cover.New(), Options{})
		if err != nil {
			return nil, fmt.Errorf("the policies' own tests: %w", err)
		}
		failed, skipped = testNames(report.Failed()), testNames(report.Skipped())
	}
	if len(cases) > 0 {
		results, err := runCases(limited, loaded, schema, cases)
		if err != nil {
			return nil, fmt.Errorf("the policies' own cases: %w", err)
		}
		for _, result := range results {
			if len(result.Problems) > 0 {
				failed = append(failed, fmt.Sprintf("%s: %s", result.Case.File, result.Case.Name))
			}
		}
	}
	if limited.Err() != nil {
		return nil, fmt.Errorf("the policies' own tests did not end in %s", ownTestsTimeout)
	}
	if len(failed) > 0 {
		return nil, errors.New("the policies' own tests fail: " + strings.Join(failed, "; "))
	}
	return skipped, nil
}

func testNames(results []*tester.Result) []string {
	var names []string
	for _, result := range results {
		names = append(names, result.Package+"."+result.Name)
	}
	return names
}
