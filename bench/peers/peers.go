// Package peers are two servers as a registry's team would write them instead of running Gatehouse, with the same six
// rules (bench/policy) and the same answer: one asks OPA and keeps a row of each decision, one has the rules in Go and
// keeps nothing. They are written well: pooled connections that stay open, prepared statements, typed JSON.
package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Flags are those of both.
type Flags struct {
	Listen   string `required:"" help:"Address."`
	Database string `required:"" help:"URL of the registry's Postgres."`
}

// connections to Postgres; as many as a Gatehouse has by default.
const connections = 16

type workspace struct {
	Kind    string  `db:"kind" json:"kind"`
	Status  string  `db:"status" json:"status"`
	Tier    int     `db:"tier" json:"tier"`
	Runtime string  `db:"runtime" json:"runtime"`
	URL     *string `db:"url" json:"url"`
}

type facts struct {
	Exists     bool       `json:"exists"`
	Workspace  *workspace `json:"workspace"`
	SecretKeys []string   `json:"secret_keys"`
}

type registration struct {
	ID           uuid.UUID `json:"id"`
	URL          string    `json:"url"`
	DeliveryMode string    `json:"delivery_mode"`
}

type violation struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

type answer struct {
	Allowed    bool        `json:"allowed"`
	Violations []violation `json:"violations"`
}

func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of Postgres: %w", err)
	}
	config.MaxConns, config.MinConns = connections, connections
	return pgxpool.NewWithConfig(ctx, config) // which prepares each statement once a connection
}

// lookUp asks twice: for the row, and for the names of the secrets.
func lookUp(ctx context.Context, db *pgxpool.Pool, id uuid.UUID) (facts, error) {
	rows, err := db.Query(ctx, `select kind, coalesce(status::text, ''), coalesce(tier, 0), coalesce(runtime, ''), url from workspaces where id = $1`, id)
	if err != nil {
		return facts{}, err
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[workspace])
	if errors.Is(err, pgx.ErrNoRows) {
		return facts{SecretKeys: []string{}}, nil
	}
	if err != nil {
		return facts{}, fmt.Errorf("looking up the workspace: %w", err)
	}
	rows, err = db.Query(ctx, `select key from workspace_secrets where workspace_id = $1`, id)
	if err != nil {
		return facts{}, err
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return facts{}, fmt.Errorf("looking up its secrets: %w", err)
	}
	return facts{Exists: true, Workspace: found, SecretKeys: keys}, nil
}

// serve answers registrations until ctx ends. decide is given the body's workspace, read and as it came.
func serve(ctx context.Context, listen string, decide func(context.Context, registration, json.RawMessage) ([]violation, error)) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/admission/register", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Workspace json.RawMessage `json:"workspace"`
		}
		var registered registration
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = json.Unmarshal(body, &asked)
		}
		if err == nil {
			err = json.Unmarshal(asked.Workspace, &registered)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		violations, err := decide(r.Context(), registered, asked.Workspace)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer{Allowed: len(violations) == 0, Violations: violations}) // the caller may have gone
	})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
