package flags

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// WithDecisions opens the store that the flags name, to read it.
func (f Database) WithDecisions(ctx context.Context, do func(DecisionStore) error) error {
	store, closeStore, err := f.Records(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(store), closeStore())
}

// FactsStore say where the facts of a live store are.
type FactsStore struct {
	DatabaseURL    string `type:"secret" name:"database-url" help:"postgres://… of the registry's database, or sqlite:PATH of a file of Gatehouse's own." default:"sqlite:data/gatehouse.db"`
	FactsQueryFile string `help:"SQL that looks up the facts, instead of Gatehouse's own." placeholder:"FILE"`
}

// factsTimeout is patience for a person at a terminal, not for a request.
const factsTimeout = 10 * time.Second

// StoredFacts reads the live store and changes nothing in it: no tables are made.
func (f FactsStore) StoredFacts(ctx context.Context, id uuid.UUID) (admission.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	database := Database{DatabaseURL: f.DatabaseURL}
	err := database.CheckURL()
	if err != nil {
		return admission.Facts{}, err
	}
	query := ""
	if f.FactsQueryFile != "" {
		text, err := os.ReadFile(f.FactsQueryFile)
		if err != nil {
			return admission.Facts{}, fmt.Errorf("--facts-query-file: %w", err)
		}
		query = string(text)
	}
	path, isSQLite := database.SQLitePath()
	if !isSQLite {
		store, err := postgres.Open(ctx, postgres.Options{URL: f.DatabaseURL, MaxConns: 1, FactsQuery: query, Timeout: factsTimeout})
		if err != nil {
			return admission.Facts{}, err
		}
		defer store.Close()
		return store.Facts(ctx, id)
	}
	_, err = os.Stat(path) // opening would make the file
	if err != nil {
		return admission.Facts{}, fmt.Errorf("--database-url: %w", err)
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, FactsQuery: query})
	if err != nil {
		return admission.Facts{}, err
	}
	facts, err := store.Facts(ctx, id)
	return facts, errors.Join(err, store.Close())
}

// Records opens the decisions of the database. Nothing in it is changed: no tables are made.
func (f Database) Records(ctx context.Context) (DecisionStore, func() error, error) {
	err := f.CheckURL()
	if err != nil {
		return nil, nil, err
	}
	path, isSQLite := f.SQLitePath()
	if !isSQLite {
		store, err := postgres.Open(ctx, postgres.Options{URL: f.DatabaseURL, MaxConns: f.DatabaseMaxConns})
		if err != nil {
			return nil, nil, err
		}
		return store, func() error { store.Close(); return nil }, nil
	}
	_, err = os.Stat(strings.TrimPrefix(path, "file:")) // opening would make the file
	if err != nil {
		return nil, nil, fmt.Errorf("--database-url: %w", err)
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

// Database say where facts and decisions are kept.
type Database struct {
	DatabaseURL      string `type:"secret" name:"database-url" help:"postgres://… of the registry's database, or sqlite:PATH of a file of Gatehouse's own." default:"sqlite:data/gatehouse.db"`
	DatabaseMaxConns int32  `help:"Connections to Postgres." default:"16"`
}

// SQLitePath gives the path of a sqlite: URL.
func (f Database) SQLitePath() (string, bool) {
	return strings.CutPrefix(f.DatabaseURL, "sqlite:")
}

func (f Database) CheckURL() error {
	_, isSQLite := f.SQLitePath()
	isPostgres := strings.HasPrefix(f.DatabaseURL, "postgres://") || strings.HasPrefix(f.DatabaseURL, "postgresql://")
	if !isSQLite && !isPostgres {
		return errors.New("--database-url is neither postgres://… nor sqlite:PATH")
	}
	return nil
}
