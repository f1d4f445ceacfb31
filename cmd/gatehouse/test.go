package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"gatehouse/adapters/opa"
	policytests "gatehouse/policies_test"
)

type testCommand struct {
	policyFlags
	Tests     string  `help:"Directory of Rego tests and case files; by default the policies' own directory, or the embedded tests." placeholder:"DIR"`
	Threshold float64 `help:"Least coverage of the policies, in percent of lines." default:"95"`
}

// Run runs what there is of tests, and fails when one fails, when there are none, or when too little of the
// policies was reached.
func (c *testCommand) Run(ctx context.Context, to streams) error {
	rego, err := opa.RunTests(ctx, c.source(), c.tests())
	if err != nil {
		printPolicyErrors(to.err, err)
		return errSaid
	}
	cases, err := c.runCases(ctx)
	if err != nil {
		printPolicyErrors(to.err, err)
		return errSaid
	}
	failed := 0
	for _, result := range rego.Failed() {
		failed++
		_, _ = fmt.Fprintf(to.out, "FAIL %s\n", result)
	}
	for _, result := range cases {
		if len(result.Problems) == 0 {
			continue
		}
		failed++
		_, _ = fmt.Fprintf(to.out, "FAIL %s: %s\n", result.Case.File, result.Case.Name)
		for _, problem := range result.Problems {
			_, _ = fmt.Fprintf(to.out, "       %s\n", problem)
		}
	}
	return c.conclude(to, rego, len(cases), failed)
}

func (c *testCommand) conclude(to streams, rego opa.TestReport, cases, failed int) error {
	_, _ = fmt.Fprintf(to.out, "%d Rego tests, %d cases, %d failed; %.1f %% of lines covered\n",
		len(rego.Results), cases, failed, rego.Coverage)
	if len(rego.Results)+cases == 0 {
		return fmt.Errorf("no tests: neither _test.rego files nor case files")
	}
	if rego.Coverage < c.Threshold {
		for _, line := range rego.Missed {
			_, _ = fmt.Fprintf(to.out, "not covered: %s\n", line)
		}
		return fmt.Errorf("coverage %.1f %% is below the threshold of %g %%", rego.Coverage, c.Threshold)
	}
	if failed > 0 {
		return errSaid
	}
	return nil
}

func (c *testCommand) tests() fs.FS {
	switch {
	case c.Tests != "":
		return os.DirFS(c.Tests)
	case c.Policies != "":
		return os.DirFS(c.Policies)
	default:
		return policytests.FS
	}
}

func (c *testCommand) runCases(ctx context.Context) ([]opa.CaseResult, error) {
	schema, err := inputSchema()
	if err != nil {
		return nil, err
	}
	cases, err := opa.LoadCases(c.tests(), ".")
	if err != nil {
		return nil, err
	}
	return opa.RunCases(ctx, c.source(), schema, cases)
}
