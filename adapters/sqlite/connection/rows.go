package connection

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"
)

// Querier is the pool of readers or a transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Collect reads all rows of a query.
func Collect[T any](
	ctx context.Context, from Querier, scan func(*sql.Rows) (T, error), query string, args ...any,
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

// ScanID reads a column of ids.
func ScanID(rows *sql.Rows) (id uuid.UUID, err error) {
	err = rows.Scan(&id)
	return id, err
}

// Affected is how many rows a statement has changed.
func Affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// TimeLayout has a fixed width, so that times sort as texts.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// TimeText is how a time is kept.
func TimeText(t time.Time) string { return t.UTC().Format(TimeLayout) }
