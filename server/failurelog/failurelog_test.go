package failurelog

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

type keptCount struct{ kept, lost int }

func (c *keptCount) FailureKept(written bool) {
	if written {
		c.kept++
	} else {
		c.lost++
	}
}
func (*keptCount) Unmasked() {}

// neverRecords fails the test if anything is recorded.
type neverRecords struct{ t *testing.T }

func (r neverRecords) Record(context.Context, admission.Decision) (admission.Decision, error) {
	r.t.Error("a record came after exports had gone by")
	return admission.Decision{}, nil
}

// A record that is too old may belong to a time that was exported already. It is not written, and counted as lost.
func TestFailureLogCountsAnErrorThatIsTooOld(t *testing.T) {
	count := new(keptCount)
	failures := New(neverRecords{t}, count, slog.New(slog.DiscardHandler))
	failures.Failed(admission.FailedReview{}) // of a review that began in the year 1

	failures.drain(t.Context())

	require.Equal(t, keptCount{lost: 1}, *count)
}
