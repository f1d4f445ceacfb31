package sqlite

import (
	"context"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

var (
	// ErrLocked says that another process had the file locked for longer than the busy timeout.
	ErrLocked = errors.New("another process has the SQLite file locked")
	// ErrUnknownWorkspace says that no workspace of that id is stored.
	ErrUnknownWorkspace = errors.New("no workspace of this id is stored")
	// ErrInvalid says that a workspace cannot be stored as it is: its kind or status is none that the registry
	// has.
	ErrInvalid = errors.New("the workspace cannot be stored like this")
)

// explain says in err what a caller can branch on: that the context ended, which a driver may call an
// interrupted statement or a transaction that is over, or that another process holds the lock.
func explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case codeOf(err)&primary == codes.SQLITE_BUSY:
		return fmt.Errorf("%w: %w", ErrLocked, err)
	default:
		return err
	}
}

// explainPut does so for what a registry can do wrong as well.
func explainPut(ctx context.Context, err error) error {
	switch codeOf(err) {
	case codes.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", ErrUnknownWorkspace, err)
	case codes.SQLITE_CONSTRAINT_CHECK:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	default:
		return explainLedger(ctx, err)
	}
}

// primary are the bits of an extended result code that say of which kind it is.
const primary = 0xff

// codeOf is SQLite's extended result code, 0 if err has none.
func codeOf(err error) int {
	var coded *driver.Error
	if !errors.As(err, &coded) {
		return 0
	}
	return coded.Code()
}
