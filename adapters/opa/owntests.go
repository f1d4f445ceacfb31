package opa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/tester"
	"sigs.k8s.io/yaml"
)

// ownTestsTimeout bounds what policies may cost before they are live.
const ownTestsTimeout = 2 * time.Minute

// checkOwnTests runs the Rego tests and the case files that lie beside the policies, if there are any. It names
// those that fail in its error, and gives those that did not run.
func checkOwnTests(ctx context.Context, source Source, schema []byte) (skipped []string, err error) {
	hasTests, cases, err := source.ownTests()
	if err != nil {
		return nil, fmt.Errorf("the policies' own tests: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, ownTestsTimeout)
	defer cancel()
	var failed []string
	if hasTests {
		report, err := RunTests(limited, source, source.FS)
		if err != nil {
			return nil, fmt.Errorf("the policies' own tests: %w", err)
		}
		failed, skipped = testNames(report.Failed()), testNames(report.Skipped())
	}
	if len(cases) > 0 {
		results, err := RunCases(limited, source, schema, cases)
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

// ownTests finds what tests there are. A YAML file is a case file if it has cases: a folder of policies may
// hold other YAML too.
func (s Source) ownTests() (hasTests bool, cases []Case, err error) {
	err = fs.WalkDir(s.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case isHidden(entry.Name()) && entry.IsDir():
			return fs.SkipDir
		case isHidden(entry.Name()) || entry.IsDir():
			return nil
		case strings.HasSuffix(name, "_test.rego"):
			hasTests = true
			return nil
		case path.Ext(name) != ".yaml" || isPolicyFile(name):
			return nil
		}
		isCases, err := hasCases(s.FS, name)
		if err != nil || !isCases {
			return err
		}
		found, err := LoadCases(s.FS, name)
		cases = append(cases, found...)
		return err
	})
	return hasTests, cases, err
}

func hasCases(fsys fs.FS, name string) (bool, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return false, err
	}
	var document map[string]any
	if yaml.Unmarshal(text, &document) != nil {
		return false, nil // another program's file, perhaps of several documents
	}
	_, found := document["cases"]
	return found, nil
}
