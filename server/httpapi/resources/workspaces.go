package resources

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
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

// Workspaces serves the facts that a registry tells.
type Workspaces struct {
	Respond    *respond.Responder
	Store      WorkspaceStore // nil where facts are in the registry's own database
	SecretKeys SecretKeyStore // nil likewise
}

// Put serves PUT /v1/workspaces/{id}: the whole of what is known, replacing what was.
func (h Workspaces) Put(w http.ResponseWriter, r *http.Request) error {
	id, err := h.workspaceID(r)
	if err != nil {
		return err
	}
	workspace := admission.Workspace{Kind: "workspace", DeliveryMode: "push"}
	err = h.Respond.DecodeStrict(w, r, h.Respond.Limits.Body, &workspace)
	if err != nil {
		return err
	}
	if !slices.Contains(workspaceKinds, workspace.Kind) {
		return admission.Malformed("kind is not workspace or platform")
	}
	if workspace.Status != nil && !slices.Contains(workspaceStatuses, *workspace.Status) {
		return admission.Malformed("status is not one of the registry's")
	}
	return h.changed(w, h.Store.PutWorkspace(r.Context(), id, workspace))
}

// Delete serves DELETE /v1/workspaces/{id}: Gatehouse forgets the workspace. One that is gone from
// the registry but must not come back is put with status removed instead.
func (h Workspaces) Delete(w http.ResponseWriter, r *http.Request) error {
	id, err := h.workspaceID(r)
	if err != nil {
		return err
	}
	return h.changed(w, h.Store.DeleteWorkspace(r.Context(), id))
}

// PutSecretKey serves PUT /v1/workspaces/{id}/secrets/{key}. It takes no body: a registry that sends a
// value by mistake hears of it, and the value is not read.
func (h Workspaces) PutSecretKey(w http.ResponseWriter, r *http.Request) error {
	id, key, err := h.secretKey(r)
	if err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return admission.Malformed("this request takes no body: values of secrets are not kept")
	}
	return h.changed(w, h.SecretKeys.PutSecretKey(r.Context(), id, key))
}

func (h Workspaces) DeleteSecretKey(w http.ResponseWriter, r *http.Request) error {
	id, key, err := h.secretKey(r)
	if err != nil {
		return err
	}
	return h.changed(w, h.SecretKeys.DeleteSecretKey(r.Context(), id, key))
}

func (h Workspaces) workspaceID(r *http.Request) (uuid.UUID, error) {
	if h.Store == nil {
		return uuid.Nil, &admission.Error{
			Code: admission.CodeForbidden, Detail: "the facts are in the registry's own database; Gatehouse does not write them",
		}
	}
	text, err := respond.PathValue(r, "id")
	if err != nil {
		return uuid.Nil, admission.Malformed("the workspace id in the path is not text")
	}
	id, err := decode.ParseWorkspaceID(text)
	if err != nil {
		return uuid.Nil, admission.Malformed("the workspace id in the path is not a UUID")
	}
	return id, nil
}

func (h Workspaces) secretKey(r *http.Request) (uuid.UUID, string, error) {
	id, err := h.workspaceID(r)
	if err != nil {
		return uuid.Nil, "", err
	}
	key, err := respond.PathValue(r, "key")
	if err != nil || key == "" || len(key) > maxSecretKeyLength {
		return uuid.Nil, "", admission.Malformed(fmt.Sprintf("the secret's name in the path is empty, longer than %d bytes or not UTF-8 text", maxSecretKeyLength))
	}
	return id, key, nil
}

// changed keeps an error that already has a code, such as of a value that the store cannot hold.
func (h Workspaces) changed(w http.ResponseWriter, err error) error {
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
