package sqlite_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestPutWorkspaceReplacesAllButSecrets(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	plain := admission.Workspace{Name: "renamed", Kind: "platform", DeliveryMode: "poll"}
	for range 2 {
		require.NoError(t, s.PutWorkspace(t.Context(), concierge, plain))
	}
	facts, err := s.Facts(t.Context(), concierge)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"renamed","kind":"platform","status":null,"tier":null,"runtime":null,"role":null,
		"url":null,"parent_id":null,"workspace_access":null,"workspace_dir":null,"budget_limit":null,
		"monthly_spend":null,"delivery_mode":"poll","last_sample_error":null}`, string(facts.Workspace))
	require.Equal(t, []string{"MODEL"}, facts.SecretKeys)
}

func TestPutWorkspaceRefusesWhatRulesWouldNotRecognise(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	for _, w := range []admission.Workspace{
		{Kind: ""},
		{Kind: "Platform"},
		{Kind: "workspace", Status: new("")},
		{Kind: "workspace", Status: new("Removed")},
	} {
		require.ErrorIs(t, s.PutWorkspace(t.Context(), retired, w), sqlite.ErrInvalid, "%+v", w)
	}
	facts, err := s.Facts(t.Context(), retired)
	require.NoError(t, err)
	require.Contains(t, string(facts.Workspace), `"status":"removed"`)
}

func TestSecretKeys(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	for range 2 {
		require.NoError(t, s.PutSecretKey(t.Context(), modelless, "MODEL "))
		require.NoError(t, s.PutSecretKey(t.Context(), modelless, "model"))
	}
	facts, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	require.Equal(t, []string{"MODEL ", "model"}, facts.SecretKeys)

	for range 2 {
		require.NoError(t, s.DeleteSecretKey(t.Context(), modelless, "model"))
	}
	facts, err = s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	require.Equal(t, []string{"MODEL "}, facts.SecretKeys)
}

func TestUnknownWorkspace(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	unknown := uuid.New()
	require.ErrorIs(t, s.PutSecretKey(t.Context(), unknown, "MODEL"), sqlite.ErrUnknownWorkspace)
	require.ErrorIs(t, s.DeleteSecretKey(t.Context(), unknown, "MODEL"), sqlite.ErrUnknownWorkspace)
	require.ErrorIs(t, s.DeleteWorkspace(t.Context(), unknown), sqlite.ErrUnknownWorkspace)
	failed, err := s.StillFailed(t.Context(), unknown)
	require.NoError(t, err)
	require.False(t, failed)
}

func TestDeleteWorkspaceForgetsItsSecrets(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	require.NoError(t, s.DeleteWorkspace(t.Context(), concierge))
	facts, err := s.Facts(t.Context(), concierge)
	require.NoError(t, err)
	require.False(t, facts.Exists)

	require.NoError(t, s.PutWorkspace(t.Context(), concierge, admission.Workspace{Kind: "platform"}))
	facts, err = s.Facts(t.Context(), concierge)
	require.NoError(t, err)
	require.Empty(t, facts.SecretKeys, "a new workspace under an old id has no secrets")
}

// TestWorkspacesListOnlyWhatTheFactsQueryKnows has a page go on past what an operator's query does not know.
func TestWorkspacesListOnlyWhatTheFactsQueryKnows(t *testing.T) {
	s := openDemo(t, sqlite.Options{FactsQuery: strings.Replace(ownQuery, "id = $1", "id = $1 and status = 'online'", 1)})
	for _, page := range []int{1, 2, 3, 10} {
		var listed []uuid.UUID
		after := uuid.Nil
		for {
			found, err := s.WorkspacesAfter(t.Context(), after, page)
			require.NoError(t, err)
			for _, w := range found {
				facts, err := s.Facts(t.Context(), w.ID)
				require.NoError(t, err)
				require.Equal(t, facts, w.Facts)
				listed = append(listed, w.ID)
				after = w.ID
			}
			if len(found) < page {
				break
			}
		}
		require.Equal(t, []uuid.UUID{researcher, spender}, listed, "in pages of %d", page)
	}
}
