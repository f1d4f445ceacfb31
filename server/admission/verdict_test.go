package admission_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestNewVerdictOrdersViolations(t *testing.T) {
	ordered := []admission.Violation{
		{Severity: admission.Critical, Code: "Z", Reason: "z"},
		{Severity: admission.High, Code: "A", Reason: "a"},
		{Severity: admission.High, Code: "B", Reason: "a", Rule: "z"},
		{Severity: admission.High, Code: "B", Reason: "b", Rule: "a", Message: "z"},
		{Severity: admission.High, Code: "B", Reason: "b", Rule: "b", Message: "a"},
		{Severity: admission.High, Code: "B", Reason: "b", Rule: "b", Message: "b"},
		{Severity: admission.Medium, Code: "A"},
		{Severity: admission.Low, Code: "A"},
	}
	rapid.Check(t, func(t *rapid.T) {
		shuffled := rapid.Permutation(ordered).Draw(t, "violations")
		got := admission.NewVerdict(slices.Clone(shuffled), "r1")
		require.Equal(t, ordered, got.Violations)
		require.Equal(t, "r1", got.Revision)
	})
}

func TestVerdictAllowed(t *testing.T) {
	deny := admission.Violation{Code: "D", Severity: admission.Low, Enforcement: admission.Deny}
	marks := admission.Violation{Code: "M", Severity: admission.Medium, Enforcement: admission.Deny, MarkFailed: true}
	grave := admission.Violation{Code: "G", Severity: admission.High, Enforcement: admission.Deny}
	warn := admission.Violation{Code: "W", Severity: admission.Critical, Enforcement: admission.Warn, MarkFailed: true}
	audit := admission.Violation{Code: "A", Severity: admission.Critical, Enforcement: admission.Audit, MarkFailed: true}

	for name, test := range map[string]struct {
		violations       []admission.Violation
		denying, marking string // codes
	}{
		"nothing":                          {nil, "", ""},
		"a warning":                        {[]admission.Violation{warn}, "", ""},
		"an audit entry":                   {[]admission.Violation{audit}, "", ""},
		"a deny":                           {[]admission.Violation{deny}, "D", ""},
		"a deny under graver warnings":     {[]admission.Violation{warn, audit, deny}, "D", ""},
		"a deny that marks":                {[]admission.Violation{marks}, "M", "M"},
		"the graver deny gives the answer": {[]admission.Violation{deny, marks, grave}, "G", "M"},
	} {
		t.Run(name, func(t *testing.T) {
			got := admission.NewVerdict(test.violations, "r1")
			require.Equal(t, test.denying == "", got.Allowed())
			require.Equal(t, test.denying, codeOf(got.Denying()))
			require.Equal(t, test.marking, codeOf(got.Marking()))
		})
	}
}

func codeOf(violation *admission.Violation) string {
	if violation == nil {
		return ""
	}
	return violation.Code
}

func TestSeverityAndEnforcementKnown(t *testing.T) {
	for _, s := range []admission.Severity{"critical", "high", "medium", "low"} {
		require.True(t, s.Known())
	}
	for _, e := range []admission.Enforcement{"deny", "warn", "audit"} {
		require.True(t, e.Known())
	}
	for _, text := range []string{"", "Critical", "none", "Deny", "allow"} {
		require.False(t, admission.Severity(text).Known())
		require.False(t, admission.Enforcement(text).Known())
	}
}
