package sqlite

import (
	"context"
	"errors"
	"os"

	codes "modernc.org/sqlite/lib"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// errMoved says that what is written now would be written into a file that nobody finds again.
var errMoved = errors.New("the file that was opened is no longer at its path")

// checkPlace is errMoved where the file was deleted, moved or replaced. SQLite would go on writing into the deleted file
// without an error, and every answer would be lost when the process ends.
func (s *Store) checkPlace() error {
	now, err := os.Stat(s.path)
	if err == nil && os.SameFile(s.file, now) {
		return nil
	}
	return errors.Join(errMoved, err)
}

// explainLedger is explain for what the ledger and the registry write. An error of the file as a whole becomes
// admission.LedgerUnavailable.
func explainLedger(ctx context.Context, err error) error {
	err = explain(ctx, err)
	var coded *admission.Error
	reason := unavailable(err)
	if reason == "" || ctx.Err() != nil || errors.As(err, &coded) {
		return err
	}
	return admission.LedgerUnavailable(reason, err)
}

// isOfTheFile says whether nothing else could be written either.
func isOfTheFile(err error) bool { return unavailable(err) != "" }

// unavailable says in plain words why the file takes nothing for now; "" if err is of something else.
func unavailable(err error) string {
	if errors.Is(err, errMoved) {
		return "the SQLite file is no longer where it was opened"
	}
	switch codeOf(err) & primary {
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
