package testenv

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"fmt"

	"github.com/peterldowns/pgtestdb"
)

//go:embed fixtures/registry_base.sql
var registryBaseSQL string

//go:embed fixtures/registry_current.sql
var registryCurrentSQL string

// Fixture names what a test's database holds at first.
type Fixture string

const (
	// Empty holds nothing.
	Empty Fixture = "empty"
	// RegistryBase holds the registry's tables as of April 2026: workspaces have
	// no kind and no delivery_mode.
	RegistryBase Fixture = "registry-base"
	// RegistryCurrent holds the registry's tables with kinds of workspaces.
	RegistryCurrent Fixture = "registry-current"
)

func (f Fixture) statements() (string, error) {
	switch f {
	case Empty:
		return "", nil
	case RegistryBase:
		return registryBaseSQL, nil
	case RegistryCurrent:
		return registryBaseSQL + registryCurrentSQL, nil
	default:
		return "", fmt.Errorf("there is no fixture %q", string(f))
	}
}

// migrator lets pgtestdb make one template database a fixture.
type migrator struct{ fixture Fixture }

var _ pgtestdb.Migrator = migrator{}

func (m migrator) Hash() (string, error) {
	statements, err := m.fixture.statements()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(statements))
	return hex.EncodeToString(sum[:]), nil
}

func (m migrator) Migrate(ctx context.Context, db *sql.DB, _ pgtestdb.Config) error {
	statements, err := m.fixture.statements()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statements)
	return err
}
