package check_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

func TestDiagnoseOrdersProblemsByPlace(t *testing.T) {
	source := opatest.Files(map[string]string{
		"b.rego": "package b\n\nc if d(1)\n\ne if {\n\tf(1)\n}\n", "a.rego": "package a\n\nb if c(1)\n",
	})
	_, err := snapshot.New(t.Context(), source, opatest.Schema(t))
	require.Error(t, err)
	problems := check.Diagnose(fmt.Errorf("loading: %w", err), source.FS)
	require.Equal(t, []check.Problem{
		{File: "a.rego", Row: 3, Column: 6, Code: "rego_type_error", Message: "undefined function c", Line: "b if c(1)"},
		{File: "b.rego", Row: 3, Column: 6, Code: "rego_type_error", Message: "undefined function d", Line: "c if d(1)"},
		{File: "b.rego", Row: 6, Column: 2, Code: "rego_type_error", Message: "undefined function f", Line: "\tf(1)"},
	}, problems)
	require.Empty(t, check.Diagnose(err, nil)[0].Line)
}

func TestDiagnoseTakesErrorsWithoutAPlace(t *testing.T) {
	err := errors.Join(errors.New("one"), fmt.Errorf("two: %w", errors.New("three")))
	require.Equal(t, []check.Problem{{Message: "one"}, {Message: "two: three"}}, check.Diagnose(err, nil))
}

func TestDiagnoseKeepsDetailsOfTypeErrors(t *testing.T) {
	source := opatest.Hook("input.reqest.kind == 1\n" + opatest.SomeEntry)
	_, err := snapshot.New(t.Context(), source, opatest.Schema(t))
	problems := check.Diagnose(err, source.FS)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Message, `want (one of): ["caller_proof"`)
	require.Equal(t, "input.reqest.kind == 1", problems[0].Line)
}
