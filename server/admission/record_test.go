package admission_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestDecisionIDsAreOrderedByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC()
		id, err := admission.NewDecisionID(at)
		require.NoError(t, err)
		require.EqualValues(t, 7, id.Version())
		require.Equal(t, uuid.RFC4122, id.Variant())

		first, next := admission.FirstDecisionID(at), admission.FirstDecisionID(at.Add(time.Millisecond))
		require.LessOrEqual(t, bytes.Compare(first[:], id[:]), 0)
		require.Negative(t, bytes.Compare(id[:], next[:]))
	})
}

func TestOverlaps(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"/input", "/input/request/url", true},
		{"/input/request/url", "/input/request/url", true},
		{"/input/request/url", "/input/request/url_2", false},
		{"/input/request/a", "/input/request/b", false},
	} {
		require.Equal(t, test.want, admission.Overlaps(test.a, test.b), test)
		require.Equal(t, test.want, admission.Overlaps(test.b, test.a), test)
	}
}

func TestReadInput(t *testing.T) {
	in := admission.NewInput(review(t, register), facts(t, platformRow, "MODEL"), admission.Deployment{SaaS: true})
	text, err := in.JSON()
	require.NoError(t, err)
	read, err := admission.ReadInput(text)
	require.NoError(t, err)
	again, err := read.JSON()
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))
	require.Equal(t, in.Facts.SecretKeys, read.Facts.SecretKeys)

	for _, broken := range []string{"null", "{}", `{"hook": 1}`, `{"hook": "register", "unknown": 1}`, ""} {
		_, err = admission.ReadInput([]byte(broken))
		require.Error(t, err, broken)
	}
}

func TestGateErasesAnInputThatCannotBeMasked(t *testing.T) {
	f := newFixture(t)
	f.rules.mask = func(admission.Decision) error { return errors.New("the mask is undefined") }
	decision, err := f.review(t.Context(), t, review(t, register))
	require.Nil(t, err)
	require.True(t, decision.MarkedFailed)
	require.Equal(t, "null", string(decision.Input))
	require.Equal(t, admission.ErasedWhole(), decision.Redaction)
	require.Equal(t, "r1", decision.Verdict.Revision)
	require.EqualError(t, f.observer.outcomes[0].Unmasked, "the mask is undefined")
	require.Equal(t, []admission.Decision{decision}, f.ledger.decisions)
}

func TestGateRecordsFailuresWithWhatWasKnown(t *testing.T) {
	f := newFixture(t)
	f.rules.evaluate = nil
	f.gate.Facts = factsFunc(func(context.Context, uuid.UUID) (admission.Facts, error) { return admission.Facts{}, failing("") })
	_, err := f.review(t.Context(), t, review(t, named("r-1")))
	require.Equal(t, admission.CodeFactsUnavailable, err.Code)
	require.Len(t, f.failures, 1)
	failed := f.failures[0]
	require.Equal(t, &admission.Failure{Code: err.Code, Detail: err.Detail}, failed.Failed)
	require.NotContains(t, failed.Failed.Detail, "10.0.0.7", "what lies behind an error is for the log")
	require.Equal(t, "r-1", failed.UID)
	require.Contains(t, string(failed.Input), `"workspace":null`, "no facts are not the facts of a workspace that does not exist")
	require.Equal(t, "facts_unavailable", failed.Code())
}

// Masking may run on another goroutine than the request's, where a panic would end the process. It must only cost the record
// its input, as any other error of masking does.
func TestGateErasesAnInputWhoseMaskingPanics(t *testing.T) {
	f := newFixture(t)
	f.rules.mask = func(admission.Decision) error { panic("index out of range") }
	changed := facts(t, `{"kind": "platform", "status": "provisioning"}`)
	for _, row := range []*admission.Facts{nil, &changed} { // judged once, and judged again
		f.ledger.row = row
		decision, err := f.review(t.Context(), t, review(t, register))
		require.Nil(t, err)
		require.True(t, decision.MarkedFailed)
		require.Equal(t, "null", string(decision.Input))
		require.Equal(t, admission.ErasedWhole(), decision.Redaction)
		require.Equal(t, "r1", decision.Verdict.Revision)
	}
	require.ErrorContains(t, f.observer.outcomes[1].Unmasked, "masking panicked: index out of range")

	f.gate.Facts = factsFunc(func(context.Context, uuid.UUID) (admission.Facts, error) { return admission.Facts{}, failing("") })
	_, err := f.review(t.Context(), t, review(t, register))
	require.NotNil(t, err)
	require.Equal(t, "null", string(f.failures[0].Input))
}
