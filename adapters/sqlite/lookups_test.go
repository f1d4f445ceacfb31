package sqlite

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestReviewsLookUpWhileListingsHaveAllConnections(t *testing.T) {
	s := openMigrated(t)
	for range s.readers.Stats().MaxOpenConnections {
		held, err := s.readers.Conn(t.Context())
		require.NoError(t, err)
		defer func(c *sql.Conn) { require.NoError(t, c.Close()) }(held)
	}

	facts, err := s.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.False(t, facts.Exists)
	_, err = s.Recorded(t.Context(), admission.RequestKey{UID: "uid"})
	require.ErrorIs(t, err, admission.ErrNotRecorded)
}

func TestALookUpWaitsForAConnectionAsLongAsItsContextLasts(t *testing.T) {
	s := openMigrated(t)
	size := cap(s.lookups.free)
	var lent []*connection
	for range size {
		c, err := s.lookups.take(t.Context())
		require.NoError(t, err)
		lent = append(lent, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := s.Facts(ctx, uuid.New())
	require.ErrorIs(t, err, context.DeadlineExceeded)

	for _, c := range lent {
		s.lookups.free <- c
	}
	_, err = s.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.Len(t, s.lookups.free, size, "every connection came back")
}
