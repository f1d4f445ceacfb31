package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"
)

// querier is the pool of readers or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect reads all rows of a query.
func collect[T any](
	ctx context.Context, from querier, scan func(*sql.Rows) (T, error), query string, args ...any,
) (found []T, err error) {
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

func scanID(rows *sql.Rows) (id uuid.UUID, err error) {
	err = rows.Scan(&id)
	return id, err
}

// affected is how many rows a statement has changed.
func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
