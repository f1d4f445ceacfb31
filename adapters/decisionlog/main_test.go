package decisionlog_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// at is when all test decisions were made, but for what a test adds.
func at() time.Time { return time.Date(2026, 4, 1, 12, 0, 0, 123456000, time.UTC) }

// allowed is an allow of a workspace.
func allowed(t testing.TB) admission.Decision {
	t.Helper()
	id, err := admission.NewDecisionID(at())
	require.NoError(t, err)
	return admission.Decision{
		ID: id, At: at(), UID: "u-1", Hook: "register", Caller: "eu", CallerProof: admission.Token,
		WorkspaceID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), Kind: "workspace",
		Input:   []byte(`{"hook":"register","request":{"n":12345678901234567890,"name":"ü"}}`),
		Verdict: admission.NewVerdict(nil, "sha256:0011"),
		Timings: admission.Timings{Facts: 412 * time.Microsecond, Policy: 96 * time.Microsecond},
	}
}

// denied is a deny that marked, of an input that was masked.
func denied(t testing.TB) admission.Decision {
	t.Helper()
	d := allowed(t)
	d.Kind = "platform"
	d.Redaction = admission.Redaction{Erased: []string{"/input/request/agent_card"}, Masked: []string{"/input/request/name"}}
	d.Verdict = admission.NewVerdict([]admission.Violation{
		{Rule: "tier", Code: "TIER", Reason: "tier", Message: "The tier.", Severity: admission.Low, Enforcement: admission.Audit, Status: 400},
		{
			Rule: "model", Code: "GATE", Reason: "model_missing", Message: "No MODEL,\n\"really\".", Severity: admission.Critical,
			Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		},
	}, "sha256:0011")
	require.NoError(t, d.Mark())
	return d
}

// failed is an error that was answered, with an input of which nothing is kept.
func failed(t testing.TB) admission.Decision {
	t.Helper()
	d := allowed(t)
	d.UID, d.Caller, d.Input, d.Redaction = "", "", []byte("null"), admission.ErasedWhole()
	d.Failed = &admission.Failure{Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read"}
	return d
}
