package connection

import (
	"context"
	"errors"

	codes "modernc.org/sqlite/lib"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// ExplainLedger is Explain for what the ledger and the registry write. An error of the file as a whole becomes
// admission.LedgerUnavailable.
func ExplainLedger(ctx context.Context, err error) error {
	err = Explain(ctx, err)
	var coded *admission.Error
	reason := unavailable(err)
	if reason == "" || ctx.Err() != nil || errors.As(err, &coded) {
		return err
	}
	return admission.LedgerUnavailable(reason, err)
}

// IsUnavailable says whether nothing else could be written either.
func IsUnavailable(err error) bool { return unavailable(err) != "" }

// unavailable says in plain words why the file takes no writes now; "" if err has another cause.
func unavailable(err error) string {
	if errors.Is(err, ErrMoved) {
		return "the SQLite file is no longer where it was opened"
	}
	switch CodeOf(err) & primary {
	case codes.SQLITE_BUSY:
		return "another process has the SQLite file locked"
	case codes.SQLITE_READONLY:
		return "the SQLite file is read-only"
	case codes.SQLITE_FULL:
		return "the disk is full"
	case codes.SQLITE_IOERR, codes.SQLITE_CANTOPEN:
		return "the SQLite file cannot be read or written"
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return "the SQLite file is damaged"
	default:
		return ""
	}
}
