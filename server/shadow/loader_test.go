package shadow_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/shadow"
)

// heldSource gives what it holds, once it is let go.
type heldSource struct {
	letGo     chan struct{}
	candidate *shadow.Candidate
	err       error
}

func (*heldSource) Name() string { return "candidate.tar.gz" }

func (s *heldSource) Candidate(context.Context) (*shadow.Candidate, error) {
	<-s.letGo
	return s.candidate, s.err
}

// What the source has becomes the candidate. If it is refused there is none, and the refusal is shown until the source has a
// good one.
func TestLoaderMakesWhatTheSourceHasTheCandidate(t *testing.T) {
	s := newShadow(t, nil, nil).Shadow
	source := &heldSource{letGo: make(chan struct{}), candidate: &shadow.Candidate{Revision: "first", Source: "candidate.tar.gz"}}
	loader := shadow.NewLoader(s, source, slog.New(slog.DiscardHandler))
	load := func() {
		loader.Load(t.Context())
		source.letGo <- struct{}{}
		loader.Close()
	}

	loader.Load(t.Context())
	require.Nil(t, s.Candidate(), "it is not there yet, and nobody waits for it")
	source.letGo <- struct{}{}
	loader.Close()
	require.Equal(t, "first", s.Candidate().Revision)
	require.Nil(t, loader.Refused())

	source.candidate, source.err = nil, errors.New("rego_parse_error")
	load()
	require.Nil(t, s.Candidate())
	require.ErrorContains(t, loader.Refused().Err, "rego_parse_error")
	require.Equal(t, "candidate.tar.gz", loader.Refused().Source)

	source.err = nil // and has what is live
	load()
	require.Nil(t, s.Candidate())
	require.Nil(t, loader.Refused())

	source.candidate = &shadow.Candidate{Revision: "second"}
	load()
	require.Equal(t, "second", s.Candidate().Revision)
}

// A server without a candidate has nothing to load.
func TestLoaderWithoutASourceLoadsNothing(t *testing.T) {
	s := newShadow(t, nil, nil).Shadow
	loader := shadow.NewLoader(s, nil, slog.New(slog.DiscardHandler))
	loader.Load(t.Context())
	loader.Close()
	require.Nil(t, s.Candidate())
	require.Nil(t, loader.Refused())
}
