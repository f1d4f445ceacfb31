package connection

import (
	"context"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// ErrLocked says that another process had the file locked for longer than the busy timeout.
var ErrLocked = errors.New("another process has the SQLite file locked")

// Explain says in err what a caller can branch on: that the context ended, which a driver may call an
// interrupted statement or a transaction that is over, or that another process holds the lock.
func Explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case CodeOf(err)&primary == codes.SQLITE_BUSY:
		return fmt.Errorf("%w: %w", ErrLocked, err)
	default:
		return err
	}
}

// primary are the bits of an extended result code that say of which kind it is.
const primary = 0xff

// CodeOf is SQLite's extended result code, 0 if err has none.
func CodeOf(err error) int {
	var coded *driver.Error
	if !errors.As(err, &coded) {
		return 0
	}
	return coded.Code()
}
