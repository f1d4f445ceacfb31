package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

//go:embed facts.sql
var defaultFactsQuery string

// factsManySQL is the built-in facts query for many workspaces in one statement and one snapshot, with the id of each. How it
// takes the array: see mark.go.
var factsManySQL = `
select each.id, facts.* from unnest((select $1::uuid[])) as each (id)
cross join lateral (` + strings.Replace(defaultFactsQuery, "$1::uuid", "each.id", 1) + `
) facts`

// Facts looks a workspace up, together with others that are asked for at the same time. A row that breaks the
// contract of the facts query is an error, never a guess.
func (s *Store) Facts(ctx context.Context, workspaceID uuid.UUID) (admission.Facts, error) {
	read, err := s.lookups.Do(ctx, workspaceID)
	if err != nil {
		return admission.Facts{}, connection.Explain(ctx, fmt.Errorf("asking for facts: %w", err))
	}
	return read.facts, read.err
}

// lookup is what was read of one workspace.
type lookup struct {
	facts admission.Facts
	err   error // of this one alone
}

// factsBatch is the flush of the group of lookups.
func (s *Store) factsBatch(ctx context.Context, asked []uuid.UUID) ([]lookup, error) {
	if len(asked) == 1 {
		rows, err := s.pool.Query(ctx, s.factsQuery, [16]byte(asked[0]))
		if err != nil {
			return nil, err
		}
		facts, err := readFacts(rows)
		return []lookup{{facts, err}}, nil
	}
	ids := make([][16]byte, len(asked))
	for i, id := range asked {
		ids[i] = id
	}
	found := make(map[uuid.UUID]lookup, len(ids))
	batch := new(pgx.Batch)
	s.queueFacts(batch, ids, func(id uuid.UUID, facts admission.Facts, err error) { found[id] = lookup{facts, err} })
	err := s.pool.SendBatch(ctx, batch).Close()
	if err != nil {
		return nil, fmt.Errorf("reading facts: %w", err)
	}
	read := make([]lookup, len(asked))
	for i, id := range asked {
		one, given := found[id]
		if !given {
			one.err = errNotGiven
		}
		read[i] = one
	}
	return read, nil
}

// errNotGiven is for a workspace that the statement for many did not return. Missing facts are not the facts of a workspace
// without secrets.
var errNotGiven = errors.New("the facts query gave no row for the workspace")

// queueFacts queues the lookup of workspaces. The built-in query is one statement for all of them. each is called for every
// workspace, with an error if that workspace alone cannot be read.
func (s *Store) queueFacts(batch *pgx.Batch, ids [][16]byte, each func(id uuid.UUID, facts admission.Facts, err error)) {
	if s.factsMany == "" {
		for _, id := range ids {
			batch.Queue(s.factsQuery, id).Query(func(rows pgx.Rows) error {
				facts, err := readFacts(rows)
				if rows.Err() != nil {
					return err
				}
				each(id, facts, err)
				return nil
			})
		}
		return
	}
	batch.Queue(s.factsMany, ids).Query(func(rows pgx.Rows) error {
		var id [16]byte
		var row factsRow
		_, err := pgx.ForEachRow(rows, []any{&id, &row.exists, &row.workspace, &row.secretKeys, &row.globalSecretKeys}, func() error {
			facts, err := admission.NewFacts(row.exists, row.workspace, row.secretKeys, row.globalSecretKeys)
			each(id, facts, err)
			row.workspace = nil // the facts keep it
			return nil
		})
		return err
	})
}

// readFacts reads the one row of a facts query.
func readFacts(rows pgx.Rows) (admission.Facts, error) {
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return admission.Facts{}, fmt.Errorf("reading facts: %w", err)
		}
		return admission.Facts{}, errors.New("the facts query gave no row; it must give one for every workspace, known or not")
	}

	var row factsRow
	targets, err := row.targets(rows.FieldDescriptions())
	if err != nil {
		return admission.Facts{}, err
	}
	err = rows.Scan(targets...)
	if err != nil {
		return admission.Facts{}, fmt.Errorf("reading facts: %w", err)
	}
	if rows.Next() {
		return admission.Facts{}, errors.New("the facts query gave more than one row")
	}
	err = rows.Err()
	if err != nil {
		return admission.Facts{}, fmt.Errorf("reading facts: %w", err)
	}
	return admission.NewFacts(row.exists, row.workspace, row.secretKeys, row.globalSecretKeys)
}

// factsRow is the contract of a facts query.
type factsRow struct {
	exists                       bool
	workspace                    []byte
	secretKeys, globalSecretKeys []string
}

// factsColumn is what the contract says of one column.
type factsColumn struct {
	target any
	types  [2]uint32 // either will do
	kind   string    // the types as an operator writes them
}

func (r *factsRow) column(name string) (factsColumn, bool) {
	switch name {
	case "exists":
		return factsColumn{&r.exists, [2]uint32{pgtype.BoolOID}, "boolean"}, true
	case "workspace":
		return factsColumn{&r.workspace, [2]uint32{pgtype.JSONBOID, pgtype.JSONOID}, "json or jsonb"}, true
	case "secret_keys":
		return factsColumn{&r.secretKeys, [2]uint32{pgtype.TextArrayOID}, "text[]"}, true
	case "global_secret_keys":
		return factsColumn{&r.globalSecretKeys, [2]uint32{pgtype.TextArrayOID}, "text[]"}, true
	default:
		return factsColumn{}, false
	}
}

// targets are where the columns go, in the order of fields, which must be those of the contract.
func (r *factsRow) targets(fields []pgconn.FieldDescription) ([]any, error) {
	const count, names = 4, "exists, workspace, secret_keys and global_secret_keys"
	if len(fields) != count {
		return nil, fmt.Errorf("the facts query gives %d columns; it must give %s", len(fields), names)
	}
	targets := make([]any, 0, count)
	for _, field := range fields {
		column, known := r.column(field.Name)
		switch {
		case !known:
			return nil, fmt.Errorf("the facts query gives a column %q; it must give %s", field.Name, names)
		case slices.Contains(targets, column.target):
			return nil, fmt.Errorf("the facts query gives the column %q twice", field.Name)
		case !slices.Contains(column.types[:], field.DataTypeOID):
			return nil, fmt.Errorf("the column %q of the facts query must be %s (add a cast)", field.Name, column.kind)
		}
		targets = append(targets, column.target)
	}
	return targets, nil
}

// SQLSTATE codes.
const (
	undefinedColumn = "42703"
	queryCanceled   = "57014"
)

// CheckFacts has the server describe the facts query and compares it with its contract, without running it.
// The error says what an operator can do about it.
func (s *Store) CheckFacts(ctx context.Context) error {
	var description *pgconn.StatementDescription
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		var err error
		description, err = c.Conn().PgConn().Prepare(ctx, "", s.factsQuery, nil)
		return err
	})
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == undefinedColumn && s.factsQuery == defaultFactsQuery:
		return fmt.Errorf("this registry's tables are not those that the built-in facts query reads; "+
			"give a query that fits them (--facts-query-file): %w", err)
	case errors.As(err, &refused) && refused.Code != queryCanceled:
		return fmt.Errorf("the database refuses the facts query: %w", err)
	case err != nil:
		return connection.Explain(ctx, fmt.Errorf("checking the facts query: %w", err))
	}

	if len(description.ParamOIDs) != 1 || description.ParamOIDs[0] != pgtype.UUIDOID {
		return errors.New("the facts query must have exactly one parameter, $1, of type uuid (write $1::uuid)")
	}
	_, err = new(factsRow).targets(description.Fields)
	return err
}
