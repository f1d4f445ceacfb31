package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

//go:embed demo.yaml
var demoFile []byte

type demoWorkspace struct {
	ID        uuid.UUID           `json:"id"`
	Secrets   []string            `json:"secrets"`
	Workspace admission.Workspace `json:"workspace"`
}

// LoadDemo stores the workspaces of demo.yaml that are not there and says how many those were. What is there
// stays as it is, secrets included: a visitor may have changed it, to see another answer.
func (s *Store) LoadDemo(ctx context.Context) (n int, err error) {
	n, err = s.loadDemo(ctx)
	if err != nil {
		return 0, fmt.Errorf("loading the demo workspaces: %w", connection.Explain(ctx, err))
	}
	return n, nil
}

func (s *Store) loadDemo(ctx context.Context) (n int, err error) {
	demo, err := readDemo()
	if err != nil {
		return 0, err
	}
	err = s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		for _, w := range demo {
			inserted, err := insertDemo(ctx, tx, w)
			if err != nil {
				return err
			}
			if inserted {
				n++
			}
		}
		return nil
	})
	return n, err
}

// readDemo reads YAML by way of JSON, so that the members have the names that the API gives them and a
// misspelt one is an error.
func readDemo() ([]demoWorkspace, error) {
	var plain any
	err := yaml.Unmarshal(demoFile, &plain)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	var demo []demoWorkspace
	err = json.Unmarshal(text, &demo, json.RejectUnknownMembers(true))
	return demo, err
}

func insertDemo(ctx context.Context, tx *sql.Tx, w demoWorkspace) (inserted bool, err error) {
	var stored bool
	err = tx.QueryRowContext(ctx, storedSQL, w.ID.String()).Scan(&stored)
	if err != nil || stored {
		return false, err
	}
	err = putWorkspace(ctx, tx, w.ID, w.Workspace)
	if err != nil {
		return false, err
	}
	for _, key := range w.Secrets {
		err = putSecretKey(ctx, tx, w.ID, key)
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
