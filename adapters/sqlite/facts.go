package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

//go:embed facts.sql
var defaultFactsQuery string

var _ admission.FactsReader = (*Store)(nil)

// Facts reads what is known of a workspace, in one statement. A row that breaks the contract of the facts query
// is an error, never a guess.
func (s *Store) Facts(ctx context.Context, workspaceID uuid.UUID) (admission.Facts, error) {
	var facts admission.Facts
	err := s.file.Lookups.Do(ctx, func(c *connection.Connection) (err error) {
		facts, err = s.askFacts(ctx, c, workspaceID)
		return err
	})
	if err != nil {
		return admission.Facts{}, fmt.Errorf("reading facts: %w", connection.Explain(ctx, err))
	}
	return facts, nil
}

// askFacts lets an operator's query be interrupted, which costs as much as our own query does: that one looks up a
// few rows by their keys, waits for nobody, and is over before anybody would interrupt it.
func (s *Store) askFacts(ctx context.Context, c *connection.Connection, workspaceID uuid.UUID) (admission.Facts, error) {
	query, err := c.Statement(ctx, s.factsQuery)
	if err != nil {
		return admission.Facts{}, err
	}
	if !s.ownFacts {
		ctx = context.WithoutCancel(ctx)
	}
	rows, err := query.QueryContext(ctx, []driver.NamedValue{{Ordinal: 1, Value: workspaceID.String()}})
	return readFacts(&connection.DriverRows{Rows: rows}, err)
}

// rowReader is *sql.Rows or the rows of a connection's own statement.
type rowReader interface {
	Columns() ([]string, error)
	Next() bool
	Scan(places ...any) error
	Err() error
	Close() error
}

// readFacts reads the one row of a facts query that was asked.
func readFacts(rows rowReader, err error) (admission.Facts, error) {
	if err != nil {
		return admission.Facts{}, err
	}
	facts, err := readFactsRow(rows)
	return facts, errors.Join(err, rows.Close())
}

func readFactsRow(rows rowReader) (admission.Facts, error) {
	var row factsRow
	cells, err := row.cells(rows)
	if err != nil {
		return admission.Facts{}, err
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return admission.Facts{}, err
		}
		return admission.Facts{}, errors.New("the facts query gave no row; it must give one for every workspace, known or not")
	}
	err = rows.Scan(cells...)
	if err != nil {
		return admission.Facts{}, err
	}
	if rows.Next() {
		return admission.Facts{}, errors.New("the facts query gave more than one row")
	}
	err = rows.Err()
	if err != nil {
		return admission.Facts{}, err
	}
	return row.facts()
}

// CheckFacts asks the facts query for a workspace that nobody has, so that an operator hears of a query that
// does not keep its contract when the program starts, and not from the first request.
func (s *Store) CheckFacts(ctx context.Context) error {
	_, err := s.Facts(ctx, uuid.Nil)
	if err != nil {
		return fmt.Errorf("checking the facts query: %w", err)
	}
	return nil
}

// factsRow is what a facts query gives. A NULL is an error, but for the workspace that does not exist.
type factsRow struct {
	exists           sql.Null[int64]
	workspace        sql.Null[string]
	secretKeys       sql.Null[string]
	globalSecretKeys sql.Null[string]
}

// cells gives the places to scan a row into, in the order of the query's columns, which are told by name.
func (r *factsRow) cells(rows rowReader) ([]any, error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	const columns = 4
	if len(names) != columns {
		return nil, wrongColumns(names)
	}
	cells := make([]any, columns)
	for i, name := range names {
		cells[i] = r.cell(name)
		if cells[i] == nil || slices.Contains(names[:i], name) {
			return nil, wrongColumns(names)
		}
	}
	return cells, nil
}

func (r *factsRow) cell(column string) any {
	switch column {
	case "exists":
		return &r.exists
	case "workspace":
		return &r.workspace
	case "secret_keys":
		return &r.secretKeys
	case "global_secret_keys":
		return &r.globalSecretKeys
	default:
		return nil
	}
}

func wrongColumns(names []string) error {
	return fmt.Errorf("the facts query gives the columns %s; it must give exists, workspace, secret_keys and "+
		"global_secret_keys, each once", strings.Join(names, ", "))
}

func (r *factsRow) facts() (admission.Facts, error) {
	if !r.exists.Valid || r.exists.V < 0 || r.exists.V > 1 {
		return admission.Facts{}, errors.New("the facts query gives an exists that is not 0 or 1")
	}
	exists := r.exists.V == 1
	workspace := jsontext.Value(r.workspace.V)
	if exists && (!r.workspace.Valid || !workspace.IsValid()) {
		return admission.Facts{}, errors.New("the facts query gives a workspace that is no JSON")
	}
	secretKeys, err := keys("secret_keys", r.secretKeys)
	if err != nil {
		return admission.Facts{}, err
	}
	globalSecretKeys, err := keys("global_secret_keys", r.globalSecretKeys)
	if err != nil {
		return admission.Facts{}, err
	}
	return admission.NewFacts(exists, workspace, secretKeys, globalSecretKeys)
}

func keys(column string, cell sql.Null[string]) ([]string, error) {
	if cell.V == "[]" {
		return nil, nil
	}
	var texts []*string
	err := json.Unmarshal([]byte(cell.V), &texts)
	if err != nil || texts == nil || slices.Contains(texts, nil) {
		// The error is left out, as it could quote what the column holds.
		return nil, fmt.Errorf("the facts query gives a %s that is no JSON array of texts", column)
	}
	found := make([]string, len(texts))
	for i, text := range texts {
		found[i] = *text
	}
	return found, nil
}
