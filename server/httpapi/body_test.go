package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestReviewKeepsNoPartOfItsBodyBuffer(t *testing.T) {
	var mutex sync.Mutex
	reviews := make(map[string]admission.Review)
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		mutex.Lock()
		defer mutex.Unlock()
		reviews[r.UID] = r
		return allow(ctx, r)
	})
	const callers, each = 4, 25
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for i := range each {
				got, err := s.attempt(http.MethodPost, "/v1/admission/register",
					fmt.Sprintf(`{"uid": "%[1]d-%[2]d", "workspace": {"id": "%[3]s", "name": "%[1]d-%[2]d"}}`, caller, i, workspaceID))
				if err != nil || got.status != http.StatusOK {
					t.Errorf("%d: %v", got.status, err)
				}
			}
		})
	}
	calling.Wait()
	require.Len(t, reviews, callers*each)
	for uid, review := range reviews {
		require.Equal(t, fmt.Sprintf(`{"id": "%s", "name": "%s"}`, workspaceID, uid), string(review.Workspace))
		require.Equal(t, uid, review.UID)
	}
}
