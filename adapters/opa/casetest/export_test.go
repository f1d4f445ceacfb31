package casetest

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// RunCases evaluates cases against the policies of source.
func RunCases(ctx context.Context, source snapshot.Source, schema []byte, cases []Case) ([]CaseResult, error) {
	loaded, err := source.Read()
	if err != nil {
		return nil, err
	}
	return runCases(ctx, loaded, schema, cases)
}
