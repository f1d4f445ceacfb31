package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// ErrUnknownWorkspace says that a workspace to be changed is not stored.
var ErrUnknownWorkspace = errors.New("unknown workspace")

// WorkspaceStore keeps what a registry whose database is not shared tells of its workspaces.
type WorkspaceStore interface {
	PutWorkspace(ctx context.Context, id uuid.UUID, workspace admission.Workspace) error
	DeleteWorkspace(ctx context.Context, id uuid.UUID) error
}

// SecretKeyStore keeps the names of a workspace's secrets. A value never reaches it. Putting a key of a
// workspace that is not stored is ErrUnknownWorkspace.
type SecretKeyStore interface {
	PutSecretKey(ctx context.Context, id uuid.UUID, key string) error
	DeleteSecretKey(ctx context.Context, id uuid.UUID, key string) error
}

const maxSecretKeyLength = 255

var (
	workspaceKinds    = []string{"workspace", "platform"}
	workspaceStatuses = []string{
		"provisioning", "online", "offline", "degraded", "failed", "removed", "paused", "hibernated", "awaiting_agent",
	}
)

// putWorkspace serves PUT /v1/workspaces/{id}: the whole of what is known, replacing what was.
func (s *Server) putWorkspace(w http.ResponseWriter, r *http.Request) error {
	id, err := s.workspaceID(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r, s.options.MaxBodyBytes)
	if err != nil {
		return err
	}
	workspace := admission.Workspace{Kind: "workspace", DeliveryMode: "push"}
	err = decode.Strict(body, &workspace, s.options.MaxDepth)
	if err != nil {
		return err
	}
	if !slices.Contains(workspaceKinds, workspace.Kind) {
		return admission.Malformed("kind is not workspace or platform")
	}
	if workspace.Status != nil && !slices.Contains(workspaceStatuses, *workspace.Status) {
		return admission.Malformed("status is not one of the registry's")
	}
	return s.changed(w, s.options.Workspaces.PutWorkspace(r.Context(), id, workspace))
}

// deleteWorkspace serves DELETE /v1/workspaces/{id}: Gatehouse forgets the workspace. One that is gone from
// the registry but must not come back is put with status removed instead.
func (s *Server) deleteWorkspace(w http.ResponseWriter, r *http.Request) error {
	id, err := s.workspaceID(r)
	if err != nil {
		return err
	}
	return s.changed(w, s.options.Workspaces.DeleteWorkspace(r.Context(), id))
}

// putSecretKey serves PUT /v1/workspaces/{id}/secrets/{key}. It takes no body: a registry that sends a
// value by mistake hears of it, and the value is not read.
func (s *Server) putSecretKey(w http.ResponseWriter, r *http.Request) error {
	id, key, err := s.secretKey(r)
	if err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return admission.Malformed("this request takes no body: values of secrets are not kept")
	}
	return s.changed(w, s.options.SecretKeys.PutSecretKey(r.Context(), id, key))
}

func (s *Server) deleteSecretKey(w http.ResponseWriter, r *http.Request) error {
	id, key, err := s.secretKey(r)
	if err != nil {
		return err
	}
	return s.changed(w, s.options.SecretKeys.DeleteSecretKey(r.Context(), id, key))
}

func (s *Server) workspaceID(r *http.Request) (uuid.UUID, error) {
	if s.options.Workspaces == nil {
		return uuid.Nil, &admission.Error{
			Code: admission.CodeForbidden, Detail: "the facts are in the registry's own database; Gatehouse does not write them",
		}
	}
	text, err := pathValue(r, "id")
	if err != nil {
		return uuid.Nil, admission.Malformed("the workspace id in the path is not text")
	}
	id, err := decode.ParseWorkspaceID(text)
	if err != nil {
		return uuid.Nil, admission.Malformed("the workspace id in the path is not a UUID")
	}
	return id, nil
}

func (s *Server) secretKey(r *http.Request) (uuid.UUID, string, error) {
	id, err := s.workspaceID(r)
	if err != nil {
		return uuid.Nil, "", err
	}
	key, err := pathValue(r, "key")
	if err != nil || key == "" || len(key) > maxSecretKeyLength {
		return uuid.Nil, "", admission.Malformed(fmt.Sprintf("the secret's name in the path is empty, longer than %d bytes or not UTF-8 text", maxSecretKeyLength))
	}
	return id, key, nil
}

// changed keeps an error that already has a code, such as of a value that the store cannot hold.
func (s *Server) changed(w http.ResponseWriter, err error) error {
	var coded *admission.Error
	switch {
	case errors.As(err, &coded):
		return coded
	case errors.Is(err, ErrUnknownWorkspace):
		return &admission.Error{Code: admission.CodeNotFound, Detail: "no such workspace"}
	case err != nil:
		return &admission.Error{Code: admission.CodeRecordFailed, Detail: "the change could not be stored", Err: err}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
