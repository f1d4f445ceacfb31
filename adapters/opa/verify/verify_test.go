package verify_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// verified counts the results of decisions that were made a second time.
type verified struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (v *verified) Verified(result string) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.counts == nil {
		v.counts = make(map[string]int)
	}
	v.counts[result]++
}

func (v *verified) of(result string) int {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return v.counts[result]
}

// held are live policies whose reference evaluation waits.
type held struct{ begun, release chan struct{} }

func (h held) Reference(string) admission.Evaluable { return h }

func (held) Distrust(string, uuid.UUID, []string) {}

func (h held) Evaluate(ctx context.Context, _ admission.Input, _ time.Time) (admission.Verdict, error) {
	select {
	case h.begun <- struct{}{}:
	case <-ctx.Done():
	}
	select {
	case <-h.release:
		return admission.Verdict{}, nil
	case <-ctx.Done():
		return admission.Verdict{}, ctx.Err()
	}
}

// No review waits for the verifier: if its queue is full, reviews are dropped and counted. When the server stops, the
// evaluation under way is cancelled before Close returns.
func TestVerifierHoldsUpNoReviewAndNoShutdown(t *testing.T) {
	policies := held{begun: make(chan struct{}), release: make(chan struct{})}
	meter := &verified{}
	verifier := verify.New(verify.Options{Policies: policies, Meter: meter, Logger: slog.New(slog.DiscardHandler), Share: 1, Queue: 2})
	answered := admission.Outcome{}
	verifier.Reviewed(t.Context(), answered)
	<-policies.begun
	for range 5 {
		verifier.Reviewed(t.Context(), answered)
	}
	require.Equal(t, 3, meter.of(verify.Dropped), "two wait")
	policies.release <- struct{}{}
	<-policies.begun
	verifier.Close()
	require.Equal(t, 5, meter.of(verify.Dropped))
	require.Equal(t, 1, meter.of(verify.Same))
	require.Zero(t, meter.of(verify.Failed)+meter.of(verify.Disagreed))
}

// Only decisions that policies made just now are picked, and no more of them than the share.
func TestVerifierTakesAShareOfNewDecisions(t *testing.T) {
	policies := held{begun: make(chan struct{}), release: make(chan struct{})}
	close(policies.release)
	for name, test := range map[string]struct {
		share   float64
		outcome admission.Outcome
	}{
		"none":            {0, admission.Outcome{}},
		"an error":        {1, admission.Outcome{Err: &admission.Error{}}},
		"a repeated uid":  {1, admission.Outcome{Repeated: true}},
		"next to nothing": {1e-300, admission.Outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			meter := &verified{}
			verifier := verify.New(verify.Options{Policies: policies, Meter: meter, Logger: slog.New(slog.DiscardHandler), Share: test.share})
			verifier.Reviewed(t.Context(), test.outcome)
			verifier.Close()
			require.Empty(t, meter.counts)
		})
	}
}
